"""The words for faulty cells, the same for a table and for a request.

A request is answered in fewer of them: its cells are few, and nobody can be told to change the
dataset.
"""

from __future__ import annotations

from studperf.schema.findings import Cells

NOT_USED = "not used by the model"
EXTRAPOLATION = "predictions there are extrapolation"


def missing_values(missing: Cells) -> str:
    """Return the words for cells without a value."""
    return f"{missing.count('missing value')} ({missing.numbers})"


def no_numbers(bad: Cells, noun: str = "value", *, brief: bool = False) -> str:
    """Return the words for cells that can't be read as numbers."""
    if brief:
        verb = "is" if bad.n == 1 else "are"
        return f"{bad.count(noun)} that {verb} no number: {bad.examples}"
    wrong = "not a number" if bad.n == 1 else "not numbers"
    return f"{bad.are(noun)} {wrong}: {bad.examples}"


def infinite_values(infinite: Cells, noun: str = "value", *, brief: bool = False) -> str:
    """Return the words for numbers beyond what a float can hold."""
    if brief:
        return f"{infinite.count(f'infinite {noun}')} ({infinite.numbers})"
    return f"{infinite.are(noun)} infinite ({infinite.numbers})"


def values_outside(
    outside: Cells, ends: tuple[float, float], unit: str | None, *, brief: bool = False
) -> str:
    """Return the words for numbers outside of a column's range."""
    expected = f"{ends[0]:g} to {ends[1]:g} {unit or ''}".rstrip()
    said = outside.count("value") if brief else outside.are("value")
    return f"{said} outside of {expected}: {outside.examples}"


def no_flags(bad: Cells) -> str:
    """Return the words for cells that can't be read as flags."""
    return f"a flag is 0/1, true/false or yes/no, got {bad.examples}"


def unknown_levels(unseen: Cells, known: tuple[str, ...] | None) -> str:
    """Return the words for levels that a column does not know and refuses."""
    levels = ", ".join(known or ())
    return f"unknown level in {unseen.count('row')}: {unseen.examples}; known: {levels}"


def taken_levels(unseen: Cells, other: str) -> str:
    """Return the words for levels that are read as another one."""
    return f"unknown level in {unseen.count('row')} taken as {other!r}: {unseen.examples}"


def values_beyond(
    counted: str, seen: tuple[float, float], unit: str | None = None, places: str | None = None
) -> str:
    """Return the words for numbers outside of those of training.

    Args:
        counted: how many values there are, with their noun.
        seen: the smallest and the largest value of training.
        unit: of the column.
        places: the rows that hold them, if these are to be named.
    """
    where = f"{seen[0]:g} to {seen[1]:g} {unit or ''}".rstrip()
    rows = f" ({places})" if places else ""
    return f"{counted} outside of the training range {where}{rows}: {EXTRAPOLATION}"
