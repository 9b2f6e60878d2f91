"""A reader of protobuf's wire format, by a closed description of each message.

An ONNX graph from elsewhere is looked through before onnxruntime sees it, on servers that have no
`onnx` package. A field that the description does not name, a field given twice that may stand once,
and bytes after the end are refused: two readers that make different things of one file are how a
check is passed by.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from studperf.errors import BundleError

Kind = Literal["int", "float", "double", "text", "bytes", "message"]
MAX_FIELDS = 500_000
"""Each becomes an object in memory: a file of two-byte fields would take fifty times its size."""
MAX_NUMBERS = 2_000_000
"""In lists, such as those of trees: 80 MB at most, where as many messages would take a gigabyte."""
# Protobuf's wire types; 3 and 4 are groups, which it gave up, and which ONNX never had.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIRE: Mapping[Kind, int] = {
    "int": _VARINT,
    "float": _FIXED32,
    "double": _FIXED64,
    "text": _LENGTH,
    "bytes": _LENGTH,
    "message": _LENGTH,
}
_NUMBERS = ("int", "float", "double")
# Bytes of a number: each holds 7 of its 64 bits.
_MAX_VARINT = 10
_N_BITS = 64


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Args:
        name: under which its value is found.
        kind: of its value; `int` covers every whole number and enumeration, as int64.
        is_repeated: it may stand any number of times; its value is a list.
        of: describes the message that it holds.
    """

    name: str
    kind: Kind
    is_repeated: bool = False
    of: Mapping[int, Field] | None = None


class Reader:
    """A reader of messages that counts their fields."""

    def __init__(self) -> None:
        self.n_fields = 0
        self.n_numbers = 0

    def read(
        self,
        raw: memoryview,
        message: Mapping[int, Field],
    ) -> dict[str, Any]:
        """Return the values of a message by name.

        What is not there has no key, but for lists, which are empty.

        Raises:
            BundleError: the bytes are not such a message.
        """
        values: dict[str, Any] = {}
        for field in message.values():
            if field.is_repeated:
                values[field.name] = []
        at = 0
        while at < len(raw):
            key, at = self._varint(raw, at)
            number, wire = key >> 3, key & 7
            if number not in message:
                raise _broken(f"it has a field of number {number} that is not known here")
            field = message[number]
            # Numbers of a list may stand one by one or packed; a reader must take both.
            if field.is_repeated and wire == _LENGTH and field.kind in ("int", "float", "double"):
                part, at = self._bytes(raw, at)
                values[field.name] += self._packed(part, field.kind)
                continue
            if wire != _WIRE[field.kind]:
                raise _broken(f"{field.name} is of another type than it should be")
            value, at = self._value(raw, at, field)
            if field.is_repeated:
                values[field.name].append(value)
            elif field.name in values:
                raise _broken(f"{field.name} stands twice")
            else:
                values[field.name] = value
        return values

    def _value(self, raw: memoryview, at: int, field: Field) -> tuple[Any, int]:
        if field.is_repeated and field.kind in _NUMBERS:
            self._count_numbers(1)
        else:
            self._count(1)
        if field.kind == "int":
            value, at = self._varint(raw, at)
            return _signed(value), at
        if field.kind in ("float", "double"):
            size = 4 if field.kind == "float" else 8
            return _unpack(_slice(raw, at, size), field.kind)[0], at + size
        part, at = self._bytes(raw, at)
        if field.kind == "bytes":
            return part, at
        if field.kind == "text":
            try:
                return str(part, "utf-8"), at
            except UnicodeDecodeError as error:
                raise _broken(f"{field.name} is no UTF-8") from error
        return self.read(part, field.of or {}), at

    def _packed(self, part: memoryview, kind: Kind) -> list[Any]:
        if kind != "int":
            numbers = _unpack(part, kind)
            self._count_numbers(len(numbers))
            return numbers
        values = []
        at = 0
        while at < len(part):
            value, at = self._varint(part, at)
            values.append(_signed(value))
            self._count_numbers(1)
        return values

    def _bytes(self, raw: memoryview, at: int) -> tuple[memoryview, int]:
        size, at = self._varint(raw, at)
        return _slice(raw, at, size), at + size

    def _varint(self, raw: memoryview, at: int) -> tuple[int, int]:
        value = 0
        for i in range(_MAX_VARINT):
            if at + i >= len(raw):
                raise _broken("it is cut off")
            byte = raw[at + i]
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
                # The tenth byte has room for bits beyond the 64th, which are dropped.
                return value & ((1 << _N_BITS) - 1), at + i + 1
        raise _broken("a number is longer than 64 bits")

    def _count(self, n: int) -> None:
        self.n_fields += n
        if self.n_fields > MAX_FIELDS:
            raise _broken(f"it has more than {MAX_FIELDS:,} fields")

    def _count_numbers(self, n: int) -> None:
        self.n_numbers += n
        if self.n_numbers > MAX_NUMBERS:
            raise _broken(f"its lists hold more than {MAX_NUMBERS:,} numbers")


def _unpack(part: memoryview, kind: Kind) -> list[float]:
    size, letter = (4, "f") if kind == "float" else (8, "d")
    n, rest = divmod(len(part), size)
    if rest:
        raise _broken("a list of numbers is cut off")
    return list(struct.unpack(f"<{n}{letter}", part))


def _slice(raw: memoryview, at: int, size: int) -> memoryview:
    if at + size > len(raw):
        raise _broken("it is cut off")
    return raw[at : at + size]


def _signed(value: int) -> int:
    """Return an unsigned integer of 64 bits as the signed one of the same bits."""
    is_negative = value >> (_N_BITS - 1)
    if is_negative:
        return value - (1 << _N_BITS)
    return value


def _broken(why: str) -> BundleError:
    return BundleError(f"model.onnx: is no ONNX graph that can be read: {why}")
