import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from studperf.config import load_overrides
from studperf.config.dataset import Dataset
from studperf.data.leaks import find_leaks, find_pairs, guard, left_out_signal, reverse_score
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
    (leak,) = find_leaks(table_of(make_dataset, np.repeat(np.arange(30.0), 10), x=np.arange(300.0)))
    assert leak.test == "reverse"


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
            lambda y: y + np.random.default_rng(1).normal(size=len(y)), id="target + N(0, 1)"
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
    (leak,) = find_pairs(table)
    assert (leak.column, leak.test) == ("second", "pair")
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
        leak.column
        for leak in find_pairs(table_of(make_dataset, target, first=first, second=second))
    ] == ["second"]


def test_parts_that_leave_something_to_learn_are_no_pair(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(50, 10, (2, 2000))
    target = first + second + rng.normal(0, 1.0, 2000)  # R2 0.995
    assert find_pairs(table_of(make_dataset, target, first=first, second=second)) == []


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
    assert (leak.column, leak.test) == ("second", "pair")


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


# Signal that was left out


def without(table: Table, *names: str) -> Dataset:
    features = [name for name in table.dataset.feature_names if name not in names]
    return Dataset.model_validate(
        table.dataset.model_dump(exclude_unset=True) | {"features": features}
    )


def test_strongest_column_that_was_left_out_is_found(students_2000: Table) -> None:
    dataset = without(students_2000, "last_exam_score", "sleep_hours")
    ((name, share),) = left_out_signal(students_2000, dataset)
    assert name == "last_exam_score"
    fit = LinearRegression().fit(students_2000.frame[[name]], students_2000.target)
    assert share == pytest.approx(fit.score(students_2000.frame[[name]], students_2000.target))


def test_real_columns_that_were_left_out_come_strongest_first(real_table: Table) -> None:
    found = left_out_signal(
        real_table,
        without(
            real_table, "assignment_scores_avg", "last_exam_score", "concept_understanding_score"
        ),
    )
    assert [name for name, _ in found] == [
        "last_exam_score",
        "assignment_scores_avg",
        "concept_understanding_score",
    ]
    assert [share for _, share in found] == pytest.approx([0.68**2, 0.45**2, 0.42**2], abs=0.01)


def test_column_of_kind_unused_counts_as_left_out(make_dataset: MakeDataset) -> None:
    target = scores()
    dataset = make_dataset(
        {"x": {"kind": "number"}, "copy": {"kind": "unused"}, "id": {"kind": "id"}}
    )
    frame = pd.DataFrame({"x": scores(seed=1), "copy": target, "id": target, "y": target})
    assert left_out_signal(Table(frame, dataset), dataset) == [("copy", pytest.approx(1.0))]


def test_ids_and_leaks_do_not_count_as_left_out(students_2000: Table) -> None:
    assert left_out_signal(students_2000, students_2000.dataset) == []


def test_category_that_was_left_out_explains_its_adjusted_share(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 4, 200)
    target = levels % 3 + rng.normal(size=200)
    dataset = make_dataset({"x": {"kind": "number"}, "level": {"kind": "unused"}})
    frame = pd.DataFrame(
        {"x": rng.normal(size=200), "level": np.array(list("abcd"))[levels], "y": target}
    )
    (found,) = left_out_signal(Table(frame, dataset), dataset)
    dummies = np.eye(4)[levels][:, 1:]
    share = LinearRegression().fit(dummies, target).score(dummies, target)
    assert found == ("level", pytest.approx(1 - (1 - share) * 199 / (200 - 4)))


def test_unused_numbers_in_text_are_read_as_numbers(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"x": {"kind": "number"}, "note": {"kind": "unused"}})
    values = np.arange(100.0)
    frame = pd.DataFrame(
        {"x": values, "note": [*values[:-3].astype(str), None, None, None], "y": values}
    )
    assert left_out_signal(Table(frame, dataset), dataset) == [("note", pytest.approx(1.0))]


@pytest.mark.parametrize(
    "note",
    [
        pytest.param([f"name {i}" for i in range(12)], id="text of its own in each row"),
        pytest.param(["inf", *map(str, range(11))], id="an infinite number"),
        pytest.param([None] * 12, id="no value"),
        pytest.param(["a"] * 12, id="one value"),
        pytest.param(["a", None] * 6, id="one value and holes"),
    ],
)
def test_unused_column_that_says_nothing_is_passed_over(
    note: list[Any], make_dataset: MakeDataset
) -> None:
    dataset = make_dataset({"x": {"kind": "number"}, "note": {"kind": "unused"}})
    target = np.random.default_rng(3).normal(size=12)
    table = Table(pd.DataFrame({"x": np.arange(12.0), "note": note, "y": target}), dataset)
    assert [name for name, share in left_out_signal(table, dataset) if not np.isfinite(share)] == []
