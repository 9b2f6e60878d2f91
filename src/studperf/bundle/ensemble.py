"""The trees of a bundle's graph, looked through before onnxruntime sees them.

onnxruntime 1.32 believes what it reads: a child out of range ends the process, as do trees of some
10,000 levels, and a circle of nodes fills the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studperf.bundle.graph import DOUBLE, FLOAT, UINT8, Constant, Node

MAX_DEPTH = 2048
LESS_OR_EQUAL = 0
MEMBER = 6
_SUM = 1
_NODE_LISTS = (
    "nodes_featureids",
    "nodes_truenodeids",
    "nodes_trueleafs",
    "nodes_falsenodeids",
    "nodes_falseleafs",
    "nodes_missing_value_tracks_true",
)
_KNOWN = {
    *_NODE_LISTS,
    *("n_targets", "aggregate_function", "post_transform", "tree_roots"),
    *("nodes_modes", "nodes_splits", "leaf_targetids", "leaf_weights", "membership_values"),
}
_DTYPES = {FLOAT: "<f4", DOUBLE: "<f8", UINT8: "u1"}
# Beyond that a float32 does not hold each code.
_MAX_CODE = 1 << 24

Integers = NDArray[np.int64]


class BrokenTreesError(Exception):
    """Raised for trees that are none; the message follows the operator's name."""


def measure_trees(node: Node, n_columns: int) -> int:
    """Return how many nodes a row passes at most, after checking that the trees are such.

    Raises:
        BrokenTreesError: they are not, or are of a form that studperf does not write.
    """
    attributes = node.attributes
    if unknown := sorted(set(attributes) - _KNOWN):
        raise BrokenTreesError(f"has attributes that are not taken: {', '.join(unknown)[:200]}")
    plain = (attributes.get(name, 0) for name in ("n_targets", "aggregate_function"))
    if tuple(plain) != (1, _SUM) or attributes.get("post_transform", 0) != 0:
        raise BrokenTreesError("does more than to sum the leaves of its trees")

    lists = {name: _integers(attributes, name) for name in _NODE_LISTS}
    n_nodes = len(lists["nodes_featureids"])
    if any(len(values) != n_nodes for values in lists.values()):
        raise BrokenTreesError("has lists of nodes that are not of one length")
    _check_range(lists["nodes_featureids"], n_columns, "a column")
    modes = _tensor(attributes, "nodes_modes", n_nodes)
    _tensor(attributes, "nodes_splits", n_nodes)
    targets = _integers(attributes, "leaf_targetids")
    _check_range(targets, 1, "an output")
    leaves = _tensor(attributes, "leaf_weights", len(targets))
    if not (np.isfinite(leaves).all() and np.isin(modes, (LESS_OR_EQUAL, MEMBER)).all()):
        raise BrokenTreesError("has leaves or nodes of a kind that is not taken")
    _check_members(attributes, int((modes == MEMBER).sum()))

    true = _children(lists, "true", n_nodes, len(targets))
    false = _children(lists, "false", n_nodes, len(targets))
    roots = _integers(attributes, "tree_roots")
    _check_range(roots, n_nodes, "a node")
    return len(roots) * _find_depth(roots, true, false, len(targets))


def _find_depth(roots: Integers, true: Integers, false: Integers, n_leaves: int) -> int:
    """Return the number of levels, after checking that each node and leaf is reached once.

    Args:
        roots: each tree's first node.
        true: of each node, its child; below 0 is the leaf `~child`.
        false: the other one.
        n_leaves: that there are.
    """
    reached = np.concatenate([roots, true, false])
    nodes = np.sort(reached[reached >= 0])
    leaves = np.sort(~reached[reached < 0])
    if not np.array_equal(nodes, np.arange(len(true))):
        raise BrokenTreesError("has a node that is reached twice, or never")
    if not np.array_equal(leaves, np.arange(n_leaves)):
        raise BrokenTreesError("has a leaf that is reached twice, or never")

    # Each is reached from one place, so that only a circle keeps a node from the roots.
    level, depth, n_seen = roots, 0, 0
    while len(level):
        depth += 1
        n_seen += len(level)
        if depth > MAX_DEPTH:
            raise BrokenTreesError(f"has trees of more than {MAX_DEPTH:,} levels")
        below = np.concatenate([true[level], false[level]])
        level = below[below >= 0]
    if n_seen != len(true):
        raise BrokenTreesError("has nodes that go round in a circle")
    return depth


def _children(lists: Mapping[str, Integers], side: str, n_nodes: int, n_leaves: int) -> Integers:
    """Return each node's child of one side; below 0 is the leaf `~child`."""
    places = lists[f"nodes_{side}nodeids"]
    is_leaf = lists[f"nodes_{side}leafs"]
    _check_range(is_leaf, 2, "a flag")
    _check_range(places[is_leaf == 0], n_nodes, "a node")
    _check_range(places[is_leaf == 1], n_leaves, "a leaf")
    return np.where(is_leaf == 1, ~places, places)


def _check_members(attributes: Mapping[str, Any], n_sets: int) -> None:
    """Check that there is a set of codes for each node that asks for one."""
    n_values = 0
    values = np.zeros(0)
    if "membership_values" in attributes:
        given = attributes["membership_values"]
        n_values = given.shape[0] if isinstance(given, Constant) and given.shape else 0
        values = _tensor(attributes, "membership_values", n_values)
    is_end = np.isnan(values)
    if is_end.sum() != n_sets or (n_values and not is_end[-1]):
        raise BrokenTreesError("has other sets of members than its nodes ask for")
    codes = values[~is_end]
    if ((codes < 0) | (codes > _MAX_CODE) | (codes != np.floor(codes))).any():
        raise BrokenTreesError("has members that are no codes of a category")


def _integers(attributes: Mapping[str, Any], name: str) -> Integers:
    values = attributes.get(name)
    if not isinstance(values, list) or not all(isinstance(value, int) for value in values):
        raise BrokenTreesError(f"lacks {name}, or it is no list of whole numbers")
    return np.array(values, dtype=np.int64)


def _tensor(attributes: Mapping[str, Any], name: str, n_values: int) -> NDArray[Any]:
    """Return the values of a tensor, which must be this many in a row."""
    given = attributes.get(name)
    if not isinstance(given, Constant) or given.raw is None or given.dtype not in _DTYPES:
        raise BrokenTreesError(f"lacks {name}, or it is no tensor of numbers that is read")
    if given.shape != (n_values,):
        raise BrokenTreesError(f"has {name} that do not hold as many numbers as they should")
    return np.frombuffer(given.raw, dtype=_DTYPES[given.dtype])


def _check_range(values: Integers, end: int, what: str) -> None:
    if ((values < 0) | (values >= end)).any():
        raise BrokenTreesError(f"names {what} that there is not")
