"""The whole model as one ONNX graph: raw columns in, predictions in the target's unit out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, compose, helper

from studperf.bundle.schema import InputColumn, Schema, TargetColumn
from studperf.config.dataset import Dataset
from studperf.data.encode import CategoryCode, Encoder, FlagCode, NumberCode
from studperf.export.encoder import ML_DOMAIN, add_encoder
from studperf.export.graph import Graph
from studperf.export.network import X_CAT, X_NUM, Y

_ML_VERSION = 4


def build_schema(encoder: Encoder, dataset: Dataset) -> Schema:
    """Return the columns that the encoder reads, in its order, as a client must give them."""
    codes: list[NumberCode | FlagCode | CategoryCode] = [
        *encoder.numbers,
        *encoder.flags,
        *encoder.categories,
    ]
    target = dataset.target
    return Schema(
        dataset=dataset.name,
        columns=tuple(_describe_column(code, dataset) for code in codes),
        missing=dataset.source.missing,
        decimal=dataset.source.decimal,
        thousands=dataset.source.thousands,
        target=TargetColumn(column=target.column, unit=target.unit, range=target.range),
        output=_free_name("prediction", {code.name for code in codes}),
    )


def _describe_column(code: NumberCode | FlagCode | CategoryCode, dataset: Dataset) -> InputColumn:
    match code:
        case NumberCode():
            column = dataset.columns[code.name]
            ends = (code.low, code.high)
            return InputColumn(
                name=code.name,
                kind="number",
                unit=column.unit,
                range=column.range,
                seen=ends,
                fill=code.fill,
            )
        case FlagCode():
            return InputColumn(name=code.name, kind="flag", fill=code.fill)
        case CategoryCode():
            # ONNX's texts have no NaN: one that is no level stands for a missing cell.
            marker = _free_name("", set(code.levels))
            return InputColumn(
                name=code.name,
                kind="category",
                levels=code.levels,
                unseen=code.other,
                fill=code.fill,
                missing=marker,
            )


def join(
    network: ModelProto, encoder: Encoder, schema: Schema, facts: Mapping[str, str]
) -> ModelProto:
    """Join encoder and network to one graph that predicts NaN for rows that can't be read.

    Args:
        network: as `export_network` gives it.
        encoder: of the training rows.
        schema: of the same encoder.
        facts: go into the graph's metadata.
    """
    names = {column.name for column in schema.columns} | {schema.output}
    graph = Graph(_free_prefix(names))
    encoded = add_encoder(graph, encoder, schema)
    inner = compose.add_prefix(network, f"{graph.prefix}net/")
    graph.add("Identity", encoded.x_num, name=f"{graph.prefix}net/{X_NUM}")
    graph.add("Identity", encoded.x_cat, name=f"{graph.prefix}net/{X_CAT}")
    # ONNX wants an operator after those whose values it takes: the network stands between these
    # and the ones that follow.
    before, n_before = list(graph.nodes), len(graph.nodes)
    predicted = graph.add("Cast", f"{graph.prefix}net/{Y}", to=TensorProto.DOUBLE)
    graph.add("Where", encoded.is_strange, graph.constant(np.nan), predicted, name=schema.output)
    whole = helper.make_graph(
        [*before, *inner.graph.node, *graph.nodes[n_before:]],
        "studperf",
        [_describe_input(column) for column in schema.columns],
        [helper.make_tensor_value_info(schema.output, TensorProto.DOUBLE, ["n_rows"])],
        [*graph.constants, *inner.graph.initializer],
    )
    others = [opset for opset in inner.opset_import if opset.domain != ML_DOMAIN]
    versions = [opset.version for opset in inner.opset_import if opset.domain == ML_DOMAIN]
    opsets = [*others, helper.make_opsetid(ML_DOMAIN, max([_ML_VERSION, *versions]))]
    model = helper.make_model(
        whole, opset_imports=opsets, functions=list(inner.functions), ir_version=inner.ir_version
    )
    model.producer_name = "studperf"
    helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model)
    return model


def _describe_input(column: InputColumn) -> onnx.ValueInfoProto:
    dtype = TensorProto.STRING if column.kind == "category" else TensorProto.DOUBLE
    return helper.make_tensor_value_info(column.name, dtype, ["n_rows", 1])


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "~"
    return name


def _free_prefix(names: set[str]) -> str:
    prefix = "~"
    while any(name.startswith(prefix) for name in names):
        prefix += "~"
    return prefix
