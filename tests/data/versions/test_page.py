from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from studperf.config.dataset import Dataset
from studperf.config.load import load_overrides
from studperf.data.schema import Table, check_table
from studperf.data.versions import effect
from studperf.data.versions.find import Version
from studperf.data.versions.rows import compare_rows
from studperf.report.pages.change import to_markdown
from studperf.report.views.change import ChangeView, view_change
from studperf.report.views.section import Section, plain
from studperf.scoring.metrics import FloatArray

Make = Callable[[str, pd.DataFrame], Version]
More = Callable[[int], pd.DataFrame]


@pytest.fixture
def told(
    version: Make, students: pd.DataFrame, dataset: Dataset
) -> Callable[[pd.DataFrame], tuple[str, dict[str, Section]]]:
    """What is said of a new version of the students."""

    def tell(new: pd.DataFrame) -> tuple[str, dict[str, Section]]:
        view = view_change(version("old", students), version("new", new), dataset)
        return plain(view.headline), by_title(view)

    return tell


def by_title(view: ChangeView) -> dict[str, Section]:
    return {section.title: section for section in view.sections}


def effect_on(rows: str, blocks: dict[str, Section]) -> list[str]:
    """What is said of ridge, scored on the rows of one version."""
    return next(
        row
        for row in blocks["Effect on a quick baseline"].rows
        if row[0] == "ridge" and row[1].startswith(rows)
    )


def drifted(blocks: dict[str, Section]) -> list[str]:
    return [row[0] for row in blocks["Drift"].rows if "drifted" in row[-1]]


def test_the_same_bytes_are_no_change(
    version: Make, students: pd.DataFrame, dataset: Dataset
) -> None:
    one = version("a", students)
    view = view_change(one, one, dataset)
    assert (view.headline, view.sections) == (f"No change: both have md5 {one.md5}.", [])


def test_rows_in_another_order_are_told_as_that(told, students: pd.DataFrame) -> None:  # noqa: ANN001
    headline, blocks = told(students.iloc[::-1].reset_index(drop=True))
    assert "the same rows in another order" in headline
    assert drifted(blocks) == []


def test_rows_that_came_went_and_changed_are_counted(
    told,  # noqa: ANN001 - a fixture
    students: pd.DataFrame,
    more: More,
) -> None:
    new = pd.concat([students.iloc[7:], more(30)], ignore_index=True)
    new.loc[:4, "sleep_hours"] = "8.9"
    new.loc[0, "age"] = "23"
    headline, blocks = told(new)
    assert headline.startswith("900 to 923 rows: 30 came, 7 went, 5 changed; ")
    assert blocks["Rows"].rows == [["sleep_hours", "5"], ["age", "1"]]


def test_new_rows_of_the_same_law_are_no_drift(told, students: pd.DataFrame, more: More) -> None:  # noqa: ANN001
    headline, blocks = told(pd.concat([students, more(400)], ignore_index=True))
    assert "; 0 of 23 columns drifted; " in headline
    assert "the 400 rows that came against all old ones" in blocks["Drift"].prose[0]
    assert effect_on("new", blocks)[-1] == "no difference seen"


def test_a_column_that_moved_is_named_first(told, students: pd.DataFrame, more: More) -> None:  # noqa: ANN001
    new = more(150)
    new["study_hours_per_day"] = (new["study_hours_per_day"].astype(float) + 2).astype(str)
    new["gender"] = "Other"
    headline, blocks = told(pd.concat([students, new], ignore_index=True))
    assert sorted(drifted(blocks)) == ["gender", "study_hours_per_day"]
    assert [row[0] for row in blocks["Drift"].rows[:2]] == drifted(blocks)
    assert "2 of 23 columns drifted (" in headline


def test_too_few_rows_to_tell_are_said_to_be(told, students: pd.DataFrame, more: More) -> None:  # noqa: ANN001
    new = more(30)
    new["gender"] = "Other"
    _, blocks = told(pd.concat([students, new], ignore_index=True))
    assert (
        blocks["Drift"].prose[0]
        == "30 rows differ: too few to tell whether a column drifted; about 100 are needed."
    )
    assert {row[-1] for row in blocks["Drift"].rows} == {"can't tell"}


@pytest.mark.parametrize(("before", "verdict"), [("good", "worse"), ("spoilt", "better")])
def test_a_target_that_was_spoilt_or_mended_shows_on_good_rows(
    version: Make, students: pd.DataFrame, dataset: Dataset, before: str, verdict: str
) -> None:
    spoilt = students.copy()
    spoilt["final_score"] = np.random.default_rng(0).permutation(spoilt["final_score"].to_numpy())
    versions = [version("good", students), version("spoilt", spoilt)]
    old, new = versions if before == "good" else versions[::-1]
    view = view_change(old, new, dataset)
    row = effect_on("old" if before == "good" else "new", by_title(view))
    assert row[-1] == verdict
    assert max(float(row[2]), float(row[3])) > 1.5 * min(float(row[2]), float(row[3]))
    assert verdict in plain(view.headline)


def test_rows_to_be_scored_are_trained_on_by_neither(
    students: pd.DataFrame, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[str], set[str]]] = []
    real = effect._predict

    def watch(train: Table, test: Table) -> dict[str, FloatArray]:
        seen.append((set(train.frame["student_id"]), set(test.frame["student_id"])))
        return real(train, test)

    monkeypatch.setattr(effect, "_predict", watch)
    new = students.iloc[100:].reset_index(drop=True)
    new.loc[:50, "sleep_hours"] = "8.9"  # known by their ids alone
    effect.measure_effect(check_table(students, dataset), check_table(new, dataset))
    assert len(seen) == 4
    assert all(len(test) > 50 and not train & test for train, test in seen)


def test_columns_and_levels_that_came_and_went_are_told(told, students: pd.DataFrame) -> None:  # noqa: ANN001
    new = students.drop(columns=["tutoring_hours"]).assign(city="Oslo")
    new.loc[:200, "gender"] = "Divers"
    new = new[new["ai_tools_used"] != "Gemini"]
    headline, blocks = told(new)
    assert blocks["Columns"].rows == [
        ["city", "new column, not named by the dataset"],
        ["tutoring_hours", "column is gone, a number"],
        ["gender", "new level: Divers"],
        ["ai_tools_used", "no longer there: Gemini"],
    ]
    assert "3 faults: training will refuse it" in headline
    assert blocks["Effect on a quick baseline"].prose == [
        "Not measured: the new version has faults, gender first."
    ]
    assert ["error", "new"] in [[row[0], row[3]] for row in blocks["Checks"].rows]


def test_a_baseline_does_with_the_columns_that_both_have(told, students: pd.DataFrame) -> None:  # noqa: ANN001
    _, blocks = told(students.drop(columns=["last_exam_score"]))
    assert (
        effect_on("new", blocks)[2:4] == [effect_on("new", blocks)[2]] * 2
    )  # the same rows, without the column
    _, blocks = told(students.drop(columns=["final_score"]))
    assert "can't be trained on" in blocks["Effect on a quick baseline"].prose[0]


def test_without_ids_a_changed_row_went_and_came(students: pd.DataFrame) -> None:
    other = load_overrides(["data.columns.student_id.kind=unused"]).data
    new = students.copy()
    new.loc[3, "age"] = "23"
    changes = compare_rows(students, new, other)
    assert (changes.changed, int(changes.fresh.sum()), int(changes.gone.sum())) == (None, 1, 1)


def test_what_stems_from_the_data_is_no_markdown(
    version: Make, students: pd.DataFrame, dataset: Dataset
) -> None:
    new = students.copy()
    new.loc[0, "gender"] = "a|b` @everyone [x](http://evil)\n# top"
    page = to_markdown(view_change(version("old", students), version("new", new), dataset))
    assert "`new level: a\\|b' @everyone [x](http://evil) # top`" in page
    assert "\n# top" not in page
    assert "**3 faults" not in page
    assert "| **new** |" in page
