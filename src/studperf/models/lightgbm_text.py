"""LightGBM's text of a model, read without LightGBM."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from studperf.models.trees import Array, Forest, TreesError

_END = "end of trees"
_TREE = "Tree="
# The bits of a node's decision_type.
_IS_CATEGORY = 1
_DEFAULT_LEFT = 2
_MISSING_SHIFT = 2
_MISSING_IS_ZERO = 1
_MISSING_IS_NAN = 2
_WORD_BITS = 32


def without_settings(text: str) -> str:
    """Return a model's text up to the end of its trees.

    The settings behind it change nothing in predictions, and name the threads of the fit.
    """
    trees, _, _ = text.partition(_END)
    return f"{trees}{_END}\n"


def read_forest(text: str, *, n_features: int) -> Forest:
    """Return the trees of a text, whose order of nodes and leaves is kept, tree after tree.

    Raises:
        TreesError: the text holds something else than whole trees over so many columns.
    """
    try:
        blocks = _split(text, n_features)
        forest = _join([_Tree(_fields(block)) for block in blocks])
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        raise TreesError(f"its text is not LightGBM's: {error}") from error
    forest.check(n_features)
    return forest


def _split(text: str, n_features: int) -> list[str]:
    """Return the text of each tree.

    Raises:
        ValueError: the text is cut off, or is of another kind of model.
    """
    start = text.find(_TREE)
    end = text.find(_END)
    if not 0 <= start < end:
        raise ValueError("it is cut off")
    head = _fields(text[:start])
    if head["num_tree_per_iteration"] != "1" or head["num_class"] != "1":
        raise ValueError("it has several outputs")
    if int(head["max_feature_idx"]) + 1 != n_features:
        raise ValueError("it is for another number of columns")
    blocks = [_TREE + block for block in text[start:end].split(_TREE)[1:]]
    # LightGBM goes from tree to tree by these sizes, wherever that leads.
    sizes = [int(size) for size in head["tree_sizes"].split()]
    if sizes != [len(block.encode()) for block in blocks]:
        raise ValueError("its trees are not as long as it says")
    return blocks


def _fields(block: str) -> Mapping[str, str]:
    """Return the fields of a part of the text, each of which stands once."""
    fields: dict[str, str] = {}
    for line in block.splitlines():
        name, is_field, value = line.partition("=")
        if is_field and fields.setdefault(name, value) is not value:
            raise ValueError(f"{name[:40]} stands twice")
    return fields


class _Tree:
    """One tree, with nodes and leaves counted from 0."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.value = _floats(fields["leaf_value"])
        n_leaves = int(fields["num_leaves"])
        if len(self.value) != n_leaves or not np.isfinite(self.value).all():
            raise ValueError("its leaves are not as many as it says")
        if fields.get("is_linear", "0") != "0":
            raise ValueError("its leaves hold linear models")
        self.feature = _integers(fields["split_feature"])
        self.threshold = _floats(fields["threshold"])
        self.left = _integers(fields["left_child"])
        self.right = _integers(fields["right_child"])
        self.kind = _integers(fields["decision_type"])
        arrays = (self.feature, self.threshold, self.left, self.right, self.kind)
        if any(len(array) != n_leaves - 1 for array in arrays):
            raise ValueError("its nodes are not as many as it says")

        self.is_category = (self.kind & _IS_CATEGORY) != 0
        self.members: dict[int, tuple[int, ...]] = {}
        if self.is_category.any():
            bounds = _integers(fields["cat_boundaries"])
            words = _integers(fields["cat_threshold"])
            if not _fit_together(bounds, words, int(fields["num_cat"])):
                raise ValueError("its categories are not as many as it says")
            for node in np.flatnonzero(self.is_category):
                place = int(self.threshold[node])
                if not 0 <= place < len(bounds) - 1:
                    raise ValueError("a node asks for categories that there are not")
                start, end = bounds[place], bounds[place + 1]
                self.members[int(node)] = _members(words[start:end])

    @property
    def missing_left(self) -> NDArray[np.bool_]:
        """Which way a missing value goes.

        Where training met none, LightGBM takes it for 0; as a category it is none of the members.
        """
        missing = self.kind >> _MISSING_SHIFT
        if (missing == _MISSING_IS_ZERO).any():
            raise ValueError("it takes zeros for missing values")
        is_default_left = (self.kind & _DEFAULT_LEFT) != 0
        is_left = np.where(missing == _MISSING_IS_NAN, is_default_left, self.threshold >= 0)
        return np.asarray(is_left & ~self.is_category)


def _floats(text: str) -> Array:
    return np.array([float(part) for part in text.split()], dtype=np.float64)


def _integers(text: str) -> NDArray[np.int64]:
    # `int` refuses what is no whole number, where numpy would cut it off.
    return np.array([int(part) for part in text.split()], dtype=np.int64)


def _fit_together(bounds: NDArray[np.int64], words: NDArray[np.int64], n_sets: int) -> bool:
    """Return True if the bounds part the words into as many sets, one after another."""
    if len(bounds) != n_sets + 1 or bounds[0] != 0 or bounds[-1] != len(words):
        return False
    return bool((np.diff(bounds) >= 0).all())


def _members(words: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the numbers of the bits that are set, which begin with the lowest of each word."""
    bits = (words[:, None] >> np.arange(_WORD_BITS)) & 1
    return tuple(np.flatnonzero(bits.ravel()).tolist())


def _join(trees: list[_Tree]) -> Forest:
    """Return one forest of several trees, their nodes and leaves counted on."""
    roots: list[int] = []
    left: list[NDArray[np.int64]] = []
    right: list[NDArray[np.int64]] = []
    members: dict[int, tuple[int, ...]] = {}
    n_nodes = n_leaves = 0
    for tree in trees:
        # A tree that found no split is a leaf alone.
        roots.append(n_nodes if len(tree.feature) else ~n_leaves)
        left.append(_count_on(tree.left, n_nodes, n_leaves))
        right.append(_count_on(tree.right, n_nodes, n_leaves))
        members |= {n_nodes + node: codes for node, codes in tree.members.items()}
        n_nodes += len(tree.feature)
        n_leaves += len(tree.value)
    return Forest(
        roots=np.array(roots, dtype=np.int64),
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        left=np.concatenate(left),
        right=np.concatenate(right),
        missing_left=np.concatenate([tree.missing_left for tree in trees]),
        value=np.concatenate([tree.value for tree in trees]),
        members=members,
    )


def _count_on(children: NDArray[np.int64], n_nodes: int, n_leaves: int) -> NDArray[np.int64]:
    return np.where(children >= 0, children + n_nodes, children - n_leaves)
