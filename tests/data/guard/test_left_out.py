from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from studperf.config.dataset import Dataset
from studperf.config.load import load_overrides
from studperf.data.guard import left_out
from studperf.data.guard.left_out import explained_share, left_out_signal
from studperf.data.schema import Table, check_table
from studperf.data.simulate import simulate

MakeDataset = Callable[..., Dataset]


@pytest.fixture(scope="module")
def students_2000() -> Table:
    dataset = load_overrides(["data.source.simulate.rows=2000", "data.source.simulate.seed=7"]).data
    return check_table(simulate(dataset), dataset)


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
    target, other = np.random.default_rng(0).normal(57, 13, (2, 400))
    dataset = make_dataset(
        {"x": {"kind": "number"}, "copy": {"kind": "unused"}, "id": {"kind": "id"}}
    )
    frame = pd.DataFrame({"x": other, "copy": target, "id": target, "y": target})
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


# Whatever a column holds


def share_of(values: Any, target: np.ndarray) -> float:
    return explained_share(pd.Series(values), target)


def makes() -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """600 rows of 120 levels that carry two thirds of the variance."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 120, 600)
    return level, rng.normal(0, 2, 120)[level] + rng.normal(0, 1.4, 600), rng


def test_category_of_many_levels_is_measured() -> None:
    level, target, _ = makes()
    assert 0.4 < share_of([f"make {i}" for i in level], target) < 0.75


def test_codes_that_are_no_quantity_are_measured_as_levels() -> None:
    level, target, rng = makes()
    code = rng.permutation(10_000)[:120]
    assert 0.4 < share_of(code[level], target) < 0.75
    assert 0.4 < share_of([f"{number:05d}" for number in code[level]], target) < 0.75


def test_number_that_matters_in_the_middle_is_measured() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-3, 3, 800)
    assert share_of(values, values**2 + rng.normal(size=800)) > 0.7


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y %H:%M", "%b %d, %Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%S"],
)
def test_dates_are_measured_by_their_trend_and_their_season(form: str) -> None:
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2015-03-01") + pd.to_timedelta(rng.integers(0, 2000, 700), unit="D")
    text = days.strftime(form).to_numpy()
    trend = np.asarray((days - days.min()).days) / 500 + rng.normal(size=700)
    season = np.where(np.isin(days.month, (11, 12, 1)), 2.0, 0.0) + rng.normal(size=700)
    assert share_of(text, trend) > 0.4
    assert share_of(text, season) > 0.25


@pytest.mark.parametrize("text", ["{:.1f} kg", "$ {:.2f}", "about {:.0f}", "{:.1f}%"])
def test_numbers_within_text_are_measured(text: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(10, 99, 500)
    assert share_of([text.format(value) for value in values], values + rng.normal(size=500)) > 0.9


def test_numbers_with_decimal_commas_are_measured() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(10, 99, 500)
    text = [f"{value:.3f}".replace(".", ",") for value in values]
    assert share_of(text, values + rng.normal(size=500)) > 0.9


def test_the_first_word_of_names_is_measured() -> None:
    level, target, _ = makes()
    letters = "".join(chr(97 + i) for i in range(12))
    names = [f"{letters[i % 12]}maker model {n}" for n, i in enumerate(level)]
    by_maker = pd.Series(target).groupby(level % 12).transform("mean").to_numpy()
    strong = by_maker * 3 + np.random.default_rng(1).normal(0, 0.5, 600)
    assert share_of(names, strong) > 0.2


def test_whether_a_value_is_missing_is_measured() -> None:
    rng = np.random.default_rng(0)
    is_missing = rng.random(500) < 0.3
    target = is_missing * 2 + rng.normal(size=500)
    assert share_of(np.where(is_missing, np.nan, rng.normal(size=500)), target) > 0.2
    assert share_of([None if m else f"note {i}" for i, m in enumerate(is_missing)], target) > 0.2


NOISE: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "numbers": lambda rng, n: rng.normal(size=n),
    "few levels": lambda rng, n: rng.choice(list("abcde"), n),
    "many levels": lambda rng, n: [f"l{i}" for i in rng.integers(0, n // 3, n)],
    "levels of two rows": lambda rng, n: [f"l{i}" for i in rng.permutation(n) // 2],
    "codes": lambda rng, n: rng.integers(0, n // 4, n),
    "text of its own": lambda rng, n: [f"text {i} {x:.3f}" for i, x in enumerate(rng.random(n))],
    "dates": lambda rng, n: (
        (pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"))
        .strftime("%Y/%m/%d")
        .to_numpy()
    ),
    "heavy numbers": lambda rng, n: rng.lognormal(0, 3, n),
    "holes": lambda rng, n: np.where(rng.random(n) < 0.4, np.nan, rng.normal(size=n)),
}


@pytest.mark.parametrize("n", [60, 400])
@pytest.mark.parametrize("kind", NOISE)
def test_noise_is_not_named(kind: str, n: int) -> None:
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        target = rng.lognormal(0, 1, n) if seed % 2 else rng.normal(size=n)
        found.append(share_of(NOISE[kind](rng, n), target))
    assert sum(share >= 0.02 for share in found) == 0


def test_a_large_table_is_sampled_and_long_cells_are_cut() -> None:
    rng = np.random.default_rng(0)
    dataset = Dataset.model_validate(
        {
            "name": "large",
            "source": {"path": "large.csv", "otherwise": "fail"},
            "target": {"column": "y"},
            "columns": {"x": {"kind": "number"}, "page": {"kind": "unused"}},
            "split": {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 0},
        }
    )
    level = rng.integers(0, 5, 25_000)
    page = [f"{'abcde'[i]} " + "word " * 200 for i in range(5)]
    frame = pd.DataFrame(
        {
            "x": 0.0,
            "page": np.array(page, dtype=object)[level],
            "y": level + rng.normal(size=25_000),
        }
    )
    ((name, share),) = left_out_signal(Table(frame, dataset), dataset)
    assert name == "page"
    assert share == pytest.approx(2 / 3, abs=0.03)


@pytest.mark.parametrize("unit", [2.0**-900, 2.0**900])
def test_share_is_the_same_in_any_unit(unit: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=300)
    target = values + rng.normal(size=300)
    share = explained_share(pd.Series(values), target)
    assert share > 0.3
    assert explained_share(pd.Series(values * unit), target * unit) == share


def test_a_line_that_nothing_taught_guesses_the_mean() -> None:
    target = np.arange(100.0)
    numbers = np.full(100, np.nan)
    numbers[0] = 1e6
    guess = left_out._guess_by_line(numbers, target)
    assert guess.max() < 100
