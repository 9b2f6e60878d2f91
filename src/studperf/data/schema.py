"""Check a raw table against its dataset, list every fault, and give the columns their types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from studperf.config.dataset import Column, Dataset
from studperf.config.document import write_key
from studperf.data.numbers import to_numbers
from studperf.errors import DataError, listing
from studperf.schema.cells import read_flag, to_text
from studperf.schema.findings import (
    N_SOME,
    Cells,
    Facts,
    Finding,
    Show,
    has_error,
    observe_flags,
    observe_numbers,
    show,
)
from studperf.schema.judge import (
    Copies,
    judge_copies,
    judge_dropped,
    judge_header,
    judge_rows,
    no_rows,
)
from studperf.schema.numbers import LARGEST_WHOLE

__all__ = [
    "Finding",
    "Table",
    "as_levels",
    "check_table",
    "inspect_table",
    "raise_faults",
    "suggest_line",
    "type_rows",
]


@dataclass(frozen=True)
class Table:
    """A checked table with typed columns.

    Numbers, flags and the target (if there is one) are float64, categories text; missing values
    are NaN or None. The index of `frame` holds each row's place in the file, from 0: rows that
    were left out leave gaps in it.
    """

    frame: pd.DataFrame
    dataset: Dataset
    warnings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.frame)

    @property
    def has_target(self) -> bool:
        """True if the target is there, so that the rows can be scored."""
        return self.dataset.target.column in self.frame

    @property
    def target(self) -> np.ndarray:
        """The target (N,), in its own unit."""
        return self.frame[self.dataset.target.column].to_numpy(dtype=np.float64)

    def numbers(self, name: str) -> np.ndarray:
        """Return one number or flag as (N,) float64, NaN where there is none."""
        return self.frame[name].to_numpy(dtype=np.float64)

    def counts(self, name: str) -> dict[str, int]:
        """Return how many rows have each level of a category."""
        counts = self.frame[name].value_counts()
        return {str(level): int(n) for level, n in counts.items()}

    def rows(self, index: np.ndarray) -> Table:
        """Return the table of these rows, in this order."""
        return Table(self.frame.iloc[index], self.dataset, self.warnings)


def check_table(raw: pd.DataFrame, dataset: Dataset, *, for_training: bool = True) -> Table:
    """Return the typed table, or raise one error that lists every fault.

    Rows count from 1 below the header.

    Args:
        raw: as read: text, or the types of a Parquet file.
        dataset: describes what the table should be.
        for_training: a table to train on needs all named columns and a target that varies; one to
            predict for does not.

    Raises:
        DataError: names every column at fault, with rows, values, what was expected, the way out.
    """
    table, findings = inspect_table(raw, dataset, for_training=for_training)
    raise_faults(findings, dataset)
    return table


def raise_faults(findings: list[Finding], dataset: Dataset) -> None:
    """Raise one error that lists all errors among the findings, if there are any.

    Raises:
        DataError: at least one finding is an error.
    """
    errors = [str(finding) for finding in findings if finding.level == "error"]
    if errors:
        title = f"The table is not what dataset {dataset.name!r} describes"
        raise DataError(listing(title, errors))


def inspect_table(
    raw: pd.DataFrame, dataset: Dataset, *, for_training: bool = True
) -> tuple[Table, list[Finding]]:
    """Return the table as far as it can be typed, and all findings, without raising."""
    findings = judge_columns(
        [str(name) for name in raw.columns], lambda: raw, dataset, for_training=for_training
    )
    raw, dropped = raw.reset_index(drop=True), Cells()
    if for_training:
        raw, dropped = drop_targetless(raw, dataset)
    findings += judge_dropped(dropped, dataset)
    if raw.empty:
        findings.append(no_rows())
        return Table(pd.DataFrame(columns=list(dataset.columns)), dataset), findings
    frame, facts = type_rows(raw, dataset)
    places = frame.index.to_numpy()
    for one in facts.values():
        one.renumber(places)
    findings += judge_rows(facts, dataset, for_training=for_training)
    if for_training and not has_error(findings):
        findings += judge_copies(_find_copies(frame, dataset).renumber(places), dataset)
    warnings = tuple(finding for finding in findings if finding.level == "warning")
    return Table(frame, dataset, warnings), findings


def judge_columns(
    names: Sequence[str],
    head: Callable[[], pd.DataFrame],
    dataset: Dataset,
    *,
    for_training: bool,
) -> list[Finding]:
    """Return the findings on a table's header.

    Args:
        names: of the table's columns.
        head: returns the first rows, from which the kind of an unknown column is guessed.
        dataset: names the columns that there should be.
        for_training: see `check_table`.
    """
    found = judge_header(
        names, dataset, lambda name: suggest_line(name, head()[name]), for_training=for_training
    )
    return list(found)


def suggest_line(name: str, values: pd.Series) -> str:
    """Return the YAML line for a column that a dataset does not name yet."""
    numbers = pd.to_numeric(values.astype(str), errors="coerce")
    kind = "number" if numbers.notna().mean() > 0.5 else "category"  # noqa: PLR2004 - mostly numbers
    return f"{write_key(name)}: {{kind: {kind}}}   # or id, leak, unused"


def _find_copies(frame: pd.DataFrame, dataset: Dataset) -> Copies:
    """Return the rows that equal one above them."""
    used = [*dataset.feature_names, dataset.target.column]
    in_used = frame.duplicated(subset=used).to_numpy()
    if not in_used.any():
        return Copies()
    others = [
        name
        for name, column in dataset.columns.items()
        if name in frame and name not in used and column.kind not in ("id", "leak")
    ]
    in_all = frame.duplicated(subset=[*used, *others]).to_numpy()
    return Copies(Cells.where(in_all), Cells.where(in_used & ~in_all))


def drop_targetless(raw: pd.DataFrame, dataset: Dataset) -> tuple[pd.DataFrame, Cells]:
    """Return the rows with a target, if the dataset asks for these alone, and the others' cells.

    The rows keep their index, so that messages can still name their places in the file.
    """
    name = dataset.target.column
    if not dataset.drop_missing_target or name not in raw:
        return raw, Cells()
    missing = _is_missing(raw[name], dataset)
    return raw[~missing], Cells.where(missing)


def type_rows(raw: pd.DataFrame, dataset: Dataset) -> tuple[pd.DataFrame, dict[str, Facts]]:
    """Return typed columns and the facts of each; columns that the dataset omits are left out."""
    typed: dict[str, pd.Series] = {}
    facts: dict[str, Facts] = {}
    target, features = dataset.target, set(dataset.feature_names)
    for name, column in dataset.columns.items():
        if name not in raw:
            continue
        if name in features:
            typed[name], facts[name] = _type_feature(raw[name], column, dataset)
        else:
            typed[name], facts[name] = _type_other(raw[name], column, dataset)
    if target.column in raw:
        typed[target.column], facts[target.column] = _type_numbers(
            raw[target.column], target.range, dataset
        )
    return pd.DataFrame(typed, index=raw.index), facts


def _is_missing(values: pd.Series, dataset: Dataset) -> np.ndarray:
    return (values.isna() | values.isin(dataset.source.missing)).to_numpy(dtype=bool)


def _show_cells(values: pd.Series) -> Show:
    return lambda row: show(values.iloc[row])


def _type_feature(values: pd.Series, column: Column, dataset: Dataset) -> tuple[pd.Series, Facts]:
    match column.kind:
        case "number":
            return _type_numbers(values, column.range, dataset)
        case "flag":
            return _type_flags(values, dataset)
        case _:
            return _type_levels(values, column, dataset)


def _type_other(values: pd.Series, column: Column, dataset: Dataset) -> tuple[pd.Series, Facts]:
    """Return a column that is no feature, as it was written."""
    missing = _is_missing(values, dataset)
    facts = Facts(len(values), Cells.where(missing))
    if column.kind == "id":
        is_repeated = values.duplicated(keep=False).to_numpy() & ~missing
        facts.repeated = Cells.where(is_repeated, _show_cells(values))
    return values.where(~missing, None), facts


def _type_numbers(
    values: pd.Series, ends: tuple[float, float] | None, dataset: Dataset
) -> tuple[pd.Series, Facts]:
    missing = _is_missing(values, dataset)
    numbers = to_numbers(values.where(~missing, None), dataset.source)
    facts = observe_numbers(numbers.to_numpy(), missing, ends, show_cell=_show_cells(values))
    _note_values(facts, numbers)
    return numbers, facts


def _type_flags(values: pd.Series, dataset: Dataset) -> tuple[pd.Series, Facts]:
    missing = _is_missing(values, dataset)
    flags = as_flags(values).where(~missing)
    facts = observe_flags(flags.to_numpy(), missing, _show_cells(values))
    _note_values(facts, flags)
    return flags, facts


def _note_values(facts: Facts, typed: pd.Series) -> None:
    """Keep the first row and the first different values."""
    facts.some = tuple(typed.dropna().drop_duplicates().iloc[:N_SOME])
    facts.first = show(typed.iloc[0]) if len(typed) else ""


def as_flags(values: pd.Series) -> pd.Series:
    """Return 0 or 1 by any of their spellings, NaN for all else."""
    spellings = values.astype(str)
    flags = {text: read_flag(text) for text in spellings.unique()}
    return spellings.map(flags).astype(np.float64)


def _type_levels(values: pd.Series, column: Column, dataset: Dataset) -> tuple[pd.Series, Facts]:
    missing = _is_missing(values, dataset)
    levels = as_levels(values).where(~missing, None)
    facts = Facts(len(values), Cells.where(missing), n_levels=levels.nunique())
    if column.levels is not None:
        is_unseen = ~levels.isin(column.levels).to_numpy() & ~missing
        facts.unseen = Cells.where(is_unseen, _show_cells(levels))
    _note_values(facts, levels)
    return levels, facts


def as_levels(values: pd.Series) -> pd.Series:
    """Return values as names of levels; 3 and 3.0 are the same level."""
    # A missing value turns a column of integers into floats: they are written as integers again.
    if pd.api.types.is_float_dtype(values):
        known = values.dropna()
        is_whole = (known == known.round()).all()
        if is_whole and (known.abs() < LARGEST_WHOLE).all():
            values = values.astype("Int64")
    return values.astype(object).where(values.notna(), None).map(to_text, na_action="ignore")
