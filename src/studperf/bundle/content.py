"""The content of a bundle's files, read within limits.

A bundle comes from elsewhere, and its seal says only that it is whole.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from studperf.bundle import manifest as seals
from studperf.bundle.cost import rows_at_once
from studperf.bundle.graph import DOUBLE, MAX_DIMENSIONS, TEXT, Graph, read_graph
from studperf.bundle.manifest import AGAIN, Manifest, read_sealed, unique_keys
from studperf.bundle.schema import InputColumn, Schema
from studperf.errors import BundleError, listing

# Our own files nest five levels deep; Python's reader of JSON recurses once a level.
_MAX_DEPTH = 16
# safetensors itself takes a header of 100 MB, and each of its entries becomes an object in memory.
_MAX_HEADER = 64 << 20
# A safetensors file begins with the length of its header, in so many bytes.
_LENGTH_BYTES = 8
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}
"""safetensors' names of types -> bytes of a value."""
# Texts are matched as a whole, since the brackets in them nest nothing.
_TEXT_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_Model = TypeVar("_Model", bound=BaseModel)


def _read_width(value: object) -> object:
    """Return the width of a band, which too few rows make infinite.

    JSON can say that as a text alone.
    """
    if value == "Infinity":
        return math.inf
    if isinstance(value, int | float) and not abs(value) < math.inf:
        raise ValueError("must be a finite number")
    return value


_Share = Annotated[float, Field(ge=0, le=1)]


class Metrics(BaseModel):
    """The part of `metrics.json` that is read here.

    The file holds the whole judgement, which grows with the versions.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    class Conformal(BaseModel):
        """The band that holds the truth with probability `level`."""

        model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

        level: float = Field(gt=0, lt=1)
        half_width: Annotated[float, BeforeValidator(_read_width), Field(ge=0)]
        likely: Annotated[tuple[_Share, _Share] | None, Field(strict=False)] = None
        """Between which shares of new rows it holds; older bundles say nothing of it."""

    class Verdict(BaseModel):
        """The judgement in words."""

        model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

        line: str = Field(max_length=10_000)

    class Scores(BaseModel):
        """The errors on the scored split."""

        model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

        class Rmse(BaseModel):
            """The root mean squared error, in the target's unit."""

            model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

            value: Annotated[float, BeforeValidator(_read_width), Field(ge=0)]

        rmse: Rmse

    conformal: Conformal | None
    verdict: Verdict
    scores: Scores

    @property
    def size(self) -> float:
        """The size of the model's errors, by which the digits of all of them are chosen."""
        return self.scores.rmse.value


@dataclass(frozen=True)
class Content:
    """The files of a bundle, read and checked.

    Args:
        n_at_once: rows that may go through the graph at once, so that it stays within its bounds of
            memory and time.
    """

    schema: Schema
    metrics: Metrics
    graph: bytes
    n_at_once: int


def read_content(folder: Path, manifest: Manifest) -> Content:
    """Read and check the files of a bundle.

    Raises:
        BundleError: lists each file that is not of its form, or asks for too much.
    """
    faults: list[str] = []
    raw = {
        name: read_sealed(folder, manifest, name) for name in seals.FILES if name != seals.WEIGHTS
    }
    schema = _attempt(faults, lambda: _read_model(raw[seals.SCHEMA], Schema, seals.SCHEMA))
    metrics = _attempt(faults, lambda: _read_model(raw[seals.METRICS], Metrics, seals.METRICS))
    graph = _attempt(faults, lambda: read_graph(raw[seals.GRAPH]))
    n_at_once = None
    if graph is not None:
        n_at_once = _attempt(faults, lambda: rows_at_once(graph))
    if graph is not None and schema is not None:
        faults += _compare_columns(graph, schema)
    _attempt(faults, lambda: read_json(raw[seals.ENCODER], seals.ENCODER))
    for name in (seals.CARD, seals.CONFIG):
        # The name is bound here: a lambda looks it up only when it is called.
        _attempt(faults, lambda name=name: _check_text(raw[name], name))
    _attempt(faults, lambda: _check_weights(folder / seals.WEIGHTS))
    if faults or schema is None or metrics is None or n_at_once is None:
        raise BundleError(listing(f"{folder}: the bundle can't be used", faults))
    return Content(schema, metrics, raw[seals.GRAPH], n_at_once)


def _attempt(faults: list[str], read: Any) -> Any:  # noqa: ANN401 - what is read has several types
    """Return what `read` returns, or None if it fails, and add its fault to the list."""
    try:
        return read()
    except BundleError as error:
        faults.append(f"{error}; {AGAIN}")
        return None


def read_json(raw: bytes, name: str) -> dict[str, Any]:
    """Return the object of a JSON file.

    Raises:
        BundleError: it is no JSON object, nests too deeply, says a key twice, or holds a number
            that JSON has not.
    """
    depth = 0
    for found in _TEXT_OR_BRACKET.finditer(raw):
        mark = found[0]
        depth += (mark in b"[{") - (mark in b"]}")
        if depth > _MAX_DEPTH:
            raise BundleError(f"{name}: nests more than {_MAX_DEPTH} levels deep")
    try:
        plain = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=unique_keys,
            # Python reads NaN and Infinity, which JSON has not, and 1e999 as infinity.
            parse_constant=_refuse_constant,
            parse_float=_read_finite,
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name}: is no JSON that can be read: {str(error)[:200]}") from error
    if not isinstance(plain, dict):
        raise BundleError(f"{name}: must hold an object, got {type(plain).__name__}")
    return plain


def _read_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is beyond the range of numbers")
    return value


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON's")


def _read_model(raw: bytes, model: type[_Model], name: str) -> _Model:
    # First by the strict reader: pydantic's own takes the last of two equal keys.
    read_json(raw, name)
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the whole"
        raise BundleError(f"{name}: {where[:200]}: {fault['msg'][:300]}") from error


def _compare_columns(graph: Graph, schema: Schema) -> list[str]:
    """Return what differs between the schema's columns and the graph's inputs."""
    wanted = {column.name: _type_of(column) for column in schema.columns}
    given = {value.name: (value.dtype, value.shape) for value in graph.inputs}
    names = sorted(wanted.keys() | given.keys())
    differing = [name for name in names if wanted.get(name) != given.get(name)]
    what = f"is not what {seals.SCHEMA} says of the column"
    faults = [f"{seals.GRAPH}: its input {name[:60]!r} {what}" for name in differing]
    outputs = [(value.name, value.dtype, value.shape) for value in graph.outputs]
    if outputs != [(schema.output, DOUBLE, (None,))]:
        faults.append(
            f"{seals.GRAPH}: must have the one output {schema.output[:60]!r}, a double for each row"
        )
    return faults


def _type_of(column: InputColumn) -> tuple[int, tuple[int | None, ...]]:
    return (TEXT if column.kind == "category" else DOUBLE, (None, 1))


def _check_text(raw: bytes, name: str) -> None:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{name}: is no text in UTF-8") from error
    if "\x00" in text:
        raise BundleError(f"{name}: holds NUL bytes, so it is no text")


def _check_weights(path: Path) -> None:
    """Check the header of a safetensors file against its length.

    The weights themselves are not read.
    """
    name, size = path.name, path.stat().st_size
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 0 < n_header <= min(size - _LENGTH_BYTES, _MAX_HEADER):
            raise BundleError(
                f"{name}: is no safetensors file: its header would have {n_header} bytes"
            )
        header = read_json(file.read(n_header), name)
    header.pop("__metadata__", None)
    ends = sorted(_read_extent(name, tensor, entry) for tensor, entry in header.items())
    at = 0
    for begin, end in ends:
        if begin != at:
            raise BundleError(f"{name}: its tensors overlap or leave gaps")
        at = end
    n_described = _LENGTH_BYTES + n_header + at
    if n_described != size:
        raise BundleError(f"{name}: has {size} bytes, its header speaks of {n_described}")


def _read_extent(name: str, tensor: str, entry: object) -> tuple[int, int]:
    where = f"{name}: the tensor {tensor[:60]!r}"
    if not isinstance(entry, Mapping) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise BundleError(f"{where} is not described as it should be")
    shape, offsets = entry["shape"], entry["data_offsets"]
    for numbers in (shape, offsets):
        if not isinstance(numbers, Sequence) or not all(_is_count(number) for number in numbers):
            raise BundleError(f"{where} has a shape or a place that is none")
    item_bytes = None
    if isinstance(entry["dtype"], str):
        item_bytes = _ITEM_BYTES.get(entry["dtype"])
    is_pair = len(offsets) == 2  # noqa: PLR2004 - begin and end
    if item_bytes is None or not is_pair or len(shape) > MAX_DIMENSIONS:
        raise BundleError(f"{where} is of a type or a shape that is not read")
    if offsets[1] - offsets[0] != item_bytes * math.prod(shape):
        raise BundleError(f"{where} has another size than its shape says")
    return offsets[0], offsets[1]


def _is_count(number: object) -> bool:
    # Python counts True as an integer, which JSON does not.
    if isinstance(number, bool) or not isinstance(number, int):
        return False
    return 0 <= number < 1 << 63
