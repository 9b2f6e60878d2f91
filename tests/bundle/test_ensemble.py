"""Trees of a graph that somebody changed: each is refused in words before onnxruntime sees it."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from studperf.bundle.cost import rows_at_once
from studperf.bundle.ensemble import MAX_DEPTH
from studperf.bundle.graph import read_graph
from studperf.errors import BundleError

Attributes = dict[str, object]
GOOD: Attributes = {
    "n_targets": 1,
    "aggregate_function": 1,
    "post_transform": 0,
    "tree_roots": [0, 2],
    "nodes_featureids": [0, 1, 0],
    "nodes_truenodeids": [1, 0, 2],
    "nodes_trueleafs": [0, 1, 1],
    "nodes_falsenodeids": [3, 1, 4],
    "nodes_falseleafs": [1, 1, 1],
    "nodes_missing_value_tracks_true": [0, 0, 1],
    "leaf_targetids": [0, 0, 0, 0, 0],
}
TENSORS = {
    "nodes_modes": np.array([0, 6, 0], dtype=np.uint8),
    "nodes_splits": np.array([0.5, 0.0, 1.5]),
    "leaf_weights": np.arange(5.0),
    "membership_values": np.array([0.0, 2.0, np.nan]),
}


def graph_of(**changes: object) -> bytes:
    """A graph of two trees over two columns, with some attributes changed; None leaves one out."""
    attributes = {**GOOD, **TENSORS, **changes}
    given = {}
    for name, value in attributes.items():
        if isinstance(value, np.ndarray):
            given[name] = numpy_helper.from_array(value, name)
        elif value is not None:
            given[name] = value
    node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", **given)
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", onnx.TensorProto.DOUBLE, ["n_rows", 2])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, ["n_rows", 1])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 5)]
    raw: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return raw


def chain(n_nodes: int) -> Attributes:
    """One tree whose every node has a leaf at its left and the next node at its right."""
    places = list(range(n_nodes))
    return {
        "tree_roots": [0],
        "nodes_featureids": [0] * n_nodes,
        "nodes_truenodeids": places,
        "nodes_trueleafs": [1] * n_nodes,
        "nodes_falsenodeids": [*places[1:], n_nodes],
        "nodes_falseleafs": [0] * (n_nodes - 1) + [1],
        "nodes_missing_value_tracks_true": [0] * n_nodes,
        "leaf_targetids": [0] * (n_nodes + 1),
        "leaf_weights": np.zeros(n_nodes + 1),
        "nodes_modes": np.zeros(n_nodes, dtype=np.uint8),
        "nodes_splits": np.zeros(n_nodes),
        "membership_values": None,
    }


def test_good_trees_are_taken() -> None:
    assert rows_at_once(read_graph(graph_of())) == 8192
    assert rows_at_once(read_graph(graph_of(**chain(1000)))) == 8192


CASES: dict[str, tuple[Attributes, str]] = {
    "a child beyond the nodes": ({"nodes_truenodeids": [9, 0, 2]}, "names a node"),
    "a child before the nodes": ({"nodes_truenodeids": [-1, 0, 2]}, "names a node"),
    "a leaf beyond the leaves": ({"nodes_falsenodeids": [3, 1, 5]}, "names a leaf"),
    "a root beyond the nodes": ({"tree_roots": [0, 3]}, "names a node"),
    "no root": ({"tree_roots": None}, "lacks tree_roots"),
    "a circle beside the trees": (
        {"tree_roots": [2], "nodes_falsenodeids": [1, 0, 3], "nodes_falseleafs": [0, 0, 1],
         "nodes_truenodeids": [0, 1, 2], "nodes_trueleafs": [1, 1, 1],
         "leaf_targetids": [0] * 4, "leaf_weights": np.zeros(4)},
        "go round in a circle",
    ),
    "a node that is its own child": ({"nodes_truenodeids": [0, 0, 2]}, "reached twice"),
    "a node of two trees": ({"tree_roots": [0, 1]}, "reached twice"),
    "a leaf of two nodes": ({"nodes_falsenodeids": [3, 1, 3]}, "leaf that is reached twice"),
    "a leaf of no node": (
        {"leaf_targetids": [0] * 6, "leaf_weights": np.zeros(6)}, "leaf that is reached twice"
    ),
    "a column that there is not": ({"nodes_featureids": [0, 2, 0]}, "names a column"),
    "a column before the first": ({"nodes_featureids": [0, -1, 0]}, "names a column"),
    "lists of two lengths": ({"nodes_trueleafs": [0, 1]}, "not of one length"),
    "too few modes": ({"nodes_modes": np.zeros(2, np.uint8)}, "nodes_modes"),
    "too few splits": ({"nodes_splits": np.zeros(2)}, "nodes_splits"),
    "too few leaves": ({"leaf_weights": np.zeros(4)}, "leaf_weights"),
    "splits that are whole": ({"nodes_splits": np.zeros(3, np.int64)}, "nodes_splits"),
    "a leaf that is no number": ({"leaf_weights": np.full(5, np.nan)}, "not taken"),
    "another kind of node": ({"nodes_modes": np.array([3, 6, 0], np.uint8)}, "not taken"),
    "a flag that is none": ({"nodes_trueleafs": [0, 2, 1]}, "names a flag"),
    "an output that there is not": ({"leaf_targetids": [0, 0, 0, 0, 1]}, "names an output"),
    "several outputs": ({"n_targets": 1 << 40}, "more than to sum"),
    "the largest leaf": ({"aggregate_function": 3}, "more than to sum"),
    "a softmax": ({"post_transform": 1}, "more than to sum"),
    "a set without an end": (
        {"membership_values": np.array([0.0, 2.0])}, "other sets of members"
    ),
    "members behind the last end": (
        {"membership_values": np.array([0.0, np.nan, 2.0])}, "other sets of members"
    ),
    "a set too many": (
        {"membership_values": np.array([0.0, np.nan, np.nan])}, "other sets of members"
    ),
    "no sets": ({"membership_values": None}, "other sets of members"),
    "a member below 0": ({"membership_values": np.array([-1.0, np.nan])}, "no codes"),
    "a member beyond all codes": ({"membership_values": np.array([1e300, np.nan])}, "no codes"),
    "half a member": ({"membership_values": np.array([0.5, np.nan])}, "no codes"),
    "an unknown attribute": ({"nodes_hitrates": np.zeros(3)}, "attributes that are not taken"),
    "a deep tree": (chain(MAX_DEPTH + 1), "levels"),
    "a number for a list": ({"nodes_featureids": 1}, "lacks nodes_featureids"),
    "floats for a list": ({"nodes_featureids": [0.5, 1.0, 0.0]}, "no list of whole numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_trees_that_are_none_are_refused_in_words(case: str) -> None:
    changes, words = CASES[case]
    with pytest.raises(BundleError, match=words):
        rows_at_once(read_graph(graph_of(**changes)))


def test_more_numbers_than_memory_is_for_are_refused() -> None:
    with pytest.raises(BundleError, match="lists hold more than"):
        read_graph(graph_of(nodes_featureids=[0] * 2_000_001))


def test_trees_in_another_shape_of_rows_are_refused() -> None:
    def flat(model: onnx.ModelProto) -> None:
        del model.graph.input[0].type.tensor_type.shape.dim[1]

    with pytest.raises(BundleError, match="do not fit"):
        rows_at_once(read_graph(_edited(flat)))


def _edited(edit: Callable[[onnx.ModelProto], None]) -> bytes:
    model = onnx.load_from_string(graph_of())
    edit(model)
    raw: bytes = model.SerializeToString()
    return raw
