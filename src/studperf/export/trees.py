"""The export of grown trees to an ONNX graph, as the operator TreeEnsemble.

The operator computes in double precision here: thresholds are then those of the model to the last
bit, and the sum of a thousand leaves loses nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from studperf.bundle.ensemble import LESS_OR_EQUAL, MEMBER
from studperf.bundle.wire import MAX_NUMBERS
from studperf.data.encode import FeatureSpec
from studperf.errors import ExportError
from studperf.export.encoder import ML_DOMAIN
from studperf.export.graph import Graph
from studperf.export.network import X_CAT, X_NUM, Y, export_network
from studperf.models.trees import Forest
from studperf.train.trees import TreesModel

_OPSET = 20
# TreeEnsemble came with the fifth.
_ML_OPSET = 5
_IR_VERSION = 10
_SUM = 1
_AS_IT_IS = 0


@export_network.register
def export_trees(model: TreesModel, features: FeatureSpec) -> ModelProto:
    """Return grown trees as ONNX.

    Raises:
        ExportError: they are too many for a bundle.
    """
    forest = _with_nodes(model.trees.forest())
    attributes = _describe(forest)
    n_numbers = sum(len(value) for value in attributes.values() if isinstance(value, list))
    if n_numbers > MAX_NUMBERS:
        raise ExportError(
            f"{model.kind}: {len(forest.value):,} leaves are too many for a bundle, "
            f"which takes a graph of {MAX_NUMBERS:,} numbers; lower model.n_rounds or "
            "model.n_leaves, or train with export=false"
        )

    graph = Graph("")
    columns = graph.side_by_side([X_NUM, graph.as_float(X_CAT)])
    columns = graph.add("Cast", columns, to=TensorProto.DOUBLE)
    y = graph.add("TreeEnsemble", columns, domain=ML_DOMAIN, **attributes)
    y = graph.add("Squeeze", y, graph.constant([1], np.int64))
    y = graph.add("Mul", y, graph.constant(model.target_std))
    graph.add("Add", y, graph.constant(model.target_mean), name=Y)
    whole = helper.make_graph(
        graph.nodes,
        "trees",
        [
            _input(X_NUM, TensorProto.FLOAT, features.n_numbers),
            _input(X_CAT, TensorProto.INT64, len(features.cardinalities)),
        ],
        [helper.make_tensor_value_info(Y, TensorProto.DOUBLE, ["n_rows"])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(ML_DOMAIN, _ML_OPSET)]
    return helper.make_model(whole, opset_imports=opsets, ir_version=_IR_VERSION)


def _input(name: str, dtype: int, n_columns: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, ["n_rows", n_columns])


def _with_nodes(forest: Forest) -> Forest:
    """Return a forest in which each tree begins with a node, as ONNX wants it.

    A leaf alone becomes a node whose two leaves are alike.
    """
    (alone,) = np.nonzero(forest.roots < 0)
    if not len(alone):
        return forest
    n_nodes, n_leaves = len(forest.feature), len(forest.value)
    first = forest.roots[alone]
    second = ~np.arange(n_leaves, n_leaves + len(alone))
    roots = forest.roots.copy()
    roots[alone] = np.arange(n_nodes, n_nodes + len(alone))
    zeros = np.zeros(len(alone), dtype=np.int64)
    return Forest(
        roots=roots,
        feature=np.concatenate([forest.feature, zeros]),
        threshold=np.concatenate([forest.threshold, zeros]),
        left=np.concatenate([forest.left, first]),
        right=np.concatenate([forest.right, second]),
        missing_left=np.concatenate([forest.missing_left, zeros.astype(np.bool_)]),
        value=np.concatenate([forest.value, forest.value[~first]]),
        members=forest.members,
    )


def _describe(forest: Forest) -> dict[str, Any]:
    """Return the attributes of a TreeEnsemble."""
    modes = np.full(len(forest.feature), LESS_OR_EQUAL, dtype=np.uint8)
    modes[list(forest.members)] = MEMBER
    attributes: dict[str, Any] = {
        "n_targets": 1,
        "aggregate_function": _SUM,
        "post_transform": _AS_IT_IS,
        "tree_roots": forest.roots.tolist(),
        "nodes_modes": numpy_helper.from_array(modes, "modes"),
        "nodes_featureids": forest.feature.tolist(),
        "nodes_splits": numpy_helper.from_array(forest.threshold, "splits"),
        "nodes_truenodeids": _places(forest.left),
        "nodes_trueleafs": _is_leaf(forest.left),
        "nodes_falsenodeids": _places(forest.right),
        "nodes_falseleafs": _is_leaf(forest.right),
        "nodes_missing_value_tracks_true": forest.missing_left.astype(np.int64).tolist(),
        "leaf_targetids": [0] * len(forest.value),
        "leaf_weights": numpy_helper.from_array(forest.value, "weights"),
    }
    if forest.members:
        # In the order of the nodes that ask them, each set closed by a NaN.
        sets: list[float] = []
        for node in sorted(forest.members):
            sets += [*map(float, forest.members[node]), np.nan]
        attributes["membership_values"] = numpy_helper.from_array(np.array(sets), "members")
    return attributes


def _places(children: np.ndarray) -> list[int]:
    """Return the places of children among the nodes, or among the leaves."""
    places: list[int] = np.where(children >= 0, children, ~children).tolist()
    return places


def _is_leaf(children: np.ndarray) -> list[int]:
    flags: list[int] = (children < 0).astype(np.int64).tolist()
    return flags
