"""The quantile transform as ONNX operators.

ONNX has neither a binary search nor an inverse normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from studperf.data.encode import CLIP, NumberCode
from studperf.export.graph import Graph

# Rational approximations of the normal quantile, Cephes `ndtri` (Moshier 1989), which is what scipy
# computes; highest power first. Its third branch begins at 1e-14, beyond CLIP.
_CENTRE = (
    (
        -59.9633501014107895,
        98.0010754185999662,
        -56.6762857469070293,
        13.9312609387279680,
        -1.23916583867381258,
    ),
    (
        *(1.0, 1.95448858338141760, 4.67627912898881538, 86.3602421390890591, -225.462687854119371),
        *(200.260212380060660, -82.0372256168333340, 15.9056225126211696, -1.18331621121330003),
    ),
)
_TAIL = (
    (
        *(
            4.05544892305962420,
            31.5251094599893866,
            57.1628192246421288,
            44.0805073893200835,
            14.6849561928858024,
        ),
        *(
            2.18663306850790268,
            -0.140256079171354496,
            -0.0350424626827848203,
            -8.57456785154685414e-4,
        ),
    ),
    (
        *(1.0, 15.7799883256466750, 45.3907635128879211, 41.3172038254672030, 15.0425385692907503),
        *(
            2.50464946208309416,
            -0.142182922854787788,
            -0.0380806407691578277,
            -9.33259480895457428e-4,
        ),
    ),
)


def add_quantile_transform(graph: Graph, x: str, codes: Sequence[NumberCode]) -> str:
    """Add the operators that map each column, (N, F) doubles, to a normal."""
    rank = _add_mean_rank(graph, x, [code.quantiles or () for code in codes])
    low, high = graph.constant(CLIP), graph.constant(1 - CLIP)
    return _add_normal_quantile(graph, graph.add("Min", graph.add("Max", rank, low), high))


def _add_mean_rank(graph: Graph, x: str, quantiles: Sequence[Sequence[float]]) -> str:
    """Return the rank of each value among its column's quantiles, interpolated.

    Repeated quantiles share the middle of their ranks.
    """
    lengths = np.array([len(knots) for knots in quantiles])
    # A power of two above every length, for a search without ends.
    width = 1 << int(lengths.max()).bit_length()
    knots = np.full((len(quantiles), width), np.inf)
    ranks = np.ones((len(quantiles), width))
    for row, column in enumerate(quantiles):
        knots[row, : len(column)] = column
        ranks[row, : len(column)] = np.linspace(0, 1, len(column))
    table = _Table(
        graph,
        graph.constant(knots.ravel()),
        graph.constant(ranks.ravel()),
        np.arange(len(quantiles)) * width,
    )
    last = graph.constant(lengths - 1, np.int64)
    zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
    lowest = graph.constant(knots[:, 0])
    highest = graph.constant([column[-1] for column in quantiles])
    given = x
    x = graph.add("Min", graph.add("Max", x, lowest), highest)
    n_below = table.count(x, width, "LessOrEqual")
    below = graph.add("Max", graph.add("Sub", n_below, one), zero)
    below = graph.add("Min", below, last)
    above = graph.add("Min", table.count(x, width, "Less"), last)
    after = graph.add("Min", graph.add("Add", below, one), last)
    from_below = table.between(x, below, after)
    before = graph.add("Max", graph.add("Sub", above, one), zero)
    from_above = table.between(x, above, before)
    both = graph.add("Add", from_below, from_above)
    rank = graph.add("Mul", both, graph.constant(0.5))
    # Beyond the ends the rank is that of the end, not of the middle of quantiles that repeat there.
    is_below = graph.add("Less", given, lowest)
    rank = graph.add("Where", is_below, graph.constant(0.0), rank)
    is_above = graph.add("Less", highest, given)
    # A single quantile has the rank 0 alone.
    last_rank = graph.constant(np.minimum(lengths - 1.0, 1.0))
    return graph.add("Where", is_above, last_rank, rank)


class _Table:
    """The knots and ranks of all columns in two flat constants.

    Places are (N, F) integers, counted within a column.
    """

    def __init__(
        self,
        graph: Graph,
        knots: str,
        ranks: str,
        starts: np.ndarray,
    ) -> None:
        self.graph, self.knots, self.ranks = graph, knots, ranks
        self.starts = graph.constant(starts, np.int64)

    def at(self, values: str, place: str) -> str:
        flat = self.graph.add("Add", place, self.starts)
        return self.graph.add("Gather", values, flat)

    def count(self, x: str, width: int, order: str) -> str:
        """Return the number of knots before each value, in its own column and by this comparison.

        It is a binary search, unrolled.
        """
        graph = self.graph
        # A value minus itself: zeros of the right shape.
        whole = graph.add("Cast", graph.add("IsNaN", x), to=TensorProto.INT64)
        count = graph.add("Sub", whole, whole)
        step = width // 2
        while step:
            further = graph.add("Add", count, graph.constant(step, np.int64))
            place = graph.add("Sub", further, graph.constant(1, np.int64))
            knot = self.at(self.knots, place)
            is_in_order = graph.add(order, knot, x)
            count = graph.add("Where", is_in_order, further, count)
            step //= 2
        return count

    def between(self, x: str, place: str, neighbour: str) -> str:
        """Return the rank at a place, plus the share of the way to its neighbour."""
        graph = self.graph
        knot, rank = self.at(self.knots, place), self.at(self.ranks, place)
        next_knot = self.at(self.knots, neighbour)
        gap = graph.add("Sub", next_knot, knot)
        # Equal knots have nothing between them: whatever the gap is called, the way along it is 0.
        is_none = graph.add("Equal", gap, graph.constant(0.0))
        gap = graph.add("Where", is_none, graph.constant(1.0), gap)
        next_rank = self.at(self.ranks, neighbour)
        rise = graph.add("Sub", next_rank, rank)
        slope = graph.add("Div", rise, gap)
        way = graph.add("Sub", x, knot)
        return graph.add("Add", rank, graph.add("Mul", way, slope))


def _add_normal_quantile(graph: Graph, p: str) -> str:
    """Return the normal quantile of probabilities, by one formula about 1/2 and one for the tails.

    Both are computed for every value, as ONNX has no branch that a bundle may hold.
    """
    one, half = graph.constant(1.0), graph.constant(0.5)
    c = graph.add("Sub", p, half)
    square = graph.add("Mul", c, c)
    centre = graph.add("Mul", square, _add_ratio(graph, square, _CENTRE))
    centre = graph.add("Add", c, graph.add("Mul", c, centre))
    factor = graph.constant(math.sqrt(2 * math.pi))
    centre = graph.add("Mul", centre, factor)

    least = graph.add("Min", p, graph.add("Sub", one, p))
    minus_two = graph.constant(-2.0)
    log = graph.add("Log", least)
    x = graph.add("Sqrt", graph.add("Mul", minus_two, log))
    z = graph.add("Div", one, x)
    log = graph.add("Log", x)
    tail = graph.add("Sub", x, graph.add("Div", log, x))
    ratio = _add_ratio(graph, z, _TAIL)
    tail = graph.add("Sub", tail, graph.add("Mul", z, ratio))
    is_lower = graph.add("Less", p, half)
    negated = graph.add("Neg", tail)
    tail = graph.add("Where", is_lower, negated, tail)

    is_central = graph.add("Less", graph.constant(math.exp(-2)), least)
    return graph.add("Where", is_central, centre, tail)


def _add_ratio(
    graph: Graph,
    x: str,
    coefficients: tuple[tuple[float, ...], tuple[float, ...]],
) -> str:
    above, below = (_add_polynomial(graph, x, powers) for powers in coefficients)
    return graph.add("Div", above, below)


def _add_polynomial(graph: Graph, x: str, powers: tuple[float, ...]) -> str:
    value = graph.constant(powers[0])
    for power in powers[1:]:
        value = graph.add("Mul", value, x)
        coefficient = graph.constant(power)
        value = graph.add("Add", value, coefficient)
    return value
