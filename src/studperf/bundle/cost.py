# ruff: noqa: ARG001 - rules share one form, whether they need all of it or not
"""The cost of a graph, known before it runs.

It is the size of every value that the graph makes, as a function of the number of rows.

Each operator that a bundle's graph may hold has a rule here for the shape that it gives. A shape
that depends on the values of the rows, and an operator without a rule, is refused: a broadcast of
two short constants is enough to fill any memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from studperf.bundle.ensemble import BrokenTreesError, measure_trees
from studperf.bundle.graph import FILE, MAX_SHAPE_VALUES, TEXT, Constant, Graph, Node
from studperf.errors import BundleError

MAX_ROWS = 8192
MAX_VALUES = 1 << 28
"""Values that all operators may make for the rows that go through at once: a GiB of float32."""
MAX_WORK = 1 << 36
"""Multiplications for the rows that go through at once: some seconds of one core."""
_MAX_POWER = 4
# Python's integers have no bound of their own.
_MAX_NUMBER = 1 << 62
_WHOLE_TYPES = (6, 7)
"""ONNX's numbers of the types int32 and int64."""
_TO_THE_END = (1 << 31) - 1
"""ONNX says `to the end` by an end that is larger than any size, often this one."""


@dataclass(frozen=True)
class Size:
    """A number of values: a polynomial in the number of rows.

    Its lowest power comes first, and there are no trailing zeros.
    """

    powers: tuple[int, ...]

    @classmethod
    def of(cls, *powers: int) -> Size:
        """Return a size of these coefficients."""
        kept = list(powers)
        while kept and not kept[-1]:
            kept.pop()
        is_large = any(abs(number) > _MAX_NUMBER for number in kept)
        if is_large or len(kept) > _MAX_POWER + 1:
            raise _UnknownError("is of a size beyond all bounds")
        return cls(tuple(kept))

    def __add__(self, other: Size) -> Size:
        pairs = zip_longest(self.powers, other.powers, fillvalue=0)
        return Size.of(*(a + b for a, b in pairs))

    def __mul__(self, other: Size) -> Size:
        powers = [0] * (len(self.powers) + len(other.powers))
        for i, a in enumerate(self.powers):
            for j, b in enumerate(other.powers):
                powers[i + j] += a * b
        return Size.of(*powers)

    def __sub__(self, other: Size) -> Size:
        return self + other * Size.of(-1)

    def divided_by(self, other: Size) -> Size:
        """Return the quotient, where it is exact and the divisor a single power."""
        power = len(other.powers) - 1
        if power < 0 or any(other.powers[:power]):
            raise _UnknownError("divides a size by one that is no single power of the rows")
        divisor = other.powers[power]
        lower, upper = self.powers[:power], self.powers[power:]
        if any(lower) or any(number % divisor for number in upper):
            raise _UnknownError("divides a size into parts that are not whole")
        return Size.of(*(number // divisor for number in upper))

    @property
    def fixed(self) -> int | None:
        """Return the number, where it does not depend on the rows."""
        if len(self.powers) > 1:
            return None
        if not self.powers:
            return 0
        return self.powers[0]

    def at(self, n_rows: int) -> int:
        """Return the number for so many rows."""
        return sum(number * n_rows**i for i, number in enumerate(self.powers))


ONE = Size.of(1)
ZERO = Size.of()
ROWS = Size.of(0, 1)
Shape = tuple[Size, ...]


@dataclass(frozen=True)
class Value:
    """The shape of a value, known before the graph runs.

    `numbers` are its own where it may become a shape.
    """

    shape: Shape
    is_text: bool = False
    numbers: tuple[Size, ...] | None = None

    @property
    def size(self) -> Size:
        """Return how many values it holds."""
        return product(self.shape)


class _UnknownError(Exception):
    """Raised in this module where the shape of a node's output can't be known."""


@dataclass
class Costs:
    """Sums of values and multiplications over the nodes so far."""

    n_values: Size = ZERO
    work: Size = ZERO


Values = Sequence[Value]
Rule = Callable[[Node, Values, Costs], Values]


def product(sizes: Iterable[Size]) -> Size:
    """Return the product of sizes."""
    total = ONE
    for size in sizes:
        total = total * size
    return total


def rows_at_once(graph: Graph) -> int:
    """Return how many rows may go through the graph at once, a power of two up to `MAX_ROWS`.

    Raises:
        BundleError: a single row costs too much, or what the graph costs can't be told; the
            operator is named.
    """
    _, costs = measure(graph)
    n_rows = MAX_ROWS
    while _is_too_much(costs, n_rows):
        n_rows //= 2
    return n_rows


def measure(graph: Graph) -> tuple[dict[str, Value], Costs]:
    """Return what is known of each value that the graph makes, by name, and what all of them cost.

    Raises:
        BundleError: see `rows_at_once`.
    """
    values = {name: _value_of(constant) for name, constant in graph.constants.items()}
    for given in graph.inputs:
        shape = tuple(ROWS if size is None else Size.of(size) for size in given.shape)
        values[given.name] = Value(shape, given.dtype == TEXT)
    costs = Costs()
    for node in graph.nodes:
        before = costs.n_values
        inputs = [values[name] if name else None for name in node.inputs]
        costs.work += _sum(value.size for value in inputs if value is not None)
        made_values = _apply(node, inputs, costs)
        # A node may leave out the last of its outputs.
        for name, value in zip(node.outputs, made_values, strict=False):
            values[name] = value
            costs.n_values += value.size
            costs.work += value.size
        if _is_too_much(costs, 1):
            made = (costs.n_values - before).at(1)
            raise BundleError(
                f"{FILE}: one row needs more than {MAX_VALUES:,} values or "
                f"{MAX_WORK:,} multiplications; {node} alone makes {made:,} values"
            )
    return values, costs


def _is_too_much(costs: Costs, n_rows: int) -> bool:
    return costs.n_values.at(n_rows) > MAX_VALUES or costs.work.at(n_rows) > MAX_WORK


def _value_of(constant: Constant) -> Value:
    numbers = None
    if constant.values is not None and len(constant.shape) <= 1:
        # The end of a slice that means `to the end` is beyond the bounds of a size.
        bounded = [max(-_MAX_NUMBER, min(_MAX_NUMBER, n)) for n in constant.values]
        numbers = tuple(Size.of(number) for number in bounded)
    shape = tuple(map(Size.of, constant.shape))
    return Value(shape, constant.is_text, numbers)


def _apply(
    node: Node,
    inputs: Sequence[Value | None],
    costs: Costs,
) -> Sequence[Value]:
    rule = _RULES.get(node.kind)
    if rule is None:
        raise BundleError(
            f"{FILE}: holds the operator {node.kind[:60]}, which a bundle can't hold; "
            f"those that it can: {', '.join(sorted(_RULES))}"
        )
    given = [value for value in inputs if value is not None]
    if node.kind not in _TAKES_TEXT and any(value.is_text for value in given):
        raise BundleError(f"{FILE}: {node} is given texts; {', '.join(sorted(_TAKES_TEXT))} may be")
    try:
        if len(given) < len(inputs) and node.kind not in _WITH_GAPS:
            inputs = _without_gaps(inputs)
        made = rule(node, inputs, costs)  # type: ignore[arg-type]  # gaps only where a rule allows
        _check_signs(made)
    except _UnknownError as why:
        raise BundleError(f"{FILE}: {node} {why}, so what the graph costs can't be told") from None
    except (
        IndexError,
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        ZeroDivisionError,
    ) as error:
        # Rules read inputs and attributes as if they were right: what they trip over is the file's
        # fault.
        raise BundleError(f"{FILE}: {node} has inputs or attributes that do not fit it") from error
    return made


def _check_signs(made: Sequence[Value]) -> None:
    for value in made:
        for size in value.shape:
            if any(number < 0 for number in size.powers):
                raise _UnknownError("gives a size that could be negative")


def _without_gaps(inputs: Sequence[Value | None]) -> Sequence[Value | None]:
    kept = list(inputs)
    while kept and kept[-1] is None:
        kept.pop()
    if None in kept:
        raise _UnknownError("leaves out an input that it needs")
    return kept


def _sum(sizes: Iterable[Size]) -> Size:
    total = ZERO
    for size in sizes:
        total += size
    return total


def _broadcast(*shapes: Shape) -> Shape:
    rank = max((len(shape) for shape in shapes), default=0)
    result = []
    for i in range(rank):
        # Shapes are aligned at their last axis; a shorter one has nothing to say of the first.
        sizes = {shape[i - rank] for shape in shapes if len(shape) >= rank - i}
        sizes -= {ONE}
        if len(sizes) > 1:
            raise _UnknownError("puts together values whose shapes do not fit")
        result.append(next(iter(sizes), ONE))
    return tuple(result)


def _numbers(value: Value | None, what: str) -> tuple[Size, ...]:
    if value is None or value.numbers is None:
        raise _UnknownError(f"takes {what} that depends on the rows' values")
    return value.numbers


def _fixed(value: Value | None, what: str) -> list[int]:
    numbers = [size.fixed for size in _numbers(value, what)]
    if None in numbers:
        raise _UnknownError(f"takes {what} that depends on the number of rows")
    return [number for number in numbers if number is not None]


def _fixed_size(size: Size) -> int:
    if size.fixed is None:
        raise _UnknownError("counts on a size that depends on the number of rows")
    return size.fixed


def _axis(node: Node, rank: int, default: int) -> int:
    axis = int(node.attributes.get("axis", default))
    if not -rank <= axis < max(rank, 1):
        raise _UnknownError(f"names the axis {axis} of {rank}")
    return axis % max(rank, 1)


def _axes(axes: Sequence[int], rank: int) -> set[int]:
    if any(not -rank <= axis < rank for axis in axes):
        raise _UnknownError(f"names an axis that there is not among {rank}")
    return {axis % rank for axis in axes}


def _same(node: Node, inputs: Values, costs: Costs) -> Values:
    return [Value(inputs[0].shape)] * len(node.outputs)


def _keep(node: Node, inputs: Values, costs: Costs) -> Values:
    return [inputs[0]]


def _cast(node: Node, inputs: Values, costs: Costs) -> Values:
    if node.attributes["to"] == TEXT:
        raise _UnknownError("makes texts of numbers")
    is_whole = node.attributes["to"] in _WHOLE_TYPES
    numbers = inputs[0].numbers if is_whole else None
    return [Value(inputs[0].shape, numbers=numbers)]


def _elementwise(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = _broadcast(*(value.shape for value in inputs))
    return [Value(shape, numbers=_calculate(node.kind, inputs, shape))]


def _calculate(
    kind: str,
    inputs: Sequence[Value],
    shape: Shape,
) -> tuple[Size, ...] | None:
    """Return the numbers of an operation on two shapes, or None if they are not known."""
    if kind not in ("Add", "Sub", "Mul", "Div") or len(shape) > 1:
        return None
    if len(inputs) != 2:  # noqa: PLR2004 - an operation of two
        return None
    left, right = inputs[0].numbers, inputs[1].numbers
    if left is None or right is None:
        return None
    # A single number meets each one of the other side.
    n = max(len(left), len(right))
    left *= n // len(left)
    right *= n // len(right)
    pairs = list(zip(left, right, strict=True))
    if kind == "Add":
        return tuple(a + b for a, b in pairs)
    if kind == "Sub":
        return tuple(a - b for a, b in pairs)
    if kind == "Mul":
        return tuple(a * b for a, b in pairs)
    try:
        return tuple(a.divided_by(b) for a, b in pairs)
    except _UnknownError:  # rounded: no shape can be made of it
        return None


def _label_encoder(node: Node, inputs: Values, costs: Costs) -> Values:
    return [Value(inputs[0].shape, is_text="values_strings" in node.attributes)]


def _constant(node: Node, inputs: Values, costs: Costs) -> Values:
    ((name, value),) = node.attributes.items()
    if name == "value" and isinstance(value, Constant):
        return [_value_of(value)]
    if name == "value_int":
        return [Value((), numbers=(Size.of(value),))]
    if name == "value_ints":
        numbers = tuple(Size.of(number) for number in value)
        return [Value((Size.of(len(value)),), numbers=numbers)]
    if name == "value_floats":
        return [Value((Size.of(len(value)),))]
    if name != "value_float":
        raise _UnknownError(f"has its value as {name[:60]}")
    return [Value(())]


def _matmul(node: Node, inputs: Values, costs: Costs) -> Values:
    left, right = inputs[0].shape, inputs[1].shape
    # As in numpy, a vector gets an axis for the product, and loses it again.
    a = left if len(left) > 1 else (ONE, *left)
    b = right if len(right) > 1 else (*right, ONE)
    if a[-1] != b[-2]:
        raise _UnknownError("multiplies matrices that do not fit")
    batch = _broadcast(a[:-2], b[:-2])
    n_made = product((*batch, a[-2], b[-1]))
    costs.work += n_made * a[-1]
    rows = (a[-2],) if len(left) > 1 else ()
    columns = (b[-1],) if len(right) > 1 else ()
    return [Value((*batch, *rows, *columns))]


def _gemm(node: Node, inputs: Values, costs: Costs) -> Values:
    a, b = inputs[0].shape, inputs[1].shape
    (m, k) = reversed(a) if node.attributes.get("transA") else a
    (k_b, n) = reversed(b) if node.attributes.get("transB") else b
    if k != k_b:
        raise _UnknownError("multiplies matrices that do not fit")
    costs.work += m * k * n
    return [Value((m, n))]


def _reduce(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = inputs[0].shape
    # Axes were an attribute until they became an input, in opset 13 for sums and 18 for the rest.
    axes: Sequence[int] = node.attributes.get("axes") or []
    if len(inputs) > 1:
        axes = _fixed(inputs[1], "axes")
    # No axes are all of them in ONNX, unless the attribute says that they are none.
    if not axes and not node.attributes.get("noop_with_empty_axes"):
        axes = range(len(shape))
    gone = _axes(axes, len(shape))
    return [Value(_reduced(shape, gone, keep=_keeps_axes(node)))]


def _arg(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = inputs[0].shape
    axes = {_axis(node, len(shape), 0)}
    return [Value(_reduced(shape, axes, keep=_keeps_axes(node)))]


def _keeps_axes(node: Node) -> bool:
    return bool(node.attributes.get("keepdims", 1))


def _reduced(shape: Shape, axes: set[int], *, keep: bool) -> Shape:
    if keep:
        return tuple(ONE if i in axes else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def _shape(node: Node, inputs: Values, costs: Costs) -> Values:
    # From opset 15 on a part of the shape can be asked for.
    start = node.attributes.get("start", 0)
    end = node.attributes.get("end")
    sizes = inputs[0].shape[start:end]
    return [Value((Size.of(len(sizes)),), numbers=sizes)]


def _size(node: Node, inputs: Values, costs: Costs) -> Values:
    return [Value((), numbers=(inputs[0].size,))]


def _reshape(node: Node, inputs: Values, costs: Costs) -> Values:
    given, wanted = inputs[0], list(_numbers(inputs[1], "a shape"))
    # In ONNX 0 stands for the size that the axis had, and -1 for what is left.
    if not node.attributes.get("allowzero"):
        wanted = [given.shape[i] if size == ZERO else size for i, size in enumerate(wanted)]
    open_places = [i for i, size in enumerate(wanted) if size == Size.of(-1)]
    if len(open_places) > 1:
        raise _UnknownError("leaves two sizes open")
    for i in open_places:
        others = product(size for j, size in enumerate(wanted) if j != i)
        wanted[i] = given.size.divided_by(others) if others != ZERO else ZERO
    if product(wanted) != given.size:
        raise _UnknownError("gives a shape that does not hold as many values")
    return [Value(tuple(wanted), numbers=given.numbers if len(wanted) <= 1 else None)]


def _flatten(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = inputs[0].shape
    axis = int(node.attributes.get("axis", 1))
    axis = axis + len(shape) if axis < 0 else axis
    return [Value((product(shape[:axis]), product(shape[axis:])))]


def _transpose(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = inputs[0].shape
    order = node.attributes.get("perm") or list(reversed(range(len(shape))))
    if sorted(order) != list(range(len(shape))):
        raise _UnknownError("puts axes into an order that is none")
    return [Value(tuple(shape[i] for i in order))]


def _squeeze(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = inputs[0].shape
    if len(inputs) > 1:
        gone = _axes(_fixed(inputs[1], "axes"), len(shape))
    else:
        gone = {i for i, size in enumerate(shape) if _fixed_size(size) == 1}
    if any(shape[i] != ONE for i in gone):
        raise _UnknownError("drops an axis that has not the size 1")
    return [Value(_reduced(shape, gone, keep=False), numbers=inputs[0].numbers)]


def _unsqueeze(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = list(inputs[0].shape)
    axes = _fixed(inputs[1], "axes")
    for axis in sorted(_axes(axes, len(shape) + len(axes))):
        shape.insert(axis, ONE)
    numbers = inputs[0].numbers if len(shape) <= 1 else None
    return [Value(tuple(shape), numbers=numbers)]


def _concat(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = list(inputs[0].shape)
    axis = _axis(node, len(shape), 0)
    for value in inputs:
        others = [size for i, size in enumerate(value.shape) if i != axis]
        if others != [size for i, size in enumerate(shape) if i != axis]:
            raise _UnknownError("puts side by side values whose shapes do not fit")
    shape[axis] = _sum(value.shape[axis] for value in inputs)
    numbers: tuple[Size, ...] | None = ()
    for value in inputs:
        is_known = numbers is not None and value.numbers is not None and len(shape) == 1
        numbers = (*numbers, *value.numbers) if is_known else None  # type: ignore[misc]  # known
    return [Value(tuple(shape), numbers=numbers)]


def _split(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = list(inputs[0].shape)
    axis = _axis(node, len(shape), 0)
    if len(inputs) > 1:
        parts = list(_numbers(inputs[1], "sizes of parts"))
        if _sum(parts) != shape[axis] or len(parts) != len(node.outputs):
            raise _UnknownError("splits into parts that are not the whole")
    else:
        n = int(node.attributes.get("num_outputs", len(node.outputs)))
        whole = _fixed_size(shape[axis])
        # Parts that can't be equal are rounded up; the last one gets what is left.
        size = -(-whole // n)
        ends = [min(i * size, whole) for i in range(n + 1)]
        parts = [Size.of(end - start) for start, end in pairwise(ends)]

    made = []
    for part in parts:
        shape[axis] = part
        made.append(Value(tuple(shape)))
    return made


def _slice(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = list(inputs[0].shape)
    starts, ends = _numbers(inputs[1], "a start"), _numbers(inputs[2], "an end")
    axes: Sequence[int] = range(len(starts))
    if len(inputs) > 3:  # noqa: PLR2004 - the place of axes
        axes = _fixed(inputs[3], "axes")
    steps = [1] * len(starts)
    if len(inputs) > 4:  # noqa: PLR2004 - the place of steps
        steps = _fixed(inputs[4], "a step")
    numbers = inputs[0].numbers
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        (place,) = _axes([axis], len(shape))
        whole = shape[place]
        is_to_end = end == whole or (end.fixed or 0) >= _TO_THE_END
        if step == 1 and start == ZERO and is_to_end:
            continue
        n = _fixed_size(whole)
        first = _fixed_size(start)
        last: int | None = _fixed_size(end)
        # Backwards, `to the end` is an end that is smaller than any place.
        if last is not None and last <= -_TO_THE_END:
            last = None
        kept = range(n)[first:last:step]
        shape[place] = Size.of(len(kept))
        if numbers is not None:
            numbers = tuple(numbers[i] for i in kept)
    return [Value(tuple(shape), numbers=numbers)]


def _gather(node: Node, inputs: Values, costs: Costs) -> Values:
    data, places = inputs[0], inputs[1]
    axis = _axis(node, len(data.shape), 0)
    before, after = data.shape[:axis], data.shape[axis + 1 :]
    shape = (*before, *places.shape, *after)
    numbers = None
    if data.numbers is not None and len(data.shape) == 1 and places.numbers is not None:
        numbers = tuple(data.numbers[place] for place in _fixed(places, "places"))
    return [Value(shape, numbers=numbers)]


def _gather_elements(node: Node, inputs: Values, costs: Costs) -> Values:
    return [Value(inputs[1].shape)]


def _gather_nd(node: Node, inputs: Values, costs: Costs) -> Values:
    data, places = inputs[0].shape, inputs[1].shape
    n_batch = int(node.attributes.get("batch_dims", 0))
    # Along their last axis the places name one axis of the data after the other.
    n_used = n_batch + _fixed_size(places[-1])
    if not 0 <= n_batch <= n_used <= len(data):
        raise _UnknownError("names more axes than there are")
    return [Value((*places[:-1], *data[n_used:]))]


def _expand(node: Node, inputs: Values, costs: Costs) -> Values:
    return [Value(_broadcast(inputs[0].shape, _numbers(inputs[1], "a shape")))]


def _tile(node: Node, inputs: Values, costs: Costs) -> Values:
    times = _numbers(inputs[1], "a number of times")
    pairs = zip(inputs[0].shape, times, strict=True)
    return [Value(tuple(size * n for size, n in pairs))]


def _constant_of_shape(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = _numbers(inputs[0], "a shape")
    value = node.attributes.get("value")
    numbers = None
    if isinstance(value, Constant) and value.values is not None and len(shape) == 1:
        n = shape[0].fixed
        if n is not None and 0 <= n <= MAX_SHAPE_VALUES:
            numbers = (Size.of(value.values[0]),) * n
    return [Value(shape, numbers=numbers)]


def _range(node: Node, inputs: Values, costs: Costs) -> Values:
    start, end, step = (_numbers(value, "an end")[0] for value in inputs)
    if start == ZERO and step == ONE:
        return [Value((end,))]
    ends = [_fixed_size(size) for size in (start, end, step)]
    return [Value((Size.of(len(range(*ends))),))]


def _pad(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = list(inputs[0].shape)
    pads = _fixed(inputs[1], "a width")
    axes = list(range(len(shape)))
    if len(inputs) > 3:  # noqa: PLR2004 - the place of axes
        axes = [axis % len(shape) for axis in _fixed(inputs[3], "axes")]
    # All widths before the values come first, then all behind them.
    before, after = pads[: len(axes)], pads[len(axes) :]
    for axis, low, high in zip(axes, before, after, strict=True):
        shape[axis] += Size.of(low + high)
    return [Value(tuple(shape))]


def _one_hot(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = list(inputs[0].shape)
    depth = _numbers(inputs[1], "a depth")[0]
    shape.insert(_axis(node, len(shape) + 1, -1), depth)
    return [Value(tuple(shape))]


def _top_k(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = list(inputs[0].shape)
    (n_kept,) = _numbers(inputs[1], "a number")[:1]
    shape[_axis(node, len(shape), -1)] = n_kept
    # The values, and their places.
    return [Value(tuple(shape))] * 2


def _conv(node: Node, inputs: Values, costs: Costs) -> Values:
    given, weights = inputs[0].shape, inputs[1].shape
    kernel = [_fixed_size(size) for size in weights[2:]]
    windows = _windows(node, given[2:], kernel)
    shape = (given[0], weights[0], *windows)
    # Each value sums over the kernel and the channels of its group.
    costs.work += product(shape) * product(weights[1:])
    return [Value(shape)]


def _pool(node: Node, inputs: Values, costs: Costs) -> Values:
    given, kernel = inputs[0].shape, node.attributes["kernel_shape"]
    shape = (*given[:2], *_windows(node, given[2:], kernel))
    costs.work += product(shape) * Size.of(math.prod(kernel))
    return [Value(shape)] * len(node.outputs)


def _windows(node: Node, sizes: Shape, kernel: Sequence[int]) -> list[Size]:
    """Return how many windows fit along each axis.

    Rounding up adds at most one, and is counted always.
    """
    if node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise _UnknownError("pads by itself")
    n = len(kernel)
    pads = node.attributes.get("pads") or [0] * 2 * n
    strides = node.attributes.get("strides") or [1] * n
    spread = node.attributes.get("dilations") or [1] * n
    result = []
    for i, size in enumerate(sizes):
        d_window = spread[i] * (kernel[i] - 1) + 1
        room = _fixed_size(size) + pads[i] + pads[i + n] - d_window
        extra = 1 if node.attributes.get("ceil_mode") else 0
        if strides[i] < 1 or kernel[i] < 1:
            raise _UnknownError("has windows without a size")
        n_windows = max(0, room // strides[i] + 1)
        result.append(Size.of(n_windows + extra))
    return result


def _global_pool(node: Node, inputs: Values, costs: Costs) -> Values:
    shape = inputs[0].shape
    pooled = [ONE] * len(shape[2:])
    return [Value((*shape[:2], *pooled))]


def _recurrent(node: Node, inputs: Values, costs: Costs) -> Values:
    n_steps, n_batch, d_in = inputs[0].shape
    directions, d_gates, _ = inputs[1].shape
    d_hidden = inputs[2].shape[-1]
    # With `layout` the batch comes before the steps.
    if node.attributes.get("layout"):
        n_steps, n_batch = n_batch, n_steps
    costs.work += n_steps * n_batch * directions * d_gates * (d_in + d_hidden)
    state = Value((directions, n_batch, d_hidden))
    states = Value((n_steps, directions, n_batch, d_hidden))
    return [states, state, state][: len(node.outputs)]


def _einsum(node: Node, inputs: Values, costs: Costs) -> Values:
    text = bytes(node.attributes["equation"]).decode("ascii").replace(" ", "")
    left, arrow, right = text.partition("->")
    letters = left.split(",")
    if not arrow or "." in text or len(letters) != len(inputs):
        raise _UnknownError("has an equation that is not read")
    sizes: dict[str, Size] = {}
    for names, value in zip(letters, inputs, strict=True):
        for letter, size in zip(names, value.shape, strict=True):
            known = sizes.setdefault(letter, size)
            if known == ONE:
                sizes[letter] = size
            elif size not in (known, ONE):
                raise _UnknownError("puts together values whose shapes do not fit")
    costs.work += product(sizes.values())
    costs.n_values += product(sizes.values())  # a library may multiply all before it sums
    return [Value(tuple(sizes[letter] for letter in right))]


def _tree_ensemble(node: Node, inputs: Values, costs: Costs) -> Values:
    n_rows, n_columns = inputs[0].shape
    try:
        n_steps = measure_trees(node, _fixed_size(n_columns))
    except BrokenTreesError as error:
        raise BundleError(f"{FILE}: {node} {error}") from error
    costs.work += n_rows * Size.of(n_steps)
    return [Value((n_rows, ONE))]


_SAME = (
    *(
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BatchNormalization",
        "Ceil",
        "Celu",
    ),
    *("Clip", "Cos", "Cosh", "CumSum", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu"),
    *(
        "GroupNormalization",
        "HardSigmoid",
        "HardSwish",
        "Hardmax",
        "InstanceNormalization",
        "IsInf",
    ),
    *("IsNaN", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "Mish"),
    *("Neg", "Not", "PRelu", "RMSNormalization", "Reciprocal", "Relu", "Round", "ScatterElements"),
    *("ScatterND", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softmax", "Softplus"),
    *("Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu", "Trilu", "Swish"),
)
"""Operators whose output has the shape of their first input."""
_ELEMENTWISE = (
    *("Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater"),
    *(
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Mean",
        "Min",
        "Mod",
        "Mul",
        "Or",
        "Pow",
        "Sub",
    ),
    *("Sum", "Where", "Xor"),
)
_REDUCE = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_REDUCE, _reduce),
    "ArgMax": _arg,
    "ArgMin": _arg,
    "AveragePool": _pool,
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "Einsum": _einsum,
    "Expand": _expand,
    "Flatten": _flatten,
    "GRU": _recurrent,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "Identity": _keep,
    "LSTM": _recurrent,
    "LabelEncoder": _label_encoder,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "OneHot": _one_hot,
    "Pad": _pad,
    "RNN": _recurrent,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "TopK": _top_k,
    "Transpose": _transpose,
    "TreeEnsemble": _tree_ensemble,
    "Unsqueeze": _unsqueeze,
}
"""Every operator that a bundle's graph may hold."""
_TAKES_TEXT = ("Equal", "Identity", "LabelEncoder", "Shape", "Size")
_WITH_GAPS = ("Clip", "Dropout", "GRU", "LSTM", "Pad", "RNN")
"""Operators that may leave out an input before another."""
