import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from studperf.config.dataset import Dataset
from studperf.config.load import load_overrides
from studperf.data.guard.evidence import reverse_score
from studperf.data.guard.leaks import examine, find_formulas, find_leaks, guard
from studperf.data.schema import Table, check_table
from studperf.data.simulate import simulate
from studperf.errors import DataError, LeakError

MakeDataset = Callable[..., Dataset]


@pytest.fixture(scope="module")
def students_2000() -> Table:
    dataset = load_overrides(["data.source.simulate.rows=2000", "data.source.simulate.seed=7"]).data
    return check_table(simulate(dataset), dataset)


def table_of(make_dataset: MakeDataset, target: np.ndarray, **columns: Any) -> Table:
    """Numbers are numbers, text is a category."""
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    kinds = {
        name: {"kind": "category" if a.dtype.kind in "OU" else "number", "fill": "mode"}
        for name, a in arrays.items()
    }
    return Table(pd.DataFrame({**columns, "y": target}), make_dataset(kinds))


def scores(n: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(57, 13, n).round(1)


# Columns that follow from the target exactly


@pytest.mark.parametrize("name", ["passed", "performance_category"])
def test_column_cut_from_the_target_is_an_exact_leak(name: str, students_2000: Table) -> None:
    (leak,) = find_leaks(students_2000, [name])
    assert (leak.column, leak.test) == (name, "exact")
    assert "exact step function" in leak.evidence


@pytest.mark.parametrize("name", ["passed", "performance_category"])
def test_real_column_cut_from_the_target_is_an_exact_leak(name: str, real_table: Table) -> None:
    (leak,) = find_leaks(real_table, [name])
    assert leak.test == "exact"


def test_evidence_names_where_the_steps_are(make_dataset: MakeDataset) -> None:
    target = np.arange(100.0)
    (leak,) = find_leaks(table_of(make_dataset, target, x=(target >= 40).astype(float)))
    assert str(leak) == "x: it is an exact step function of the target (steps at 39.5)"


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda y: y, id="itself"),
        pytest.param(lambda y: -y, id="negative"),
        pytest.param(lambda y: y / 100, id="share"),
        pytest.param(lambda y: y**3, id="cube"),
        pytest.param(np.log1p, id="logarithm"),
        pytest.param(lambda y: 1 / (1 + y), id="inverse"),
        pytest.param(lambda y: pd.Series(y).rank().to_numpy(), id="rank"),
        pytest.param(lambda y: np.floor(y / 10), id="tens"),
        pytest.param(np.round, id="whole points"),
        pytest.param(lambda y: np.clip(y, 50, 70), id="clipped"),
        pytest.param(lambda y: np.where(y < 40, 5.0, 10.0), id="one step"),
    ],
)
def test_monotone_function_of_the_target_is_an_exact_leak(
    function: Callable[[np.ndarray], np.ndarray], make_dataset: MakeDataset
) -> None:
    target = np.clip(scores(), 0, 100)
    (leak,) = find_leaks(table_of(make_dataset, target, x=function(target)))
    assert leak.test == "exact"


@pytest.mark.parametrize("width", [10, 1], ids=["in tens", "in points"])
def test_target_written_as_levels_is_a_leak(width: int, make_dataset: MakeDataset) -> None:
    target = scores(2000)
    levels = np.array([f"about {int(np.floor(y / width))}" for y in target], dtype=object)
    (leak,) = find_leaks(table_of(make_dataset, target, x=levels))
    assert leak.column == "x"


def test_column_that_differs_at_equal_targets_is_no_exact_leak(make_dataset: MakeDataset) -> None:
    target = np.repeat(np.arange(5.0), 20)
    split_in_the_middle = (np.arange(100) >= 50).astype(float)
    leaks = find_leaks(table_of(make_dataset, target, x=split_in_the_middle))
    assert all(leak.test != "exact" for leak in leaks)


def test_number_that_rises_among_equal_targets_is_no_exact_leak(make_dataset: MakeDataset) -> None:
    table = table_of(make_dataset, np.repeat(np.arange(30.0), 10), x=np.arange(300.0))
    order = np.random.default_rng(0).permutation(300)
    table = Table(table.frame.iloc[order].reset_index(drop=True), table.dataset)
    (leak,) = find_leaks(table, with_suspects=True)
    assert leak.test == "copy"


# Columns that can be read back from the target


def flip(values: np.ndarray, share: float) -> np.ndarray:
    flipped = np.random.default_rng(0).random(len(values)) < share
    return np.where(flipped, 1 - values, values)


@pytest.mark.parametrize(
    "noisy",
    [
        pytest.param(
            lambda y: flip((y >= 40).astype(float), 0.01), id="passed with 1 % of labels flipped"
        ),
        pytest.param(
            lambda y: np.round((y + np.random.default_rng(1).normal(0, 0.3, len(y))) / 10),
            id="about target / 10, rounded",
        ),
    ],
)
def test_noisy_copy_of_the_target_is_a_leak(
    noisy: Callable[[np.ndarray], np.ndarray], make_dataset: MakeDataset
) -> None:
    target = scores(4000)
    (leak,) = find_leaks(table_of(make_dataset, target, x=noisy(target)))
    assert leak.test == "reverse"
    assert "reads it back from the target" in leak.evidence


def test_number_close_to_the_target_is_suspect_and_not_refused(make_dataset: MakeDataset) -> None:
    target = scores(4000)
    # R2 0.994: so does a count follow from a larger one, or a measure from another.
    near = target + np.random.default_rng(1).normal(size=len(target))
    table = table_of(make_dataset, target, x=near)
    assert find_leaks(table) == []
    (suspect,) = guard(table)
    assert (suspect.column, suspect.test, suspect.is_refused) == ("x", "copy", False)
    assert "held back with R2 0.99" in suspect.evidence


def test_real_passed_with_flipped_labels_is_a_leak(real_table: Table) -> None:
    frame = real_table.frame.assign(
        passed=flip(real_table.frame["passed"].astype(float).to_numpy(), 0.01)
    )
    (leak,) = find_leaks(Table(frame, real_table.dataset), ["passed"])
    assert leak.test == "reverse"


def test_level_read_back_from_a_band_of_targets_is_a_leak(make_dataset: MakeDataset) -> None:
    target = scores()
    (leak,) = find_leaks(
        table_of(make_dataset, target, x=((target > 50) & (target < 60)).astype(float))
    )
    assert leak.test == "reverse"


def test_level_that_is_read_back_always_scores_one() -> None:
    target = np.arange(200.0)
    assert reverse_score((target // 50).astype(int), target) == pytest.approx(1.0, abs=0.05)


def test_level_that_has_nothing_to_do_with_the_target_scores_about_zero() -> None:
    rng = np.random.default_rng(0)
    assert reverse_score(rng.integers(0, 3, 3000), rng.normal(size=3000)) == pytest.approx(
        0.0, abs=0.05
    )


@pytest.mark.parametrize(
    "codes", [[0] * 50, [0] * 48 + [1] * 2], ids=["one level", "one level and a rare one"]
)
def test_nothing_to_tell_apart_scores_zero(codes: list[int]) -> None:
    assert reverse_score(np.array(codes), np.arange(50.0)) == 0.0


# Missing values


def test_missingness_that_gives_the_target_away_is_a_leak(make_dataset: MakeDataset) -> None:
    target = scores()
    values = np.where(target < 40, np.nan, np.random.default_rng(1).normal(size=400))
    (leak,) = find_leaks(table_of(make_dataset, target, x=values))
    assert leak.evidence.startswith(
        "whether it is missing gives the target away: it is an exact step function of the target"
    )


def test_category_missing_below_a_score_is_a_leak(make_dataset: MakeDataset) -> None:
    target = scores()
    levels = np.random.default_rng(1).choice(["a", "b"], 400).astype(object)
    levels[flip((target < 45).astype(float), 0.01) == 1] = None
    (leak,) = find_leaks(table_of(make_dataset, target, x=levels))
    assert leak.test == "reverse"
    assert "whether it is missing" in leak.evidence


def test_values_missing_at_random_are_no_leak(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(1)
    assert (
        find_leaks(
            table_of(
                make_dataset,
                scores(),
                x=np.where(rng.random(400) < 0.3, np.nan, rng.normal(size=400)),
            )
        )
        == []
    )


# No false alarm


def test_honest_columns_of_the_real_table_are_no_leaks(real_table: Table) -> None:
    assert find_leaks(real_table) == []


def test_halves_of_the_strongest_real_column_are_no_leak(real_table: Table) -> None:
    halves = (real_table.frame["last_exam_score"] >= 60).astype(float)
    table = Table(real_table.frame.assign(last_exam_score=halves), real_table.dataset)
    assert find_leaks(table, ["last_exam_score"]) == []


def random_table(make_dataset: MakeDataset, seed: int) -> Table:
    """60 to 500 rows, two of the kinds of columns that people have, and a target in whole numbers that may depend on them."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 501))
    strong = rng.normal(size=n)
    columns = {
        "strong": strong.round(int(rng.integers(0, 4))),
        "few": rng.integers(0, rng.integers(2, 8), n).astype(float),
        "rare": (rng.random(n) < rng.uniform(0.01, 0.1)).astype(float),
        "holes": np.where(
            rng.random(n) < rng.uniform(0.02, 0.3), np.nan, rng.gamma(1, size=n).round(1)
        ),
        "level": rng.choice(list("abcdefgh")[: rng.integers(2, 9)], n).astype(object),
    }
    explained = rng.uniform(0, 1.5) * strong + 0.5 * columns["few"] * rng.integers(0, 2)
    target = np.round(rng.integers(1, 10) * (explained + rng.normal(size=n)))
    return table_of(
        make_dataset,
        target,
        **{name: columns[name] for name in rng.choice(list(columns), 2, replace=False)},
    )


@pytest.mark.parametrize("first_seed", range(0, 200, 50))
def test_honest_random_tables_raise_no_alarm(first_seed: int, make_dataset: MakeDataset) -> None:
    alarms = {
        seed: find_leaks(random_table(make_dataset, seed))
        for seed in range(first_seed, first_seed + 50)
    }
    assert {seed: leaks for seed, leaks in alarms.items() if leaks} == {}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1.0] * 40, id="a constant"),
        pytest.param([np.nan] * 40, id="no value"),
        pytest.param([0.0] * 36 + [1.0] * 4, id="a flag of four rows"),
        pytest.param([np.nan, 1.0, np.nan, 2.0] * 10, id="twenty values"),
    ],
)
def test_too_little_to_judge_by_is_no_leak(values: list[float], make_dataset: MakeDataset) -> None:
    assert find_leaks(table_of(make_dataset, np.arange(40.0), x=np.array(values))) == []


def test_constant_target_gives_no_alarm(make_dataset: MakeDataset) -> None:
    assert find_leaks(table_of(make_dataset, np.ones(100), x=np.arange(100.0))) == []


def test_table_without_a_target_gives_no_alarm(make_dataset: MakeDataset) -> None:
    table = table_of(make_dataset, np.arange(100.0), x=np.arange(100.0))
    assert find_leaks(Table(table.frame.drop(columns="y"), table.dataset)) == []


def test_rows_without_a_target_are_left_aside(make_dataset: MakeDataset) -> None:
    target = scores()
    column = (target >= 60).astype(float)
    target[:20] = np.nan
    column[:20] = np.arange(20) % 2
    assert [leak.test for leak in find_leaks(table_of(make_dataset, target, x=column))] == ["exact"]


# Pairs

PAIRS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "first + second": lambda target, share: (target * share, target * (1 - share)),
    "first - second": lambda target, share: (target + 200 * share, 200 * share),
    "first * second": lambda target, share: (
        100 * share + 20,
        np.round(target / (100 * share + 20), 3),
    ),
    "first / second": lambda target, share: (target * (share + 1), share + 1),
    "second / first": lambda target, share: (share + 1, target * (share + 1)),
}


@pytest.mark.parametrize("formula", PAIRS)
def test_two_columns_that_make_the_target_are_found(
    formula: str, make_dataset: MakeDataset
) -> None:
    target = scores()
    share = np.random.default_rng(5).uniform(0.1, 0.9, len(target))
    first, second = PAIRS[formula](target, share)
    table = table_of(make_dataset, target, first=first, honest=scores(seed=1), second=second)
    (leak,) = find_formulas(table)
    assert (leak.columns, leak.test) == (("first", "second"), "pair")
    assert leak.evidence.startswith(f"{formula} gives the target, R2 ")
    with pytest.raises(LeakError, match=re.escape(str(leak))):
        guard(table)


def test_a_pair_is_found_where_values_are_missing_and_targets_unknown(
    make_dataset: MakeDataset,
) -> None:
    target = scores()
    share = np.random.default_rng(5).uniform(0.1, 0.9, len(target))
    first, second = target * share, target * (1 - share)
    first[::3], second[::5] = np.nan, np.nan
    target[:20] = np.nan
    assert [
        leak.columns
        for leak in find_formulas(table_of(make_dataset, target, first=first, second=second))
    ] == [("first", "second")]


def test_parts_that_leave_something_to_learn_are_no_pair(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(50, 10, (2, 2000))
    target = first + second + rng.normal(0, 1.0, 2000)  # R2 0.995
    assert find_formulas(table_of(make_dataset, target, first=first, second=second)) == []


def test_an_allowed_pair_is_returned(make_dataset: MakeDataset) -> None:
    target = scores()
    share = np.random.default_rng(5).uniform(0.1, 0.9, len(target))
    dataset = make_dataset(
        {"first": {"kind": "number"}, "second": {"kind": "number"}}, allow_leaks=["second"]
    )
    (leak,) = guard(
        Table(
            pd.DataFrame({"first": target * share, "second": target * (1 - share), "y": target}),
            dataset,
        )
    )
    assert (leak.columns, leak.test) == (("first", "second"), "pair")


def test_parts_of_a_sum_are_both_named_with_the_lines_to_write(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(5)
    casual, registered = rng.poisson(40, 500) * 1.0, rng.poisson(150, 500) * 1.0
    table = table_of(make_dataset, casual + registered, casual=casual, registered=registered)
    with pytest.raises(LeakError) as caught:
        guard(table)
    message = str(caught.value)
    assert "casual and registered: casual + registered gives the target, R2 1.0000" in message
    assert "`casual: {kind: leak}`, `registered: {kind: leak}`" in message
    assert "data.allow_leaks=[casual,registered]" in message


def test_a_part_whose_fellow_was_left_out_is_still_named(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(5)
    casual, registered = rng.poisson(40, 500), rng.poisson(150, 500)
    kinds = {"casual": {"kind": "number"}, "registered": {"kind": "leak"}}
    dataset = make_dataset(kinds)
    frame = pd.DataFrame(
        {"casual": casual * 1.0, "registered": registered.astype(str), "y": casual + registered}
    )
    (suspect,) = guard(Table(frame, dataset))
    assert (suspect.columns, suspect.is_refused) == (("casual",), False)
    assert "casual + registered gives the target" in suspect.evidence
    assert "of which registered was left out" in suspect.evidence
    allowed = make_dataset(kinds, allow_leaks=["casual"])
    assert guard(Table(frame, allowed)) == ()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda known, hidden: known * hidden, id="product"),
        pytest.param(lambda known, hidden: hidden - known, id="difference"),
    ],
)
def test_the_honest_half_of_a_pair_is_left_alone_once_the_other_is_out(
    make: Callable[[np.ndarray, np.ndarray], np.ndarray], make_dataset: MakeDataset
) -> None:
    rng = np.random.default_rng(5)
    hours, hourly = rng.uniform(5, 60, (2, 500))
    dataset = make_dataset({"hours": {"kind": "number"}, "hourly": {"kind": "leak"}})
    frame = pd.DataFrame({"hours": hours, "hourly": hourly, "y": make(hours, hourly)})
    assert guard(Table(frame, dataset)) == ()


def test_a_total_of_many_parts_is_found_and_columns_beside_it_are_not_named(
    make_dataset: MakeDataset,
) -> None:
    rng = np.random.default_rng(5)
    parts = {name: rng.gamma(2, 10, 400) for name in ("water", "roads", "power", "schools")}
    others = {f"other{i}": rng.normal(size=400) for i in range(4)}
    target = np.sum(list(parts.values()), axis=0)
    (leak,) = find_formulas(table_of(make_dataset, target, **others, **parts))
    assert (set(leak.columns), leak.test) == (set(parts), "total")
    assert leak.is_refused
    assert "gives the target, R2 1.00000" in leak.evidence


def test_a_share_is_found_by_its_fellows(make_dataset: MakeDataset) -> None:
    shares = np.random.default_rng(5).dirichlet([2, 3, 4, 5], 400)
    columns = {f"share{i}": shares[:, i] for i in range(3)}
    (leak,) = find_formulas(table_of(make_dataset, shares[:, 3], **columns))
    assert set(leak.columns) == set(columns)


def test_two_parts_that_come_near_a_total_do_not_hide_it(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(5)
    votes = {"gore": rng.lognormal(9, 1, 300).round(), "bush": rng.lognormal(9, 1, 300).round()}
    votes |= {f"other{i}": rng.lognormal(6.5, 1, 300).round() for i in range(6)}
    (leak,) = find_formulas(table_of(make_dataset, np.sum(list(votes.values()), axis=0), **votes))
    assert set(leak.columns) == set(votes)


def test_a_quotient_is_found_though_the_target_has_two_digits(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(5)
    people = rng.lognormal(12, 0.6, 300)
    rate = rng.normal(9, 1, 300).round(1)
    weddings = people * (rate + rng.uniform(-0.05, 0.05, 300)) / 1000
    table = table_of(make_dataset, rate, weddings=weddings, people=people)
    (leak,) = find_formulas(table)
    assert (leak.columns, leak.is_refused) == (("weddings", "people"), True)


def test_the_logarithm_of_a_quotient_is_found(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(5)
    crimes, people = rng.lognormal(8, 1, 400), rng.lognormal(12, 1, 400)
    columns = {"lcrimes": np.log(crimes), "lpeople": np.log(people)}
    (leak,) = find_formulas(table_of(make_dataset, crimes / people, **columns))
    assert leak.evidence == "lcrimes - lpeople gives the target's logarithm, R2 1.0000"


def test_a_small_number_beside_a_strong_one_is_no_pair(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(5)
    people = rng.lognormal(8, 1, 400)
    adults = people * rng.uniform(0.7, 0.75, 400)
    table = table_of(make_dataset, people, adults=adults, age=rng.normal(40, 5, 400))
    assert find_formulas(table) == []


# Groups of rows that repeat one another


def towns(n_towns: int = 60, seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_towns, 600), rng


@pytest.mark.parametrize("seed", range(5))
def test_what_all_rows_of_a_town_share_is_learnt_by_heart_and_no_leak(
    seed: int, make_dataset: MakeDataset
) -> None:
    town, rng = towns(seed=seed)
    target = rng.normal(50, 10, 60).round(2)[town]
    columns = {
        "tax": rng.integers(200, 700, 60)[town] * 1.0,
        "zone": rng.integers(0, 6, 60)[town] * 1.0,
        "river": (rng.random(60) < 0.1)[town] * 1.0,
        "county": np.array(list("abcdefgh"))[rng.integers(0, 8, 60)][town].astype(object),
        "name": np.array([f"town {i}" for i in range(60)])[town].astype(object),
        "rooms": rng.normal(6, 1, 600),
    }
    assert examine(table_of(make_dataset, target, **columns)) == []


def test_a_cut_of_a_target_that_towns_share_is_still_a_leak(make_dataset: MakeDataset) -> None:
    town, rng = towns()
    target = rng.normal(50, 10, 60).round(2)[town]
    table = table_of(make_dataset, target, above=(target > 50) * 1.0, log=np.log(target))
    assert {leak.column: leak.test for leak in examine(table)} == {"above": "exact", "log": "exact"}


def test_the_mean_of_the_target_in_each_group_is_a_leak(make_dataset: MakeDataset) -> None:
    town, rng = towns()
    target = rng.normal(50, 10, 600).round(1)
    means = pd.Series(target).groupby(town).transform("mean").to_numpy()
    (leak,) = find_leaks(table_of(make_dataset, target, encoded=means))
    assert leak.test == "mean"


def test_a_price_without_inflation_is_a_leak_within_each_year(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(0)
    year = rng.integers(0, 3, 600)
    target = rng.lognormal(4, 0.5, 600).round(2)
    real = target / np.array([1.0, 1.8, 2.9])[year]
    table = table_of(make_dataset, target, real=real, year=year * 1.0, rooms=rng.normal(size=600))
    (leak,) = examine(table)
    assert (leak.column, leak.is_refused) == ("real", True)
    assert "among the rows of one year" in leak.evidence


# Rows that follow one another in time


def decades(seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A target that grows with the years, beside prices and people that do so too."""
    rng = np.random.default_rng(seed)
    year = np.arange(1850.0, 2000)
    cycle = np.cumsum(rng.normal(size=150))
    people = np.cumsum(rng.uniform(1, 3, 150))
    prices = np.exp(np.cumsum(rng.uniform(0, 0.05, 150)))
    target = np.cumsum(rng.uniform(1, 2, 150))
    missing = np.where(year < 1860, np.nan, rng.normal(size=150))
    railway = (year > 1900) * 1.0
    columns = {"year": year, "people": people, "prices": prices, "cycle": cycle}
    return target, columns | {"railway": railway, "counted_later": missing}


def test_what_rises_with_time_as_the_target_does_is_no_leak(make_dataset: MakeDataset) -> None:
    target, columns = decades()
    assert examine(table_of(make_dataset, target, **columns)) == []
    columns.pop("year")  # the cycle tells that rows follow one another
    assert examine(table_of(make_dataset, target, **columns)) == []


def test_the_target_in_another_form_is_a_leak_in_time_too(make_dataset: MakeDataset) -> None:
    target, columns = decades()
    table = table_of(make_dataset, target, log=np.log(target), pounds=target / 16, **columns)
    found = {leak.column for leak in examine(table) if leak.is_refused}
    assert found == {"log", "pounds"}


def test_training_rows_in_any_order_show_the_trend(make_dataset: MakeDataset) -> None:
    target, columns = decades()
    shuffled = np.random.default_rng(1).permutation(150)[:120]
    assert examine(table_of(make_dataset, target, **columns).rows(shuffled)) == []


def test_a_file_sorted_by_its_target_hides_no_leak(make_dataset: MakeDataset) -> None:
    target = np.sort(scores())
    table = table_of(make_dataset, target, top=(target > 60) * 1.0, honest=scores(seed=1))
    assert [leak.column for leak in find_leaks(table)] == ["top"]


# Where the target is 0


def test_a_value_missing_where_the_target_is_zero_is_told_and_not_refused(
    make_dataset: MakeDataset,
) -> None:
    rng = np.random.default_rng(0)
    hours = np.where(rng.random(500) < 0.4, 0, rng.integers(1, 60, 500)).astype(float)
    wage = np.where(hours == 0, np.nan, rng.lognormal(2, 0.5, 500))
    (suspect,) = guard(table_of(make_dataset, hours, wage=wage))
    assert (suspect.column, suspect.is_refused) == ("wage", False)
    assert suspect.evidence.startswith("whether it is missing gives the target away")


def test_a_flag_of_a_target_that_is_not_zero_is_a_leak(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(0)
    hours = np.where(rng.random(500) < 0.4, 0, rng.integers(1, 60, 500)).astype(float)
    (leak,) = find_leaks(table_of(make_dataset, hours, works=(hours > 0) * 1.0))
    assert leak.test == "exact"


# The guard


def test_guard_names_every_leak_and_the_ways_out(make_dataset: MakeDataset) -> None:
    target = scores()
    table = table_of(
        make_dataset, target, copy=target * 2, honest=scores(seed=1), tens=np.floor(target / 10)
    )
    with pytest.raises(LeakError) as caught:
        guard(table)
    message = str(caught.value)
    assert "give 'y' away (2 faults)" in message
    assert "copy: it rises or falls with the target" in message
    assert "tens: it is an exact step function" in message
    assert "honest" not in message
    assert "data.allow_leaks=[copy,tens]" in message
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, DataError)


def test_guard_lets_through_what_is_allowed_and_returns_it(make_dataset: MakeDataset) -> None:
    target = scores()
    dataset = make_dataset(
        {"copy": {"kind": "number"}, "honest": {"kind": "number"}}, allow_leaks=["copy", "honest"]
    )
    (leak,) = guard(
        Table(pd.DataFrame({"copy": target, "honest": scores(seed=1), "y": target}), dataset)
    )
    assert (leak.column, leak.test) == ("copy", "exact")


def test_guard_refuses_the_leak_beside_an_allowed_one(make_dataset: MakeDataset) -> None:
    target = scores()
    dataset = make_dataset(
        {"first": {"kind": "number"}, "second": {"kind": "number"}}, allow_leaks=["first"]
    )
    with pytest.raises(LeakError, match="second: ") as caught:
        guard(Table(pd.DataFrame({"first": target, "second": -target, "y": target}), dataset))
    assert "first:" not in str(caught.value)


def test_guard_returns_nothing_for_honest_columns(students_table: Table) -> None:
    assert guard(students_table) == ()


def test_guard_asks_about_features_alone(students_2000: Table) -> None:
    assert {"passed", "performance_category"} <= set(students_2000.frame)
    assert guard(students_2000) == ()
