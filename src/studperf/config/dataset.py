"""The shape of a dataset's YAML: the table's source, its columns and the split of its rows."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from studperf.config.faults import unknown_key
from studperf.config.types import (
    Encoding,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    Number,
    PositiveFloat,
    PositiveInt,
    Range,
)

Memory = Literal["auto", "ram", "disk"]
Kind = Literal["number", "category", "flag", "id", "leak", "unused"]
FEATURE_KINDS = ("number", "category", "flag")
_NO_FEATURE = {
    "features": "which can't be a feature",
    "allow_leaks": "so no model sees it; to train with it, give it another kind",
}
# Names that need no quotes in a shell.
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
_MARKS = {"point": ".", "comma": ",", "space": " ", "apostrophe": "'"}
# The keys that a column may have depend on its kind. Columns of the kinds that are not named here
# are never read, so they may have any.
_KEYS_BY_KIND = {
    "number": {"unit", "range", "typical", "step", "fill"},
    "category": {"levels", "unseen", "rare", "fill"},
    "flag": {"fill"},
}


def _as_text(value: Any) -> Any:  # noqa: ANN401 - whatever YAML held
    """Return a level as text.

    YAML reads `levels: [1, 2]` as integers and `[yes, no]` as booleans.
    """
    if isinstance(value, bool) or value is None:
        raise ValueError(f"a level is text: write {str(value)!r} in quotes")
    return str(value) if isinstance(value, int | float) else value


Level = Annotated[str, BeforeValidator(_as_text)]


class Block(BaseModel):
    """A block of keys that our code reads, closed to unknown keys and frozen once checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Checked = TypeVar("_Checked", bound=Block)


def _raise_faults(checked: _Checked, faults: list[str]) -> _Checked:
    """Return a checked block, or raise one error that lists all of its faults."""
    if faults:
        raise ValueError("; ".join(faults))
    return checked


class Cut(Block):
    """Intervals of the target that a leak column names by their labels.

    Each interval is closed on the left.
    """

    at: tuple[Number, ...]
    labels: tuple[Level, ...]

    @model_validator(mode="after")
    def _one_label_more(self) -> Self:
        is_rising = list(self.at) == sorted(self.at)
        if len(self.labels) != len(self.at) + 1 or not is_rising:
            raise ValueError(
                "`at` holds rising cut points and `labels` one label more than cut points"
            )
        return self


class Column(Block):
    """One column of the table.

    `fill` says what to put where a value is missing (`median`, `mode` or a value), learnt from the
    training rows; without it a missing value is refused. `unseen` says what to do with a level that
    `levels` does not name. With `rare: 5`, levels that fewer than 5 training rows have are taken
    together as `other`. Outside of `range` a number is impossible; `typical` is where the simulator
    draws, and `step` how finely.
    """

    kind: Kind
    unit: str | None = None
    range: tuple[Number, Number] | None = None
    typical: tuple[Number, Number] | None = None
    step: PositiveFloat | None = None
    levels: tuple[Level, ...] | None = None
    unseen: Literal["refuse", "other"] = "refuse"
    rare: PositiveInt | None = None
    fill: Number | str | None = None
    cut: Cut | None = None
    why: str | None = None

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        faults = []
        allowed = _KEYS_BY_KIND.get(self.kind)
        given = {
            name
            for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default
        }
        if allowed is not None:
            surplus = sorted(given - allowed - {"kind", "why", "cut"})
            if surplus:
                faults.append(
                    f"a {self.kind} has no {', '.join(surplus)}; "
                    f"it can have {', '.join(sorted(allowed))}"
                )

        intervals = {"range": self.range, "typical": self.typical}
        for key, ends in intervals.items():
            if ends is not None and ends[0] >= ends[1]:
                faults.append(f"{key}: the lower end must come first, got {list(ends)}")

        if self.levels is not None:
            n_distinct = len(set(self.levels))
            if n_distinct < len(self.levels) or not self.levels:
                faults.append("levels: at least one, each named once")

        if self.rare is not None and self.levels is not None:
            faults.append(
                "rare: learns from the training rows what `levels` names; give one of them"
            )
        elif self.rare is not None and self.unseen != "other":
            faults.append("rare: rare levels become 'other', so say unseen: other as well")
        return _raise_faults(self, [*faults, *self._fill_faults()])

    def _fill_faults(self) -> list[str]:
        """Return what is wrong with `fill` for a column of this kind."""
        is_text = isinstance(self.fill, str)
        if self.kind == "number" and is_text and self.fill not in ("median", "mode"):
            return [f"fill: median, mode or a number, got {self.fill!r}"]
        if self.kind in ("category", "flag") and self.fill == "median":
            return [f"fill: a {self.kind} has no median; use mode or a value"]
        if self.kind == "flag" and self.fill not in (None, "mode", 0, 1):
            return [f"fill: mode, 0 or 1, got {self.fill!r}"]
        return []


class Target(Block):
    """The column to predict.

    `noise_floor` is the smallest believable RMSE, in the target's unit, where it is known.
    """

    column: str
    unit: str = ""
    range: Range | None = None
    noise_floor: NonNegativeFloat | None = None


class Simulation(Block):
    """Settings of the embedded simulator.

    It draws `intercept + sum(law * column) + noise`, clipped to the target's range.
    """

    rows: PositiveInt
    seed: NonNegativeInt
    noise_sd: NonNegativeFloat
    intercept: Number
    law: dict[str, Number]


class Source(Block):
    """The table's file, how to read it, and what to do if it is not there.

    `missing` names the texts of cells that hold no value. `decimal` and `thousands` say how numbers
    are written in a text file: `1.234,5` with a comma and a point.
    """

    path: str | None
    otherwise: Literal["simulate", "fail"]
    delimiter: str = ","
    encoding: Encoding = "utf-8"
    decimal: str = "."
    thousands: str | None = None
    missing: tuple[str, ...] = ("",)
    simulate: Simulation | None = None

    @field_validator("delimiter")
    @classmethod
    def _by_name(cls, delimiter: str) -> str:
        return DELIMITERS.get(delimiter, delimiter)

    @field_validator("decimal", "thousands")
    @classmethod
    def _mark_by_name(cls, mark: str | None) -> str | None:
        if mark is None:
            return None
        return _MARKS.get(mark, mark)

    @model_validator(mode="after")
    def _can_answer(self) -> Self:
        if self.otherwise == "simulate" and self.simulate is None:
            raise ValueError("otherwise=simulate needs a `simulate` block")
        if self.path is None and self.otherwise == "fail":
            raise ValueError(
                "there is no path, and otherwise=fail forbids the simulator: "
                "set data.source.path=FILE"
            )
        if self.decimal not in (".", ","):
            raise ValueError(f"decimal: point or comma, got {self.decimal!r}")
        if self.thousands is not None and self.thousands not in _MARKS.values():
            raise ValueError(f"thousands: {', '.join(_MARKS)}, got {self.thousands!r}")
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; they must differ")
        if self.path is not None and not self.path.strip():
            raise ValueError(
                "the path is empty: set data.source.path=FILE, or data.source.path=null to simulate"
            )
        return self


class Split(Block):
    """Fractions of the rows for train, val and test, drawn once from `seed`."""

    train: Fraction
    val: Fraction
    test: Fraction
    seed: NonNegativeInt

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.val + self.test
        if round(total, 9) != 1:
            raise ValueError(
                "train + val + test must be 1, "
                f"got {self.train:g} + {self.val:g} + {self.test:g} = {total:g}"
            )
        return self


class Dataset(Block):
    """A dataset's YAML.

    `features`, when given, narrows the columns of a feature kind to those named. `memory` says
    where the encoded rows of a large table lie: in memory (`ram`), in files that are mapped into it
    (`disk`), or, with `auto`, in memory if they take at most half of what could be had.
    """

    name: str
    source: Source
    target: Target
    columns: dict[str, Column] = Field(min_length=1)
    split: Split
    features: tuple[str, ...] | None = None
    allow_leaks: tuple[str, ...] = ()
    drop_missing_target: bool = False
    memory: Memory = "auto"

    @field_validator("columns", mode="before")
    @classmethod
    def _kinds_in_brackets(cls, columns: Any) -> Any:  # noqa: ANN401 - whatever YAML held
        if not isinstance(columns, dict):
            return columns
        bare = [name for name, column in columns.items() if not isinstance(column, dict)]
        if bare:
            raise ValueError(f"write each column as `{bare[0]}: {{kind: number}}`")
        return columns

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        faults = []
        if self.target.column in self.columns:
            faults.append(
                f"{self.target.column!r} is the target; it can't be one of the columns too"
            )

        chosen = {"features": self.features or (), "allow_leaks": self.allow_leaks}
        for key, names in chosen.items():
            faults += [
                f"{key}: no column is named {name!r} ({unknown_key(name, self.columns)})"
                for name in names
                if name not in self.columns
            ]
            known = [name for name in names if name in self.columns]
            kinds = {name: self.columns[name].kind for name in known}
            faults += [
                f"{key}: {name!r} is of kind {kind}, {_NO_FEATURE[key]}"
                for name, kind in kinds.items()
                if kind not in FEATURE_KINDS
            ]

        if not faults and not self.feature_names:
            faults.append(
                "no column is of kind number, category or flag, so there is nothing to learn from"
            )

        simulation = self.source.simulate
        law = simulation.law if simulation else {}
        for name in law:
            if name not in self.columns:
                near = unknown_key(name, self.columns)
                faults.append(f"source.simulate.law: no column is named {name!r} ({near})")
                continue
            kind = self.columns[name].kind
            if kind not in ("number", "flag", "unused"):
                faults.append(
                    f"source.simulate.law: {name!r} is of kind {kind}, which has no weight"
                )
        return _raise_faults(self, faults)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns that a model sees, in the YAML's order."""
        return tuple(
            name
            for name, column in self.columns.items()
            if column.kind in FEATURE_KINDS and (self.features is None or name in self.features)
        )

    def of_kind(self, *kinds: str) -> tuple[str, ...]:
        """Return the names of the features of these kinds, in the YAML's order."""
        return tuple(name for name in self.feature_names if self.columns[name].kind in kinds)
