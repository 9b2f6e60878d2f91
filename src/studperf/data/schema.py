"""Holds a raw table against its dataset, lists every fault, and gives the columns their types."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from studperf.config.dataset import Column, Dataset
from studperf.errors import DataError, listing

_N_EXAMPLES = 3
_N_ID_LIKE = 50
_FLAGS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0, "n": 0.0, "y": 1.0}


@dataclass(frozen=True)
class Finding:
    """One thing seen in a table. An error stops the run, a warning goes into the record."""

    level: Literal["error", "warning"]
    where: str
    what: str

    def __str__(self) -> str:
        """As a line of a message."""
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Table:
    """A checked table: numbers and flags as float64, categories as text, missing values as NaN or None, target float64 if there."""

    frame: pd.DataFrame
    dataset: Dataset
    warnings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.frame)

    @property
    def has_target(self) -> bool:
        """Whether the rows can be scored."""
        return self.dataset.target.column in self.frame

    @property
    def target(self) -> np.ndarray:
        """(N,) target, in its own unit."""
        return self.frame[self.dataset.target.column].to_numpy(dtype=np.float64)

    def rows(self, index: np.ndarray) -> Table:
        """The table of these rows, in this order."""
        return Table(self.frame.iloc[index], self.dataset, self.warnings)


@dataclass
class _Check:
    """Collects findings, so that all of them are told at once."""

    dataset: Dataset
    for_training: bool = True
    findings: list[Finding] = field(default_factory=list)

    def error(self, where: str, what: str) -> None:
        self.findings.append(Finding("error", where, what))

    def warn(self, where: str, what: str) -> None:
        self.findings.append(Finding("warning", where, what))


def check_table(raw: pd.DataFrame, dataset: Dataset, *, for_training: bool = True) -> Table:
    """A typed table, or one error that lists every fault.

    Rows count from 1 below the header.

    Args:
        raw: as read: text, or the types of a Parquet file.
        dataset: what the table should be.
        for_training: a table to train on needs its target, all named columns and a target that varies; one to predict for does not.

    Raises:
        DataError: every column at fault, with rows, values, what was expected and the way out.
    """
    table, findings = inspect_table(raw, dataset, for_training=for_training)
    if errors := [str(finding) for finding in findings if finding.level == "error"]:
        raise DataError(listing(f"The table is not what dataset {dataset.name!r} describes", errors))
    return table


def inspect_table(raw: pd.DataFrame, dataset: Dataset, *, for_training: bool = True) -> tuple[Table, list[Finding]]:
    """The table as far as it can be typed, and all findings; `check_table` without the raising."""
    check = _Check(dataset, for_training=for_training)
    _check_columns(raw, check, for_training=for_training)
    raw = _drop_targetless(raw.reset_index(drop=True), check) if for_training else raw.reset_index(drop=True)
    if raw.empty:
        check.error("table", "has a header but no rows")
        return Table(pd.DataFrame(columns=list(dataset.columns)), dataset), check.findings
    typed: dict[str, pd.Series] = {}
    for name, column in dataset.columns.items():
        if name in raw:
            typed[name] = _type_column(raw[name], name, column, check, for_training=for_training)
    if dataset.target.column in raw:
        typed[dataset.target.column] = _type_target(raw[dataset.target.column], check, for_training=for_training)
    frame = pd.DataFrame(typed)
    features = [name for name in dataset.feature_names if name in frame]
    if for_training and len(frame) > 1 and features and (frame[features].nunique(dropna=False) == 1).all():
        check.error("table", "every feature has the same value in all rows: there is nothing to learn from")
    if for_training and not any(finding.level == "error" for finding in check.findings):
        _warn_of_duplicates(frame, check)
    warnings = tuple(finding for finding in check.findings if finding.level == "warning")
    return Table(frame, dataset, warnings), check.findings


def _check_columns(raw: pd.DataFrame, check: _Check, *, for_training: bool) -> None:
    dataset, found = check.dataset, [str(name) for name in raw.columns]
    known = {*dataset.columns, dataset.target.column}
    surplus = [name for name in found if name not in known]
    needed = [*dataset.feature_names, *([dataset.target.column] if for_training else [])]
    for name in needed:
        if name not in found:
            nearest = difflib.get_close_matches(name, surplus or found, n=1)
            hint = f"; closest in the file: {nearest[0]!r}" if nearest else ""
            check.error(name, f"the column is missing (the file has {len(found)} columns){hint}")
    for name in dataset.columns:
        if name not in found and name not in needed and for_training:
            check.warn(name, f"the column, of kind {dataset.columns[name].kind}, is not in the file")
    for name in surplus:
        if for_training:
            check.error(name, f"the dataset does not name this column; add to `columns:` the line `{suggest_line(name, raw[name])}`")
        else:
            check.warn(name, "unknown column, ignored")


def suggest_line(name: str, values: pd.Series) -> str:
    """The YAML line for a column that a dataset does not name yet."""
    numbers = pd.to_numeric(values.astype(str), errors="coerce")
    kind = "number" if numbers.notna().mean() > 0.5 else "category"  # noqa: PLR2004 - mostly numbers
    return f"{name}: {{kind: {kind}}}   # or id, leak, unused"


def _drop_targetless(raw: pd.DataFrame, check: _Check) -> pd.DataFrame:
    name = check.dataset.target.column
    if not check.dataset.drop_missing_target or name not in raw:
        return raw
    missing = _is_missing(raw[name], check.dataset)
    if missing.any():
        check.warn(name, f"{_n(missing, 'row')} without a target left out, as data.drop_missing_target=true asks")
    return raw[~missing].reset_index(drop=True)


def _is_missing(values: pd.Series, dataset: Dataset) -> pd.Series:
    return values.isna() | values.isin(dataset.source.missing)


def _type_column(values: pd.Series, name: str, column: Column, check: _Check, *, for_training: bool) -> pd.Series:
    missing = _is_missing(values, check.dataset)
    if column.kind == "id":
        _check_id(values, missing, name, check)
    if column.kind not in ("number", "flag", "category") or name not in check.dataset.feature_names:
        return values.where(~missing, None)
    if missing.any() and column.fill is None:
        _refuse_missing(missing, name, column, check)
    if missing.all():
        check.error(name, "no row has a value")
    match column.kind:
        case "number":
            typed = _to_numbers(values, missing, name, check)
            _check_range(typed, name, column.range, column.unit or "", check)
        case "flag":
            typed = _to_flags(values, missing, name, check)
        case _:
            typed = _to_levels(values, missing, name, column, check, for_training=for_training)
    if for_training and typed.nunique(dropna=False) == 1:
        check.warn(name, f"every row has the value {_show(typed.iloc[0])}: the column carries no information")
    return typed


def _check_id(values: pd.Series, missing: pd.Series, name: str, check: _Check) -> None:
    repeated = values.duplicated(keep=False) & ~missing
    if repeated.any():
        check.error(name, f"an id names one row, but {_examples(values, repeated)} {_come(repeated)} more than once")


def _refuse_missing(missing: pd.Series, name: str, column: Column, check: _Check) -> None:
    fill = f"data.columns.{name}.fill={'median' if column.kind == 'number' else 'mode'}"
    way_out = f"say how to fill: {fill}" if check.for_training else f"correct the rows, or train again with {fill}"
    if column.kind == "category" and "None" in (column.levels or ()):
        way_out = "'None' is one of its levels: was the file written by a program that reads 'None' as missing? Otherwise " + way_out
    check.error(name, f"{_n(missing, 'missing value')} ({_rows(missing)}); {way_out}")


def _to_numbers(values: pd.Series, missing: pd.Series, name: str, check: _Check) -> pd.Series:
    numbers = pd.to_numeric(values.where(~missing, None), errors="coerce").astype(np.float64)
    text = numbers.isna() & ~missing
    if text.any():
        examples = _examples(values, text)
        check.error(
            name,
            f"{_are(text, 'value')} {'not a number' if text.sum() == 1 else 'not numbers'}: {examples}; if they mean missing, name them in data.source.missing",
        )
    infinite = numbers.abs() == np.inf
    if infinite.any():
        check.error(name, f"{_are(infinite, 'value')} infinite ({_rows(infinite)}); correct them or leave the rows out")
    return numbers


def _check_range(numbers: pd.Series, name: str, ends: tuple[float, float] | None, unit: str, check: _Check) -> None:
    if ends is None:
        return
    outside = ((numbers < ends[0]) | (numbers > ends[1])) & np.isfinite(numbers)
    if outside.any():
        expected = f"{ends[0]:g} to {ends[1]:g} {unit}".rstrip()
        check.error(
            name,
            f"{_are(outside, 'value')} outside of {expected}: {_examples(numbers, outside)}; correct the rows, or the range in the dataset",
        )


def _to_flags(values: pd.Series, missing: pd.Series, name: str, check: _Check) -> pd.Series:
    text = values.astype(str).str.strip().str.lower().str.removesuffix(".0")
    flags = text.map(_FLAGS).astype(np.float64).where(~missing)
    strange = flags.isna() & ~missing
    if strange.any():
        check.error(name, f"a flag is 0/1, true/false or yes/no, got {_examples(values, strange)}")
    return flags


def _to_levels(values: pd.Series, missing: pd.Series, name: str, column: Column, check: _Check, *, for_training: bool) -> pd.Series:
    levels = as_levels(values).where(~missing, None)
    n_levels, n_rows = levels.nunique(), int((~missing).sum())
    if for_training and n_rows >= _N_ID_LIKE and n_levels > n_rows / 2:
        check.error(name, f"has {n_levels} different values in {n_rows} rows: an identifier, not a category; give it kind id or unused")
    elif column.levels is not None:
        unseen = ~levels.isin(column.levels) & ~missing
        if unseen.any() and column.unseen == "refuse":
            known = ", ".join(column.levels)
            way_out = "Correct them, or set unseen: other" if for_training else "Correct them, or train again with unseen: other"
            examples = _examples(levels, unseen)
            check.error(name, f"unknown level in {_n(unseen, 'row')}: {examples}; known: {known}. {way_out}")
        elif unseen.any():
            check.warn(name, f"unknown level in {_n(unseen, 'row')} taken as 'other': {_examples(levels, unseen)}")
    return levels


def as_levels(values: pd.Series) -> pd.Series:
    """Values as level names; 3 and 3.0 are the same level, as a missing value turns a column of integers into floats."""
    if pd.api.types.is_float_dtype(values):
        whole = values.dropna()
        if (whole == whole.round()).all():
            values = values.astype("Int64")
    return values.astype(object).where(values.notna(), None).map(_as_level)


def _as_level(value: object) -> str | None:
    return None if value is None else str(value)


def _type_target(values: pd.Series, check: _Check, *, for_training: bool) -> pd.Series:
    target = check.dataset.target
    missing = _is_missing(values, check.dataset)
    numbers = pd.to_numeric(values.where(~missing, None), errors="coerce").astype(np.float64)
    text = numbers.isna() & ~missing
    if text.any():
        check.error(
            target.column,
            f"{_are(text, 'target')} {'not a number' if text.sum() == 1 else 'not numbers'}: {_examples(values, text)}; if they mean missing, name them in data.source.missing",
        )
    if missing.any() and for_training:
        way_out = "leave them out with data.drop_missing_target=true"
        check.error(target.column, f"{_n(missing, 'row')} without a target ({_rows(missing)}); {way_out}")
    infinite = numbers.abs() == np.inf
    if infinite.any():
        check.error(target.column, f"{_are(infinite, 'target')} infinite ({_rows(infinite)})")
    _check_range(numbers, target.column, target.range, target.unit, check)
    if for_training and len(numbers) > 1 and numbers.nunique() == 1:
        check.error(target.column, f"every row has the target {numbers.iloc[0]:g}: there is nothing to learn")
    return numbers


def _warn_of_duplicates(frame: pd.DataFrame, check: _Check) -> None:
    columns = [*check.dataset.feature_names, check.dataset.target.column]
    repeated = frame.duplicated(subset=columns)
    if repeated.any():
        what = f"{_n(repeated, 'copy', 'copies')} of another row, target included ({_rows(repeated)}); the split keeps equal rows together"
        check.warn("table", what)


def _rows(mask: pd.Series) -> str:
    index = np.flatnonzero(mask.to_numpy())
    more = f" and {len(index) - _N_EXAMPLES} more" if len(index) > _N_EXAMPLES else ""
    return f"row{'s' if len(index) > 1 else ''} {', '.join(str(i + 1) for i in index[:_N_EXAMPLES])}{more}"


def _examples(values: pd.Series, mask: pd.Series) -> str:
    index = np.flatnonzero(mask.to_numpy())
    shown = ", ".join(f"{_show(values.iloc[i])} (row {i + 1})" for i in index[:_N_EXAMPLES])
    return shown + (f" and {len(index) - _N_EXAMPLES} more" if len(index) > _N_EXAMPLES else "")


def _show(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _n(mask: pd.Series, one: str, several: str | None = None) -> str:
    return f"{int(mask.sum())} {_noun(mask, one, several)}"


def _noun(mask: pd.Series, one: str, several: str | None = None) -> str:
    return one if mask.sum() == 1 else several or f"{one}s"


def _are(mask: pd.Series, one: str) -> str:
    return f"{_n(mask, one)} {'is' if mask.sum() == 1 else 'are'}"


def _come(mask: pd.Series) -> str:
    return "comes" if mask.sum() == 1 else "come"
