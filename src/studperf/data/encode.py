"""Encode typed columns as arrays for tensors; the encoder learns from the training rows alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol, Self

import numpy as np
import pandas as pd
from scipy.special import ndtri

from studperf.config.dataset import Block, Column, Dataset
from studperf.config.run import Encode
from studperf.data.schema import Table
from studperf.data.threads import in_order
from studperf.errors import DataError
from studperf.schema import words
from studperf.schema.findings import Finding, are_outside
from studperf.schema.judge import OTHER

_N_QUANTILES = 1000
# Rows whose columns stay in a core's cache; with fewer, threads would wait for each other's turn in
# Python.
_N_BLOCK = 8192
# Values of which a deviation's squares are summed at a time; it decides the last bit.
_N_SUMMED = 4096
NO_CODE = -1
CLIP = 1e-7  # as scikit-learn's QuantileTransformer: the normal quantiles of 0 and 1 are infinite


@dataclass(frozen=True)
class FeatureSpec:
    """Sizes of a model's input: its numeric features, and the levels of each categorical column."""

    n_numbers: int
    cardinalities: tuple[int, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """Encoded rows: `x_num` (N, F) float32, `x_cat` (N, C) int64."""

    x_num: np.ndarray
    x_cat: np.ndarray


class ColumnCode(Block):
    """Base of all column codes: a name and, if missing values are filled, the value for them."""

    name: str
    fill: float | str | None


class NumberCode(ColumnCode):
    """Code of one number: standardised, or mapped through its quantiles to a normal."""

    mean: float
    std: float
    low: float
    high: float
    fill: float | None
    quantiles: tuple[float, ...] | None


class FlagCode(ColumnCode):
    """Code of one flag: 0 or 1 as it is."""

    fill: float | None


class CategoryCode(ColumnCode):
    """Code of one category: a level's place in `levels`; an unseen one becomes `other`, if set."""

    levels: tuple[str, ...]
    other: str | None
    fill: str | None

    def codes_of(self, levels: Iterable[str]) -> np.ndarray:
        """Return the code of each level, and, as the last, that of a missing cell.

        A level without a code has `NO_CODE`.
        """
        known = {level: i for i, level in enumerate(self.levels)}
        other = NO_CODE if self.other is None else known[self.other]
        missing = other if self.fill is None else known[self.fill]
        return np.array([*(known.get(level, other) for level in levels), missing], dtype=np.int64)

    def refuse_untaught(self, levels: Iterable[str]) -> NoReturn:
        """Refuse levels that have no code.

        Raises:
            DataError: always.
        """
        strange = ", ".join(sorted(levels)[:3])
        raise DataError(
            f"{self.name}: levels that no training row has: {strange}. "
            "Name them in `levels`, or set unseen: other."
        )


class TrainingRows(Protocol):
    """Typed columns of training rows, from which an encoder learns.

    Sums depend on the rows' order in their last bit, so that it is part of a run.
    """

    @property
    def dataset(self) -> Dataset:
        """Names the columns and their kinds."""

    def numbers(self, name: str) -> np.ndarray:
        """Return one number or flag as (N,) float64, NaN where there is none."""

    def counts(self, name: str) -> Mapping[str, int]:
        """Return how many rows have each level of a category; levels of no row are left out."""


class Encoder(Block):
    """Codes of all columns, learnt from the training rows.

    It is stored as plain JSON (`model_dump_json`, `model_validate_json`), exact in both directions.
    """

    numbers: tuple[NumberCode, ...]
    flags: tuple[FlagCode, ...]
    categories: tuple[CategoryCode, ...]
    category_style: Literal["codes", "onehot"]

    @classmethod
    def fit(cls, train: TrainingRows, encode: Encode) -> Self:
        """Learn means, quantiles, fill values and levels from the training rows.

        Raises:
            DataError: no row has a value in some column.
        """
        columns = train.dataset.columns

        def fit_column(name: str) -> ColumnCode:
            match columns[name].kind:
                case "number":
                    return _fit_number(name, train.numbers(name), columns[name], encode)
                case "flag":
                    return _fit_flag(name, train.numbers(name), columns[name])
                case _:
                    return _fit_category(name, train.counts(name), columns[name])

        kinds = ("number", "flag", "category")
        names = [name for kind in kinds for name in train.dataset.of_kind(kind)]
        codes = list(in_order(fit_column, names))
        return cls(
            numbers=tuple(code for code in codes if isinstance(code, NumberCode)),
            flags=tuple(code for code in codes if isinstance(code, FlagCode)),
            categories=tuple(code for code in codes if isinstance(code, CategoryCode)),
            category_style=encode.categories,
        )

    @property
    def features(self) -> FeatureSpec:
        """The sizes that a model is built for."""
        n_numbers = len(self.number_names)
        if self.category_style == "onehot":
            return FeatureSpec(n_numbers)
        return FeatureSpec(n_numbers, tuple(len(code.levels) for code in self.categories))

    @property
    def filled(self) -> tuple[ColumnCode, ...]:
        """Codes of columns that get a was-missing flag beside them."""
        codes = (*self.numbers, *self.flags, *self.categories)
        return tuple(code for code in codes if code.fill is not None)

    @property
    def number_names(self) -> tuple[str, ...]:
        """Names of the columns of `x_num`, in order."""
        names = [code.name for code in (*self.numbers, *self.flags)]
        names += [f"{code.name}__missing" for code in self.filled]
        if self.category_style == "onehot":
            for code in self.categories:
                names += [f"{code.name}={level}" for level in code.levels]
        return tuple(names)

    @property
    def code_type(self) -> type[np.integer[Any]]:
        """The smallest integer type that holds every category's codes and that torch knows."""
        largest = max((len(code.levels) for code in self.categories), default=0) - 1
        kinds = (np.uint8, np.int16, np.int32, np.int64)
        return next(kind for kind in kinds if largest <= np.iinfo(kind).max)

    def transform(self, table: Table) -> Encoded:
        """Return the encoded rows of a table that passed the dataset's check, target or not."""
        frame, n_rows = table.frame, len(table)
        names = [code.name for code in (*self.numbers, *self.flags)]
        values = {name: frame[name].to_numpy(dtype=np.float64) for name in names}
        missing = {code.name: frame[code.name].isna().to_numpy() for code in self.categories}
        codes = {code.name: _encode_category(frame[code.name], code) for code in self.categories}
        x_num = np.empty((n_rows, len(self.number_names)), dtype=np.float32)
        x_cat = np.empty((n_rows, len(self.features.cardinalities)), dtype=np.int64)
        out = Encoded(x_num, x_cat)
        self.write(values, codes, missing, out)
        return out

    def write(
        self,
        values: Mapping[str, np.ndarray],
        codes: Mapping[str, np.ndarray],
        missing: Mapping[str, np.ndarray],
        out: Encoded,
    ) -> None:
        """Encode typed columns into arrays that are there already.

        Args:
            values: of numbers and flags, (N,) float64, NaN where there is none.
            codes: of categories, (N,) each level's place, filled where the code fills.
            missing: of categories, (N,) True where there was no value.
            out: (N, F) and (N, C).
        """
        for start in range(0, len(out.x_num), _N_BLOCK):
            rows = slice(start, start + _N_BLOCK)
            self._write_block(
                _slice_rows(values, rows),
                _slice_rows(codes, rows),
                _slice_rows(missing, rows),
                Encoded(out.x_num[rows], out.x_cat[rows]),
            )

    def _write_block(
        self,
        values: Mapping[str, np.ndarray],
        codes: Mapping[str, np.ndarray],
        missing: Mapping[str, np.ndarray],
        out: Encoded,
    ) -> None:
        # Column by column through float64: what is written is rounded once.
        columns = [_encode_number(values[code.name], code) for code in self.numbers]
        columns += [_filled(values[code.name], code.fill) for code in self.flags]
        for code in self.filled:
            is_category = isinstance(code, CategoryCode)
            columns.append(missing[code.name] if is_category else np.isnan(values[code.name]))
        if self.category_style == "onehot":
            for code in self.categories:
                columns += [codes[code.name] == i for i in range(len(code.levels))]
        else:
            for i, code in enumerate(self.categories):
                out.x_cat[:, i] = codes[code.name]
        for i, column in enumerate(columns):
            out.x_num[:, i] = column

    def extrapolated(self, tables: Table | Iterable[Table]) -> list[Finding]:
        """Return a warning for each number with values beyond the training range.

        They are counted over one table, or over all of several.
        """
        n_outside = dict.fromkeys((code.name for code in self.numbers), 0)
        for table in [tables] if isinstance(tables, Table) else tables:
            for code in self.numbers:
                values = table.frame[code.name].to_numpy(dtype=float)
                n_outside[code.name] += int(are_outside(values, (code.low, code.high)).sum())
        findings = []
        for code in self.numbers:
            n = n_outside[code.name]
            if n:
                what = words.values_beyond(f"{n} values", (code.low, code.high))
                findings.append(Finding("warning", code.name, what))
        return findings


def flatten(encoded: Encoded, features: FeatureSpec) -> np.ndarray:
    """Return one matrix (N, F + levels) float64: numbers beside one-hot categories."""
    one_hot = [
        encoded.x_cat[:, i, None] == np.arange(n) for i, n in enumerate(features.cardinalities)
    ]
    return np.concatenate([encoded.x_num.astype(np.float64), *one_hot], axis=1)


def _slice_rows(columns: Mapping[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    return {name: column[rows] for name, column in columns.items()}


def _refuse_empty(name: str) -> NoReturn:
    raise DataError(
        f"{name}: no training row has a value, so there is nothing to learn from it; "
        "give it kind unused"
    )


def _fit_number(name: str, values: np.ndarray, column: Column, encode: Encode) -> NumberCode:
    """Return the code of a number, learnt from its training rows.

    Args:
        name: of the column.
        values: (N,) float64, NaN where there is none.
        column: names the value to fill with.
        encode: names the way in which numbers are encoded.
    """
    absent = np.isnan(values)
    fill = _fit_fill(name, values, absent, column)
    known = values
    if absent.any():
        known = values[~absent] if fill is None else np.where(absent, fill, values)
    mean = float(known.mean())
    low, high = float(known.min()), float(known.max())
    quantiles = None
    if encode.numbers == "quantile":
        levels = np.linspace(0, 1, min(_N_QUANTILES, len(known)))
        quantiles = tuple(np.quantile(known, levels).tolist())
    # Of equal values numpy's deviation can be 1e-17, by which one that differs later would be blown
    # up.
    std = _deviation(known, mean) if high > low else 1.0
    if not std:  # the squares of values below 1e-154 vanish
        std = high - low
    return NumberCode(
        name=name, mean=mean, std=std, low=low, high=high, fill=fill, quantiles=quantiles
    )


def _deviation(values: np.ndarray, mean: float) -> float:
    """Return the standard deviation, summed block by block."""
    # numpy's own writes a copy of all values, which takes twice the time.
    n_even = len(values) // _N_SUMMED * _N_SUMMED
    step = 8 * _N_SUMMED
    sums: list[float] = []
    for start in range(0, n_even, step):
        block = (values[start : min(start + step, n_even)] - mean).reshape(-1, _N_SUMMED)
        sums += np.vecdot(block, block).tolist()
    rest = values[n_even:] - mean
    sums.append(float(rest @ rest))
    return math.sqrt(math.fsum(sums) / len(values))


def _fit_flag(name: str, values: np.ndarray, column: Column) -> FlagCode:
    """Return the code of a flag, learnt from its training rows; arguments as for `_fit_number`."""
    return FlagCode(name=name, fill=_fit_fill(name, values, np.isnan(values), column))


def _fit_fill(name: str, values: np.ndarray, absent: np.ndarray, column: Column) -> float | None:
    if absent.all():
        _refuse_empty(name)
    match column.fill:
        case None:
            return None
        case "median":
            return float(pd.Series(values).median())
        case "mode":
            return float(pd.Series(values).mode().iloc[0])
        case given:
            return float(given)


def _fit_category(name: str, counts: Mapping[str, int], column: Column) -> CategoryCode:
    """Return the code of a category, learnt from its training rows.

    Args:
        name: of the column.
        counts: rows of each level; rows without a value are left out.
        column: names levels, the value to fill with, and the treatment of rare and unseen levels.
    """
    if not counts:
        _refuse_empty(name)
    levels = list(column.levels) if column.levels is not None else sorted(counts)
    if column.rare is not None:
        levels = [level for level in levels if counts[level] >= column.rare]
        if not levels:
            raise DataError(
                f"{name}: no level comes in {column.rare} training rows or more, as rare asks; "
                "give it a smaller number, or kind unused"
            )
    most_frequent = min(counts, key=lambda level: (-counts[level], level))
    fill = None
    if column.fill == "mode":
        fill = most_frequent
    elif column.fill is not None:
        fill = _level(column.fill)
    if fill is not None and fill not in levels:
        levels.append(fill)
    other = None
    if column.unseen == "other":
        # A level of its own only if training rows teach it; an untaught one would predict from its
        # random start.
        taught = not counts.keys() <= set(levels)
        other = OTHER if taught or OTHER in levels else most_frequent
        if other not in levels:
            levels.append(other)
    return CategoryCode(name=name, levels=tuple(levels), other=other, fill=fill)


def _level(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"  # YAML's 3 is the level 3, not 3.0


def _filled(values: np.ndarray, fill: float | None) -> np.ndarray:
    if fill is None:
        return values
    return np.where(np.isnan(values), fill, values)


def _encode_number(values: np.ndarray, code: NumberCode) -> np.ndarray:
    known = _filled(values, code.fill)
    if code.quantiles is None:
        return (known - code.mean) / code.std
    knots = np.asarray(code.quantiles)
    ranks = np.linspace(0, 1, len(knots))
    # Mean of the ranks from both sides, as scikit-learn does: repeated values share the middle of
    # their ranks.
    from_below = np.interp(known, knots, ranks)
    from_above = np.interp(-known, -knots[::-1], -ranks[::-1])
    rank = (from_below - from_above) / 2
    return np.asarray(ndtri(np.clip(rank, CLIP, 1 - CLIP)))


def _encode_category(values: pd.Series, code: CategoryCode) -> np.ndarray:
    places, levels = pd.factorize(values)  # a missing cell's place is -1, the last one
    codes: np.ndarray = code.codes_of(levels)[places]
    is_strange = codes == NO_CODE
    if is_strange.any():
        code.refuse_untaught({str(level) for level in values[is_strange]})
    return codes
