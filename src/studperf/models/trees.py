"""Trees that are grown in rounds: the base class of models that no gradient descent trains.

A model of this kind is two files like any other. Its class is derived from `TreeModel` by that
name, so that it is known for what it is from its source alone, before anything heavy is imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from studperf.data.encode import FeatureSpec

Array = NDArray[np.float64]
Columns = NDArray[np.float32]


class TreesError(Exception):
    """Raised when a text holds no trees that can be read; the message says why."""


@dataclass(frozen=True)
class Growth:
    """What trees are grown for, and with what.

    Args:
        loss: mse, huber or quantile.
        delta: of huber.
        quantile: of quantile.
        seed: of whatever is drawn.
        n_threads: to be used.
    """

    loss: Literal["mse", "huber", "quantile"]
    delta: float
    quantile: float
    seed: int
    n_threads: int


@dataclass(frozen=True)
class Forest:
    """Trees as plain arrays, N inner nodes and L leaves in all; predictions are sums of leaves.

    A row goes left where its value is at most the threshold or, at a node with members, where it
    is one of these. A child of 0 and more is an inner node, and below that `~child` is a leaf.

    Args:
        roots: (T,) each tree's first node, or leaf where it has no other.
        feature: (N,) places of the columns: numbers come first, then categories.
        threshold: (N,).
        left: (N,) where a row goes on.
        right: (N,) where the others do.
        missing_left: (N,) True where a missing value goes left.
        value: (L,) of the leaves.
        members: the codes that go left, by node, for nodes that ask a category.
    """

    roots: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: Array
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    value: Array
    members: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def check(self, n_features: int) -> None:
        """Check that each node and each leaf is reached once, and asks a column that there is.

        A library that reads trees believes what it reads: a child out of range is a read beyond
        the end of an array, and a circle never ends.

        Raises:
            TreesError: it is no forest.
        """
        n_nodes, n_leaves = len(self.feature), len(self.value)
        if ((self.feature < 0) | (self.feature >= n_features)).any():
            raise TreesError("a node asks a column that there is not")
        reached = np.concatenate([self.roots, self.left, self.right])
        nodes = reached[reached >= 0]
        leaves = ~reached[reached < 0]
        is_whole = len(nodes) == n_nodes and len(leaves) == n_leaves
        if not is_whole or (np.sort(nodes) != np.arange(n_nodes)).any():
            raise TreesError("a node is reached twice, or never")
        if (np.sort(leaves) != np.arange(n_leaves)).any():
            raise TreesError("a leaf is reached twice, or never")

        # Each is reached from one place, so that only a circle keeps a node from the roots.
        level = self.roots[self.roots >= 0]
        n_seen = 0
        while len(level):
            n_seen += len(level)
            below = np.concatenate([self.left[level], self.right[level]])
            level = below[below >= 0]
        if n_seen != n_nodes:
            raise TreesError("its nodes go round in a circle")


class TreeModel(ABC):
    """A model that is grown round by round, and stopped by val.

    The constructor is `Model(features, *, ...)` as of every model, and sets the two fields. Columns
    are (N, F + C): numbers as encoded, then the codes of categories. The target is standardised.

    Args:
        features: sizes of the input.
        n_rounds: the most that are grown.
        patience: rounds without a better val after which growing ends.
    """

    def __init__(self, features: FeatureSpec, *, n_rounds: int, patience: int) -> None:
        self.features = features
        self.n_rounds = n_rounds
        self.patience = patience

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return self.features.n_numbers + len(self.features.cardinalities)

    @abstractmethod
    def begin(
        self, train: tuple[Columns, Array], val: tuple[Columns, Array], growth: Growth
    ) -> None:
        """Take the rows, columns and target of each part, and start without a tree.

        Raises:
            ValueError: the loss is none that it can grow trees for.
        """

    @abstractmethod
    def grow(self) -> bool:
        """Grow one more round; return False where nothing was left to split."""

    @abstractmethod
    def fitted(self) -> tuple[Array, Array]:
        """Return what is predicted so far for the rows of train and of val."""

    @abstractmethod
    def to_text(self, n_rounds: int) -> str:
        """Return the first rounds as a text that `read` takes: no pickle."""

    @abstractmethod
    def read(self, text: str) -> None:
        """Take the trees of a text, which may come from elsewhere.

        Raises:
            TreesError: it holds no such trees.
        """

    @abstractmethod
    def predict(self, columns: Columns) -> Array:
        """Return predictions (N,), the same bits for the same rows."""

    @abstractmethod
    def forest(self) -> Forest:
        """Return the trees as arrays, from which a bundle's graph is made."""
