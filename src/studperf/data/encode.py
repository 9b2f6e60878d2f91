"""Turns typed columns into tensors' arrays, by what the training rows taught, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pandas as pd
from scipy.special import ndtri

from studperf.config.dataset import Block, Column
from studperf.config.shape import Encode
from studperf.data.schema import Finding, Table
from studperf.errors import DataError

_N_QUANTILES = 1000
CLIP = 1e-7  # as scikit-learn's QuantileTransformer: the normal quantiles of 0 and 1 are infinite
OTHER = "other"


@dataclass(frozen=True)
class FeatureSpec:
    """What a model must know of its input: the number of numeric features, and the levels of each categorical column."""

    n_numbers: int
    cardinalities: tuple[int, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """Encoded rows: `x_num` (N, F) float32, `x_cat` (N, C) int64."""

    x_num: np.ndarray
    x_cat: np.ndarray


class ColumnCode(Block):
    """What all codes have: a name and, where missing values are filled, what with."""

    name: str
    fill: float | str | None


class NumberCode(ColumnCode):
    """One number: standardised, or through its quantiles to a normal."""

    mean: float
    std: float
    low: float
    high: float
    fill: float | None
    quantiles: tuple[float, ...] | None


class FlagCode(ColumnCode):
    """One flag: 0 or 1 as it is."""

    fill: float | None


class CategoryCode(ColumnCode):
    """One category: a level's place in `levels` is its code. An unseen level becomes `other`, where there is one."""

    levels: tuple[str, ...]
    other: str | None
    fill: str | None


class Encoder(Block):
    """What the training rows taught. Plain JSON (`model_dump_json`, `model_validate_json`), exact in both directions."""

    numbers: tuple[NumberCode, ...]
    flags: tuple[FlagCode, ...]
    categories: tuple[CategoryCode, ...]
    category_style: Literal["codes", "onehot"]

    @classmethod
    def fit(cls, train: Table, encode: Encode) -> Self:
        """Learns means, quantiles, fill values and levels from the training rows."""
        dataset, frame = train.dataset, train.frame
        return cls(
            numbers=tuple(_fit_number(frame[n], dataset.columns[n], encode) for n in dataset.of_kind("number")),
            flags=tuple(FlagCode(name=n, fill=_fit_fill(frame[n], dataset.columns[n])) for n in dataset.of_kind("flag")),
            categories=tuple(_fit_category(frame[n], dataset.columns[n]) for n in dataset.of_kind("category")),
            category_style=encode.categories,
        )

    @property
    def features(self) -> FeatureSpec:
        """The sizes that a model is built for."""
        cardinalities = tuple(len(code.levels) for code in self.categories)
        if self.category_style == "onehot":
            return FeatureSpec(len(self.number_names))
        return FeatureSpec(len(self.number_names), cardinalities)

    @property
    def filled(self) -> tuple[ColumnCode, ...]:
        """Columns that get a was-missing flag beside them."""
        return tuple(code for code in (*self.numbers, *self.flags, *self.categories) if code.fill is not None)

    @property
    def number_names(self) -> tuple[str, ...]:
        """Names of the columns of `x_num`, in order."""
        names = [code.name for code in (*self.numbers, *self.flags)] + [f"{code.name}__missing" for code in self.filled]
        if self.category_style == "onehot":
            names += [f"{code.name}={level}" for code in self.categories for level in code.levels]
        return tuple(names)

    def transform(self, table: Table) -> Encoded:
        """Encodes rows of any table that passed the dataset's check; the target is not looked at."""
        frame = table.frame
        columns = [_encode_number(frame[code.name], code) for code in self.numbers]
        columns += [_filled(frame[code.name], code.fill) for code in self.flags]
        columns += [frame[code.name].isna().to_numpy(dtype=np.float64) for code in self.filled]
        codes = [_encode_category(frame[code.name], code) for code in self.categories]
        if self.category_style == "onehot":
            columns += [
                (column == i).astype(np.float64)
                for column, code in zip(codes, self.categories, strict=True)
                for i in range(len(code.levels))
            ]
            codes = []
        return Encoded(_stack(columns, len(frame), np.float32), _stack(codes, len(frame), np.int64))

    def extrapolated(self, table: Table) -> list[Finding]:
        """A warning for each number outside of what training saw."""
        findings = []
        for code in self.numbers:
            values = table.frame[code.name].to_numpy(dtype=float)
            n_outside = int(((values < code.low) | (values > code.high)).sum())
            if n_outside:
                what = (
                    f"{n_outside} values outside of the training range {code.low:g} to {code.high:g}: predictions there are extrapolation"
                )
                findings.append(Finding("warning", code.name, what))
        return findings


def flatten(encoded: Encoded, features: FeatureSpec) -> np.ndarray:
    """(N, F + levels) float64 for learners that take one matrix: numbers beside one-hot categories."""
    one_hot = [encoded.x_cat[:, i, None] == np.arange(n) for i, n in enumerate(features.cardinalities)]
    return np.concatenate([encoded.x_num.astype(np.float64), *one_hot], axis=1)


def _refuse_empty(values: pd.Series) -> None:
    if values.isna().all():
        raise DataError(f"{values.name}: no training row has a value, so there is nothing to learn from it; give it kind unused")


def _fit_number(values: pd.Series, column: Column, encode: Encode) -> NumberCode:
    fill = _fit_fill(values, column)
    known = values.to_numpy(dtype=np.float64)
    known = known[~np.isnan(known)] if fill is None else np.where(np.isnan(known), fill, known)
    # Of equal values numpy's deviation can be 1e-17, by which one that differs later would be blown up.
    std = float(known.std()) if np.ptp(known) > 0 else 1.0
    quantiles = None
    if encode.numbers == "quantile":
        quantiles = tuple(np.quantile(known, np.linspace(0, 1, min(_N_QUANTILES, len(known)))).tolist())
    return NumberCode(
        name=str(values.name),
        mean=float(known.mean()),
        std=std,
        low=float(known.min()),
        high=float(known.max()),
        fill=fill,
        quantiles=quantiles,
    )


def _fit_fill(values: pd.Series, column: Column) -> float | None:
    _refuse_empty(values)
    match column.fill:
        case None:
            return None
        case "median":
            return float(values.median())
        case "mode":
            return float(values.mode().iloc[0])
        case given:
            return float(given)


def _fit_category(values: pd.Series, column: Column) -> CategoryCode:
    _refuse_empty(values)
    known = values.dropna()
    levels = list(column.levels) if column.levels is not None else sorted(known.unique())
    most_frequent = str(known.mode().iloc[0])
    fill = None if column.fill is None else most_frequent if column.fill == "mode" else _level(column.fill)
    if fill is not None and fill not in levels:
        levels.append(fill)
    other = None
    if column.unseen == "other":
        # A level of its own only if training rows teach it; an untaught one would predict from its random start.
        taught = not known.isin(levels).all()
        other = OTHER if taught or OTHER in levels else most_frequent
        if other not in levels:
            levels.append(other)
    return CategoryCode(name=str(values.name), levels=tuple(levels), other=other, fill=fill)


def _level(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"  # YAML's 3 is the level 3, not 3.0


def _filled(values: pd.Series, fill: float | None) -> np.ndarray:
    known = values.to_numpy(dtype=np.float64)
    return known if fill is None else np.where(np.isnan(known), fill, known)


def _encode_number(values: pd.Series, code: NumberCode) -> np.ndarray:
    known = _filled(values, code.fill)
    if code.quantiles is None:
        return (known - code.mean) / code.std
    knots = np.asarray(code.quantiles)
    ranks = np.linspace(0, 1, len(knots))
    # Mean of the ranks from both sides, as scikit-learn does: repeated values share the middle of their ranks.
    rank = (np.interp(known, knots, ranks) - np.interp(-known, -knots[::-1], -ranks[::-1])) / 2
    return np.asarray(ndtri(np.clip(rank, CLIP, 1 - CLIP)))


def _encode_category(values: pd.Series, code: CategoryCode) -> np.ndarray:
    places = {level: i for i, level in enumerate(code.levels)}
    filled = values if code.fill is None else values.where(values.notna(), code.fill)
    codes = filled.map(places)
    if code.other is not None:
        codes = codes.where(codes.notna(), places[code.other])
    elif codes.isna().any():
        strange = sorted({str(v) for v in filled[codes.isna()]})[:3]
        raise DataError(f"{code.name}: levels that no training row has: {', '.join(strange)}. Name them in `levels`, or set unseen: other.")
    return codes.to_numpy(dtype=np.int64)


def _stack(columns: list[np.ndarray], n_rows: int, dtype: type) -> np.ndarray:
    return np.stack(columns, axis=1).astype(dtype) if columns else np.zeros((n_rows, 0), dtype=dtype)
