"""The reading of a bundle's ONNX graph into plain values.

It refuses what no bundle's graph has a need of.

No control flow, no functions, no operators of other domains than ONNX's own two, no data outside of
the file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studperf.bundle.wire import Field, Reader
from studperf.errors import BundleError

FILE = "model.onnx"
TEXT = 8
"""ONNX's number of the type of texts."""
FLOAT = 1
UINT8 = 2
DOUBLE = 11
# The domain of ONNX's own operators has two names; the other one is for machine learning.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
MAX_NODES = 20_000
MAX_SHAPE_VALUES = 1024
"""Whole numbers of a constant that are looked at: more make no shape."""
MAX_DIMENSIONS = 16
"""Axes of a tensor, in the graph and in the weights."""
_ITEM_BYTES: Mapping[int, int] = {
    1: 4,
    2: 1,
    3: 1,
    4: 2,
    5: 2,
    6: 4,
    7: 8,
    9: 1,
    10: 2,
    11: 8,
    12: 4,
    13: 8,
    16: 2,
}
"""ONNX's number of a type -> bytes of a value, for all that are no texts."""
_WHOLE: Mapping[int, str] = {
    2: "B",
    3: "b",
    4: "H",
    5: "h",
    6: "i",
    7: "q",
    9: "B",
    12: "I",
    13: "Q",
}

# The messages of onnx.proto that a bundle's graph may hold, under the names and numbers of their
# fields there. Fields whose content is refused anyway are read as bytes, without looking into them.
_PAIR = {1: Field("key", "text"), 2: Field("value", "text")}
_PROPS = Field("metadata_props", "message", is_repeated=True, of=_PAIR)
_TENSOR = {
    1: Field("dims", "int", is_repeated=True),
    2: Field("data_type", "int"),
    4: Field("float_data", "float", is_repeated=True),
    5: Field("int32_data", "int", is_repeated=True),
    6: Field("string_data", "bytes", is_repeated=True),
    7: Field("int64_data", "int", is_repeated=True),
    8: Field("name", "text"),
    9: Field("raw_data", "bytes"),
    10: Field("double_data", "double", is_repeated=True),
    11: Field("uint64_data", "int", is_repeated=True),
    12: Field("doc_string", "text"),
    13: Field("external_data", "message", is_repeated=True, of=_PAIR),
    14: Field("data_location", "int"),
    16: _PROPS,
}
_DIMENSION = {
    1: Field("dim_value", "int"),
    2: Field("dim_param", "text"),
    3: Field("denotation", "text"),
}
_SHAPE = {1: Field("dim", "message", is_repeated=True, of=_DIMENSION)}
_TENSOR_TYPE = {1: Field("elem_type", "int"), 2: Field("shape", "message", of=_SHAPE)}
_TYPE = {1: Field("tensor_type", "message", of=_TENSOR_TYPE), 6: Field("denotation", "text")}
_VALUE_INFO = {
    1: Field("name", "text"),
    2: Field("type", "message", of=_TYPE),
    3: Field("doc_string", "text"),
    4: _PROPS,
}
_ATTRIBUTE = {
    1: Field("name", "text"),
    2: Field("f", "float"),
    3: Field("i", "int"),
    4: Field("s", "bytes"),
    5: Field("t", "message", of=_TENSOR),
    6: Field("g", "bytes"),
    7: Field("floats", "float", is_repeated=True),
    8: Field("ints", "int", is_repeated=True),
    9: Field("strings", "bytes", is_repeated=True),
    10: Field("tensors", "bytes", is_repeated=True),
    11: Field("graphs", "bytes", is_repeated=True),
    13: Field("doc_string", "text"),
    14: Field("tp", "bytes"),
    15: Field("type_protos", "bytes", is_repeated=True),
    20: Field("type", "int"),
    21: Field("ref_attr_name", "text"),
    22: Field("sparse_tensor", "bytes"),
    23: Field("sparse_tensors", "bytes", is_repeated=True),
}
_REFUSED_OF_ATTRIBUTE = {
    "g": "a graph of its own",
    "graphs": "graphs of its own",
    "tensors": "several tensors",
    "tp": "a type",
    "type_protos": "types",
    "ref_attr_name": "a reference to a function's attribute",
    "sparse_tensor": "a sparse tensor",
    "sparse_tensors": "sparse tensors",
}
_NODE = {
    1: Field("input", "text", is_repeated=True),
    2: Field("output", "text", is_repeated=True),
    3: Field("name", "text"),
    4: Field("op_type", "text"),
    5: Field("attribute", "message", is_repeated=True, of=_ATTRIBUTE),
    6: Field("doc_string", "text"),
    7: Field("domain", "text"),
    8: Field("overload", "text"),
    9: _PROPS,
}
_GRAPH = {
    1: Field("node", "message", is_repeated=True, of=_NODE),
    2: Field("name", "text"),
    5: Field("initializer", "message", is_repeated=True, of=_TENSOR),
    10: Field("doc_string", "text"),
    11: Field("input", "message", is_repeated=True, of=_VALUE_INFO),
    12: Field("output", "message", is_repeated=True, of=_VALUE_INFO),
    13: Field("value_info", "message", is_repeated=True, of=_VALUE_INFO),
    15: Field("sparse_initializer", "bytes", is_repeated=True),
    16: _PROPS,
}
_OPSET = {1: Field("domain", "text"), 2: Field("version", "int")}
_MODEL = {
    1: Field("ir_version", "int"),
    2: Field("producer_name", "text"),
    3: Field("producer_version", "text"),
    4: Field("domain", "text"),
    5: Field("model_version", "int"),
    6: Field("doc_string", "text"),
    7: Field("graph", "message", of=_GRAPH),
    8: Field("opset_import", "message", is_repeated=True, of=_OPSET),
    14: _PROPS,
    20: Field("training_info", "bytes", is_repeated=True),
    25: Field("functions", "bytes", is_repeated=True),
}


@dataclass(frozen=True)
class Constant:
    """A tensor of the file.

    `values` are there if they are few and whole, so that they could be a shape. `raw` are its bytes,
    where they stand as such, of ONNX's type `dtype`.
    """

    shape: tuple[int, ...]
    is_text: bool
    values: tuple[int, ...] | None
    dtype: int = 0
    raw: memoryview | None = None


@dataclass(frozen=True)
class Node:
    """One operator of the graph.

    An attribute is a number, a list of numbers, bytes, or a `Constant`.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        """Return the operator's kind and first output, for a message."""
        named = [name for name in self.outputs if name]
        first = named[0] if named else "without output"
        return f"{self.kind} ({first!r})"


@dataclass(frozen=True)
class Input:
    """An input of the graph, or an output.

    None in a shape is the number of rows.
    """

    name: str
    dtype: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Graph:
    """The operators of a bundle's graph, in an order in which they can run.

    Each node uses inputs, constants, and outputs of nodes before it alone.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[Input, ...]
    constants: Mapping[str, Constant]
    nodes: tuple[Node, ...]


def read_graph(raw: bytes) -> Graph:
    """Return the graph of an ONNX file.

    Raises:
        BundleError: it is no ONNX, or holds what no bundle needs; each such thing is named.
    """
    model = Reader().read(memoryview(raw), _MODEL)
    plain = model.get("graph")
    if plain is None:
        raise BundleError(f"{FILE}: holds no graph")
    faults = [*_refuse_parts(model, plain), *_refuse_nodes(plain["node"])]
    if faults:
        raise BundleError(f"{FILE}: {'; '.join(dict.fromkeys(faults))}")
    constants = {}
    for tensor in plain["initializer"]:
        name = tensor.get("name", "")
        if not name or name in constants:
            raise BundleError(f"{FILE}: two constants are named {name!r}")
        constants[name] = _read_tensor(tensor, f"the constant {name!r}")
    inputs = tuple(_read_input(info) for info in plain["input"])
    outputs = tuple(_read_input(info) for info in plain["output"])
    nodes = tuple(_read_node(node) for node in plain["node"])
    _check_order(inputs, outputs, constants, nodes)
    return Graph(inputs, outputs, constants, nodes)


def _refuse_parts(
    model: Mapping[str, Any],
    graph: Mapping[str, Any],
) -> Iterator[str]:
    for name, what in (("functions", "functions"), ("training_info", "a training graph")):
        if model[name]:
            yield f"holds {what}, which no bundle has"
    if graph["sparse_initializer"]:
        yield "holds sparse constants, which no bundle has"
    for opset in model["opset_import"]:
        if opset.get("domain", "") not in DOMAINS:
            domain = opset["domain"][:60]
            yield f"asks for operators of the domain {domain!r}; ONNX's own are taken alone"
    if len(graph["node"]) > MAX_NODES:
        yield f"has {len(graph['node']):,} operators, at most {MAX_NODES:,} are taken"


def _refuse_nodes(nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for node in nodes:
        kind = node.get("op_type", "")[:60]
        if node.get("domain", "") not in DOMAINS or node.get("overload"):
            domain = node.get("domain", "")[:60]
            yield (
                f"holds the operator {kind} of the domain {domain!r}; ONNX's own are taken alone"
            )
        for attribute in node["attribute"]:
            for part, what in _REFUSED_OF_ATTRIBUTE.items():
                if attribute.get(part):
                    yield (
                        f"holds the operator {kind} with {what}; "
                        "a bundle has no such thing, nor loops or branches"
                    )


def _read_node(node: Mapping[str, Any]) -> Node:
    attributes: dict[str, Any] = {}
    kind = node.get("op_type", "")
    for attribute in node["attribute"]:
        name = attribute.get("name", "")
        if name in attributes:
            raise BundleError(f"{FILE}: {kind[:60]} has the attribute {name[:60]!r} twice")
        attributes[name] = _read_attribute(attribute, f"the attribute {name[:60]!r} of {kind[:60]}")
    return Node(kind, tuple(node["input"]), tuple(node["output"]), attributes)


def _read_attribute(attribute: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401 - of several types
    given = [name for name in ("f", "i", "s") if name in attribute]
    lists = [name for name in ("floats", "ints", "strings") if attribute[name]]
    if len(given) + len(lists) + ("t" in attribute) > 1:
        raise BundleError(f"{FILE}: {where} has several values")
    if "t" in attribute:
        return _read_tensor(attribute["t"], where)
    if given:
        return attribute[given[0]]
    if lists:
        return attribute[lists[0]]
    return []


def _read_tensor(tensor: Mapping[str, Any], where: str) -> Constant:
    if tensor["external_data"] or tensor.get("data_location", 0):
        raise BundleError(f"{FILE}: {where} lies in another file; a bundle's lie in its own")
    dims, dtype = tuple(tensor["dims"]), tensor.get("data_type", 0)
    if len(dims) > MAX_DIMENSIONS or any(size < 0 for size in dims):
        raise BundleError(f"{FILE}: {where} has the shape {list(dims)[:MAX_DIMENSIONS]}")
    n_values = math.prod(dims)
    n_given: int | None
    if dtype == TEXT:
        n_given = len(tensor["string_data"])
    elif dtype in _ITEM_BYTES:
        n_given = _count_values(tensor, _ITEM_BYTES[dtype])
    else:
        raise BundleError(f"{FILE}: {where} is of type {dtype}, which is not read")
    if n_given != n_values:
        raise BundleError(f"{FILE}: {where} has the shape {list(dims)} and other values than that")
    values = _whole_values(tensor, dtype, n_values)
    return Constant(dims, dtype == TEXT, values, dtype, tensor.get("raw_data"))


def _count_values(tensor: Mapping[str, Any], item_bytes: int) -> int | None:
    """Return how many values a tensor holds.

    None where they are cut off, or stand in two places.
    """
    typed = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    given = [len(tensor[name]) for name in typed if tensor[name]]
    if "raw_data" not in tensor:
        return sum(given) if len(given) <= 1 else None
    n_values, rest = divmod(len(tensor["raw_data"]), item_bytes)
    return None if rest or given else n_values


def _whole_values(
    tensor: Mapping[str, Any],
    dtype: int,
    n_values: int,
) -> tuple[int, ...] | None:
    """Return the whole numbers of a tensor, or None if they are others, or too many for a shape."""
    if dtype not in _WHOLE or n_values > MAX_SHAPE_VALUES:
        return None
    if "raw_data" in tensor:
        return struct.unpack(f"<{n_values}{_WHOLE[dtype]}", tensor["raw_data"])
    # onnx.proto has no list for types below 32 bits, which lie in `int32_data`, nor for uint32.
    return tuple(tensor["int64_data"] or tensor["int32_data"] or tensor["uint64_data"])


def _read_input(info: Mapping[str, Any]) -> Input:
    name = info.get("name", "")
    kind = info.get("type", {}).get("tensor_type")
    if kind is None or "shape" not in kind:
        raise BundleError(f"{FILE}: {name[:60]!r} is no tensor whose shape is said")
    shape = tuple(size.get("dim_value") for size in kind["shape"]["dim"])
    return Input(name, kind.get("elem_type", 0), shape)


def _check_order(
    inputs: Sequence[Input],
    outputs: Sequence[Input],
    constants: Mapping[str, Constant],
    nodes: Sequence[Node],
) -> None:
    known = set(constants)
    for given in inputs:
        if given.name in known:
            raise BundleError(f"{FILE}: {given.name[:60]!r} is there twice")
        known.add(given.name)
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise BundleError(
                    f"{FILE}: {node} uses {name[:60]!r} before it is made, "
                    "so the graph has a circle or a gap"
                )
        for name in node.outputs:
            if name and name in known:
                raise BundleError(f"{FILE}: {name[:60]!r} is made twice")
            known.add(name)
    for wanted in outputs:
        if wanted.name not in known:
            raise BundleError(f"{FILE}: its output {wanted.name[:60]!r} is never made")
