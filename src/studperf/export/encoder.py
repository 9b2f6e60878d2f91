"""An encoder as ONNX operators, from raw columns to the model's inputs.

The operators give `x_num` and `x_cat` in the arithmetic of `Encoder.transform`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from onnx import TensorProto, helper

from studperf.bundle.schema import Schema
from studperf.data.encode import CategoryCode, Encoder, FlagCode, NumberCode
from studperf.export.graph import Graph
from studperf.export.quantiles import add_quantile_transform

ML_DOMAIN = "ai.onnx.ml"
_UNKNOWN = -1


@dataclass(frozen=True)
class EncodedNames:
    """Names of the values that the encoder's operators give.

    They are `x_num` (N, F) float, `x_cat` (N, C) int64 and `is_strange` (N,) bool.

    A strange row has a cell that no rule of its column can read.
    """

    x_num: str
    x_cat: str
    is_strange: str


def add_encoder(graph: Graph, encoder: Encoder, schema: Schema) -> EncodedNames:
    """Add the operators that encode the schema's columns."""
    markers = {
        column.name: column.missing or "" for column in schema.columns if column.kind == "category"
    }
    strange: list[str] = []
    parts: list[str] = []
    if encoder.numbers:
        parts.append(graph.as_float(_add_numbers(graph, encoder.numbers, strange)))
    parts += [graph.as_float(_add_flag(graph, code, strange)) for code in encoder.flags]
    for code in encoder.filled:
        name = code.name
        if name in markers:
            marker = graph.constant([markers[name]], np.object_)
            is_missing = graph.add("Equal", name, marker)
        else:
            is_missing = graph.add("IsNaN", name)
        parts.append(graph.as_float(is_missing))
    codes = [_add_category(graph, code, markers[code.name], strange) for code in encoder.categories]
    if encoder.category_style == "onehot":
        parts += [
            _add_one_hot(graph, code, len(category.levels))
            for code, category in zip(codes, encoder.categories, strict=True)
        ]
        codes = []
    first = schema.columns[0].name
    x_num = _add_matrix(graph, parts, first, TensorProto.FLOAT)
    x_cat = _add_matrix(graph, codes, first, TensorProto.INT64)
    # As floats, since ONNX has no maximum of booleans before opset 20.
    all_strange = graph.side_by_side(strange)
    columns = graph.constant([1], np.int64)
    any_strange = graph.add("ReduceMax", all_strange, columns, keepdims=0)
    return EncodedNames(x_num, x_cat, graph.add("Cast", any_strange, to=TensorProto.BOOL))


def _add_numbers(
    graph: Graph,
    codes: tuple[NumberCode, ...],
    strange: list[str],
) -> str:
    """Add the operators for numbers, which give (N, F) doubles.

    Neighbours that are encoded in one way share their operators. As in `Encoder`, values are
    rounded to single precision once, at the end.
    """
    edges = [
        i
        for i in range(1, len(codes))
        if (codes[i].quantiles is None) != (codes[i - 1].quantiles is None)
    ]
    parts = []
    for start, end in pairwise([0, *edges, len(codes)]):
        group = codes[start:end]
        columns = graph.side_by_side([code.name for code in group])
        x = _add_fill(graph, columns, [code.fill for code in group])
        # A value minus itself is NaN where it is missing or infinite.
        nothing = graph.add("Sub", x, x)
        strange.append(graph.as_float(graph.add("IsNaN", nothing)))
        if group[0].quantiles is not None:
            parts.append(add_quantile_transform(graph, x, group))
        else:
            mean = graph.constant([code.mean for code in group])
            centred = graph.add("Sub", x, mean)
            std = graph.constant([code.std for code in group])
            parts.append(graph.add("Div", centred, std))
    return graph.side_by_side(parts)


def _add_flag(graph: Graph, code: FlagCode, strange: list[str]) -> str:
    flag = _add_fill(graph, code.name, [code.fill])
    # 0 and 1 are their own squares.
    square = graph.add("Mul", flag, flag)
    is_flag = graph.add("Equal", square, flag)
    strange.append(graph.as_float(graph.add("Not", is_flag)))
    return flag


def _add_fill(graph: Graph, x: str, fills: list[float | None]) -> str:
    if all(fill is None for fill in fills):
        return x
    values = graph.constant([np.nan if fill is None else fill for fill in fills])
    return graph.add("Where", graph.add("IsNaN", x), values, x)


def _add_category(graph: Graph, code: CategoryCode, marker: str, strange: list[str]) -> str:
    """Add the operators for a category, which give (N, 1) int64 codes.

    A level that can't be read makes the row strange and counts as the first, so that the model can
    run.
    """
    places = {level: i for i, level in enumerate(code.levels)}
    places[marker] = _UNKNOWN if code.fill is None else places[code.fill]
    others = _UNKNOWN if code.other is None else places[code.other]
    keys, values = list(places), list(places.values())
    found = graph.add(
        "LabelEncoder",
        code.name,
        domain=ML_DOMAIN,
        keys_strings=keys,
        values_int64s=values,
        default_int64=others,
    )
    nothing = graph.constant([0], np.int64)
    strange.append(graph.as_float(graph.add("Less", found, nothing)))
    return graph.add("Max", found, nothing)


def _add_one_hot(graph: Graph, code: str, n_levels: int) -> str:
    levels = graph.constant(np.arange(n_levels), np.int64)
    return graph.as_float(graph.add("Equal", code, levels))


def _add_matrix(graph: Graph, columns: list[str], like: str, dtype: int) -> str:
    """Add the matrix of some columns; without any it is (N, 0), with as many rows as `like`."""
    if columns:
        return graph.side_by_side(columns)
    n_rows = graph.add("Shape", like, start=0, end=1)
    no_columns = graph.constant([0], np.int64)
    shape = graph.add("Concat", n_rows, no_columns, axis=0)
    zero = helper.make_tensor("zero", dtype, [1], [0])
    return graph.add("ConstantOfShape", shape, value=zero)
