"""What a bundle's model wants to be given: a column for each feature, raw, as the table had it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SchemaBlock(BaseModel):
    """A block of `schema.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputColumn(SchemaBlock):
    """One input of the graph, named as the column is: (N, 1), double for numbers and flags, text for categories.

    Missing is NaN, or for text the word in `missing`. A cell that the column can't take makes the row's prediction NaN.
    """

    name: str
    kind: Literal["number", "flag", "category"]
    unit: str | None = None
    range: tuple[float, float] | None = None
    """Impossible outside."""
    seen: tuple[float, float] | None = None
    """Smallest and largest value in training: a prediction outside is extrapolation."""
    levels: tuple[str, ...] | None = None
    unseen: str | None = None
    """The level that others are read as; None when they are refused."""
    fill: float | str | None = None
    """What a missing value is read as, beside the mark that it was missing; None when it is refused."""
    missing: str | None = None


class TargetColumn(SchemaBlock):
    """What is predicted."""

    column: str
    unit: str
    range: tuple[float, float] | None = None


class Schema(SchemaBlock):
    """The contract between training and whoever asks for predictions."""

    format: Literal[1] = 1
    dataset: str
    columns: tuple[InputColumn, ...]
    missing: tuple[str, ...]
    """Cells of a text file that hold no value."""
    decimal: str = Field(".", pattern=r"^[.,]$")
    """How the numbers of a text file are written; those of a request are numbers."""
    thousands: str | None = Field(None, pattern=r"^[., ']$")
    target: TargetColumn
    output: str
    """Name of the graph's output: (N,) double, in the target's unit."""
