"""What a dataset's YAML may say. Each refusal is read as a user reads it: as a line of the message that `load` gives."""

import copy
import functools
import textwrap
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from pydantic import ValidationError

from studperf.config.dataset import Dataset
from studperf.config.load import compose, load, load_overrides
from studperf.errors import ConfigError

SMALL = """
    name: small
    source:
      path: small.csv
      otherwise: simulate
      simulate: {rows: 10, seed: 0, noise_sd: 1.0, intercept: 0.0, law: {hours: 2.0}}
    target: {column: score, unit: points, range: [0, 100]}
    columns:
      id: {kind: id}
      hours: {kind: number, unit: hours, range: [0, 24], typical: [1, 6], step: 0.5, fill: median}
      tool: {kind: category, levels: [Pen, Paper], unseen: other, fill: mode}
      late: {kind: flag, fill: mode}
      passed: {kind: leak, why: score >= 40, cut: {at: [40], labels: ["0", "1"]}}
      notes: {kind: unused}
    split: {train: 0.8, val: 0.1, test: 0.1, seed: 42}
"""


@functools.cache
def _rest() -> dict[str, Any]:
    return OmegaConf.to_container(compose(), resolve=True)  # type: ignore[return-value]


def small(changes: str = "") -> dict[str, Any]:
    """The small dataset with YAML laid over it; an empty value takes nothing away."""
    return merged(
        yaml.safe_load(textwrap.dedent(SMALL)), yaml.safe_load(textwrap.dedent(changes)) or {}
    )


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        base[key] = merged(base[key], value) if both else value
    return base


def refusal(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load({**copy.deepcopy(_rest()), "data": data})
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


def column(text: str) -> list[str]:
    """The faults of a dataset that holds one more column."""
    data = small()
    data["columns"]["extra"] = yaml.safe_load(text)
    return refusal(data)


def test_the_small_dataset_is_accepted_and_read_as_written() -> None:
    dataset = load({**copy.deepcopy(_rest()), "data": small()}).data
    assert dataset == Dataset.model_validate(small())
    assert dataset.feature_names == ("hours", "tool", "late")
    assert dataset.of_kind("number", "flag") == ("hours", "late")
    assert dataset.of_kind("leak") == ()


def test_features_narrow_the_columns_and_keep_the_order_of_the_yaml() -> None:
    assert Dataset.model_validate(small("features: [late, hours]")).feature_names == (
        "hours",
        "late",
    )


def test_numbers_among_the_levels_are_text() -> None:
    assert Dataset.model_validate(small("columns: {tool: {levels: [1, 2.5, three]}}")).columns[
        "tool"
    ].levels == ("1", "2.5", "three")


def test_labels_of_a_cut_are_text_too() -> None:
    cut = (
        Dataset.model_validate(small("columns: {passed: {cut: {at: [40], labels: [0, 1]}}}"))
        .columns["passed"]
        .cut
    )
    assert cut is not None
    assert cut.labels == ("0", "1")


def test_a_column_that_is_never_read_may_say_anything() -> None:
    data = small("columns: {notes: {range: [0, 1], levels: [a]}, id: {unit: number}}")
    assert Dataset.model_validate(data).columns["notes"].range == (0, 1)


def test_a_recorded_dataset_is_accepted_again() -> None:
    dataset = Dataset.model_validate(small())
    assert Dataset.model_validate(dataset.model_dump(mode="json")) == dataset


def test_a_dataset_cannot_be_changed_once_checked() -> None:
    dataset = Dataset.model_validate(small())
    for block in (
        dataset,
        dataset.source,
        dataset.target,
        dataset.split,
        dataset.columns["hours"],
        dataset.columns["passed"].cut,
    ):
        name = next(iter(type(block).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(block, name, None)


COLUMNS = {
    "a number with levels": (
        "{kind: number, levels: [a]}",
        "a number has no levels; it can have fill, range, step, typical, unit",
    ),
    "a number with unseen": (
        "{kind: number, unseen: other}",
        "a number has no unseen; it can have fill, range, step, typical, unit",
    ),
    "a category with a range": (
        "{kind: category, levels: [a], range: [0, 1]}",
        "a category has no range; it can have fill, levels, rare, unseen",
    ),
    "a category with two wrong keys": (
        "{kind: category, unit: hours, step: 1}",
        "a category has no step, unit; it can have fill, levels, rare, unseen",
    ),
    "a flag with levels": (
        "{kind: flag, levels: [a, b]}",
        "a flag has no levels; it can have fill",
    ),
    "a range that falls": (
        "{kind: number, range: [24, 0]}",
        "range: the lower end must come first, got [24.0, 0.0]",
    ),
    "a range of one point": (
        "{kind: number, range: [1, 1]}",
        "range: the lower end must come first, got [1.0, 1.0]",
    ),
    "typical values that fall": (
        "{kind: number, typical: [6, 1]}",
        "typical: the lower end must come first, got [6.0, 1.0]",
    ),
    "a level named twice": (
        "{kind: category, levels: [a, b, a]}",
        "levels: at least one, each named once",
    ),
    "a level named as number and text": (
        '{kind: category, levels: [1, "1"]}',
        "levels: at least one, each named once",
    ),
    "no levels": ("{kind: category, levels: []}", "levels: at least one, each named once"),
    "a number filled by a word": (
        "{kind: number, fill: average}",
        "fill: median, mode or a number, got 'average'",
    ),
    "the median of a category": (
        "{kind: category, fill: median}",
        "fill: a category has no median; use mode or a value",
    ),
    "the median of a flag": (
        "{kind: flag, fill: median}",
        "fill: a flag has no median; use mode or a value",
    ),
}


@pytest.mark.parametrize(("text", "message"), COLUMNS.values(), ids=COLUMNS.keys())
def test_a_column_that_contradicts_its_kind_is_refused(text: str, message: str) -> None:
    (fault,) = column(text)
    assert fault.startswith(f"data.columns.extra: {message}")


KEYS = {
    "an unknown kind": (
        "{kind: nmber}",
        "data.columns.extra.kind: must be 'number', 'category', 'flag', 'id', 'leak' or 'unused', got 'nmber'",
    ),
    "no kind": ("{unit: hours}", "data.columns.extra.kind: is missing"),
    "a misspelt key": (
        "{kind: number, rnge: [0, 1]}",
        "data.columns.extra.rnge: unknown; the nearest valid name is 'range'",
    ),
    "a range with one end": (
        "{kind: number, range: [0]}",
        "data.columns.extra.range.1: is missing",
    ),
    "a range with three ends": ("{kind: number, range: [0, 1, 2]}", "data.columns.extra.range: "),
    "a range of words": (
        "{kind: number, range: [low, high]}",
        "data.columns.extra.range.0: must be a valid number",
    ),
    "a step of zero": (
        "{kind: number, step: 0}",
        "data.columns.extra.step: must be greater than 0, got 0",
    ),
    "an unknown answer to unseen levels": (
        "{kind: category, unseen: skip}",
        "data.columns.extra.unseen: must be 'refuse' or 'other', got 'skip'",
    ),
    "levels that YAML reads as booleans": (
        "{kind: category, levels: [yes, no]}",
        "data.columns.extra.levels.0: a level is text: ",
    ),
    "a level that YAML reads as nothing": (
        "{kind: category, levels: [null]}",
        "data.columns.extra.levels.0: a level is text: ",
    ),
    "a level that is a list": (
        "{kind: category, levels: [[a]]}",
        "data.columns.extra.levels.0: must be a valid string",
    ),
    "one level that is no list": (
        "{kind: category, levels: abc}",
        "data.columns.extra.levels: must be a list, such as [a,b], got 'abc'",
    ),
    "fewer labels than intervals": (
        "{kind: leak, cut: {at: [40, 60], labels: [a, b]}}",
        "data.columns.extra.cut: `at` holds rising cut points and `labels` one label more than cut points",
    ),
    "more labels than intervals": (
        "{kind: leak, cut: {at: [40], labels: [a, b, c]}}",
        "data.columns.extra.cut: `at` holds rising cut points and `labels` one label more than cut points",
    ),
    "cut points that fall": (
        "{kind: leak, cut: {at: [60, 40], labels: [a, b, c]}}",
        "data.columns.extra.cut: `at` holds rising cut points and `labels` one label more than cut points",
    ),
    "a misspelt key of a cut": (
        "{kind: leak, cut: {at: [40], lables: [a, b]}}",
        "data.columns.extra.cut.lables: unknown; the nearest valid name is 'labels'",
    ),
    "a column that is only its kind": (
        "number",
        "data.columns: write each column as `extra: {kind: number}`",
    ),
    "a column that is nothing": (
        "null",
        "data.columns: write each column as `extra: {kind: number}`",
    ),
}


@pytest.mark.parametrize(("text", "message"), KEYS.values(), ids=KEYS.keys())
def test_a_wrong_key_of_a_column_is_refused_by_its_place(text: str, message: str) -> None:
    assert any(fault.startswith(message) for fault in column(text))


def test_a_level_read_as_a_boolean_is_shown_as_it_may_be_written() -> None:
    data = small("columns: {tool: {levels: [on, off]}}")
    assert refusal(data) == [
        "data.columns.tool.levels.0: a level is text: write 'True' in quotes",
        "data.columns.tool.levels.1: a level is text: write 'False' in quotes",
    ]


DATASETS = {
    "the target among the columns": (
        "target: {column: hours}",
        "data: 'hours' is the target; it can't be one of the columns too",
    ),
    "a feature that is no column": (
        "features: [hours, huors]",
        "data: features: no column is named 'huors'",
    ),
    "a feature of kind id": (
        "features: [id]",
        "data: features: 'id' is of kind id, which can't be a feature",
    ),
    "a feature of kind leak": (
        "features: [hours, passed]",
        "data: features: 'passed' is of kind leak, which can't be a feature",
    ),
    "no features": (
        "features: []",
        "data: no column is of kind number, category or flag, so there is nothing to learn from",
    ),
    "an allowed leak that no model sees": (
        "allow_leaks: [passed]",
        "data: allow_leaks: 'passed' is of kind leak, so no model sees it",
    ),
    "an allowed leak that is no column": (
        "allow_leaks: [pased]",
        "data: allow_leaks: no column is named 'pased'",
    ),
    "a law over no column": (
        "source: {simulate: {law: {huors: 1}}}",
        "data: source.simulate.law: no column is named 'huors'",
    ),
    "a law over a category": (
        "source: {simulate: {law: {tool: 1}}}",
        "data: source.simulate.law: 'tool' is of kind category",
    ),
    "no way to a table": (
        "source: {path: null, otherwise: fail}",
        "data.source: there is no path, and otherwise=fail forbids the simulator: set data.source.path=FILE",
    ),
    "a path of no letters": (
        "source: {path: ' '}",
        "data.source: the path is empty: set data.source.path=FILE, or data.source.path=null to simulate",
    ),
    "a simulator without a block": (
        "source: {simulate: null}",
        "data.source: otherwise=simulate needs a `simulate` block",
    ),
    "an unknown way out": (
        "source: {otherwise: download}",
        "data.source.otherwise: must be 'simulate' or 'fail', got 'download'",
    ),
    "a misspelt key of the source": (
        "source: {pth: a.csv}",
        "data.source.pth: unknown; the nearest valid name is 'path'",
    ),
    "no rows to simulate": (
        "source: {simulate: {rows: 0}}",
        "data.source.simulate.rows: must be greater than 0, got 0",
    ),
    "half a row to simulate": (
        "source: {simulate: {rows: 1.5}}",
        "data.source.simulate.rows: must be a valid integer, got 1.5",
    ),
    "noise below zero": (
        "source: {simulate: {noise_sd: -1}}",
        "data.source.simulate.noise_sd: must be greater than or equal to 0, got -1",
    ),
    "a law that is no number": (
        "source: {simulate: {law: {hours: much}}}",
        "data.source.simulate.law.hours: must be a valid number",
    ),
    "a noise floor below zero": (
        "target: {noise_floor: -1}",
        "data.target.noise_floor: must be greater than or equal to 0, got -1",
    ),
    "a target range that falls": (
        "target: {range: [100, 0]}",
        "data.target.range: the lower end must come first, got [100.0, 0.0]",
    ),
    "a split above one": (
        "split: {train: 0.9, val: 0.9, test: 0.1}",
        "data.split: train + val + test must be 1, got 0.9 + 0.9 + 0.1 = 1.9",
    ),
    "a split below one": (
        "split: {train: 0.7}",
        "data.split: train + val + test must be 1, got 0.7 + 0.1 + 0.1 = 0.9",
    ),
    "a split without a part": (
        "split: {test: 0}",
        "data.split.test: must be greater than 0, got 0",
    ),
    "a split in percent": ("split: {train: 80}", "data.split.train: must be less than 1, got 80"),
    "a split seed that is no integer": (
        "split: {seed: 4.2}",
        "data.split.seed: must be a valid integer, got 4.2",
    ),
    "a misspelt key at the top": (
        "allow_leak: [passed]",
        "data.allow_leak: unknown; the nearest valid name is 'allow_leaks'",
    ),
    "features that are no list": (
        "features: hours",
        "data.features: must be a list, such as [a,b], got 'hours'",
    ),
    "columns in a list": (
        "columns: [hours]",
        "data.columns: must be a block of keys, got ['hours']",
    ),
    "no columns": ("columns: null", "data.columns: must be a block of keys, got None"),
}


@pytest.mark.parametrize(("changes", "message"), DATASETS.values(), ids=DATASETS.keys())
def test_a_dataset_that_contradicts_itself_is_refused(changes: str, message: str) -> None:
    assert any(fault.startswith(message) for fault in refusal(small(changes)))


def test_a_split_that_only_rounding_keeps_from_one_is_accepted() -> None:
    split = Dataset.model_validate(small("split: {train: 0.7, val: 0.2, test: 0.1}")).split
    assert split.train + split.val + split.test != 1


def test_a_dataset_without_any_column_is_refused_in_a_sentence() -> None:
    data = small()
    data["columns"] = {}
    (fault,) = refusal(data)
    assert fault.startswith("data.columns: ")
    assert "at least 1" in fault
    assert "must be Dictionary should" not in fault


def test_a_dataset_without_features_is_refused() -> None:
    data = small("source: {simulate: {law: {}}}")
    data["columns"] = {"id": {"kind": "id"}, "passed": {"kind": "leak"}}
    data["source"]["simulate"]["law"] = {}
    assert refusal(data) == [
        "data: no column is of kind number, category or flag, so there is nothing to learn from"
    ]


def test_a_dataset_that_lacks_blocks_is_told_all_of_them() -> None:
    assert refusal({}) == [
        f"data.{name}: is missing" for name in ("name", "source", "target", "columns", "split")
    ]


def test_faults_of_several_columns_are_listed_together() -> None:
    data = small(
        "columns: {hours: {range: [24, 0]}, tool: {levels: [a, a]}, late: {unit: minutes}}"
    )
    assert [fault.split(": ")[0] for fault in refusal(data)] == [
        f"data.columns.{name}" for name in ("hours", "tool", "late")
    ]


def test_all_names_that_are_no_column_are_listed_together() -> None:
    text = "\n".join(
        refusal(
            small(
                "features: [huors, tol]\nallow_leaks: [pased]\nsource: {simulate: {law: {lte: 1}}}"
            )
        )
    )
    for name in ("huors", "tol", "pased", "lte"):
        assert repr(name) in text


def test_all_faults_of_one_column_are_listed_together() -> None:
    text = "\n".join(column("{kind: number, range: [1, 0], levels: [a], fill: average}"))
    for part in ("range: the lower end", "a number has no levels", "fill: median"):
        assert part in text


@pytest.mark.parametrize(
    "changes",
    ["features: [huors]", "allow_leaks: [huors]", "source: {simulate: {law: {huors: 1}}}"],
)
def test_the_nearest_column_is_named_for_one_that_is_not_there(changes: str) -> None:
    (fault,) = refusal(small(changes))
    assert "'hours'" in fault


def test_a_range_needs_two_finite_ends() -> None:
    assert column("{kind: number, range: [0, .nan]}") == [
        "data.columns.extra.range.1: must be a finite number, got nan"
    ]


def test_an_encoding_that_python_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.source\.encoding: .*no encoding 'utf-9'"):
        load_overrides(["data.source.encoding=utf-9"])
