"""The schema of a bundle: a raw column for each feature, as the table had it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SchemaBlock(BaseModel):
    """A block of `schema.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class InputColumn(SchemaBlock):
    """One input of the graph, (N, 1), named as the column is.

    It is double for numbers and flags, text for categories.

    Missing is NaN, or for text the word in `missing`. A cell that the column can't take makes the
    row's prediction NaN.
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
    """What a missing value is read as, beside the mark that it was missing.

    None when it is refused.
    """
    missing: str | None = None

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        for key, ends in (("range", self.range), ("seen", self.seen)):
            if ends is not None and ends[0] > ends[1]:
                raise ValueError(f"{key}: the lower end comes first")
        levels = self.levels or ()
        if len(set(levels)) < len(levels):
            raise ValueError("levels: a level stands twice")
        if self.kind == "category":
            if self.levels is None or self.missing is None or self.missing in levels:
                raise ValueError(
                    "a category has levels, and a text for a missing value that is none of them"
                )
            for level in (self.fill, self.unseen):
                if level is not None and level not in levels:
                    raise ValueError("fill and unseen are among the levels")
            return self
        if self.levels is not None or self.missing is not None or self.unseen is not None:
            raise ValueError(f"a {self.kind} has no levels, and none of what belongs to them")
        if isinstance(self.fill, str):
            raise ValueError(f"fill: a {self.kind} is filled with a number")  # noqa: TRY004 - pydantic wants a ValueError
        return self


class TargetColumn(SchemaBlock):
    """The column that is predicted."""

    column: str
    unit: str
    range: tuple[float, float] | None = None


class Schema(SchemaBlock):
    """The columns that a bundle takes and the output that it gives, as `schema.json` holds them."""

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

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [column.name for column in self.columns]
        if not names:
            raise ValueError("there is no column, so there is nothing to predict from")
        if len(set(names)) < len(names) or self.output in names:
            twice = next((n for n in names if names.count(n) > 1), self.output)
            raise ValueError(f"the name {twice[:60]!r} stands twice")
        return self
