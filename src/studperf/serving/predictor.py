"""Requests to a bundle, as JSON, and their answers.

The shape of a row is made from the bundle's schema.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    create_model,
)

from studperf.bundle import Bundle, InputColumn
from studperf.errors import DataError

MAX_ROWS = 1000
_MAX_TEXT = 200
_MAX_FAULTS = 20
_LARGEST = int(sys.float_info.max)
_Whole = Annotated[StrictInt, Field(ge=-_LARGEST, le=_LARGEST)]
"""An integer that a float can hold: JSON has longer ones."""


class RequestError(DataError):
    """A request that can't be answered.

    `faults` says where and why, in words for its sender.
    """

    def __init__(self, faults: list[str]) -> None:
        shown = faults[:_MAX_FAULTS]
        more = len(faults) - len(shown)
        self.faults = list(shown)
        if more:
            self.faults.append(f"and {more} more")
        super().__init__("; ".join(self.faults))


class _Row(BaseModel):
    """One record, by column name."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Predictor:
    """A bundle that answers only requests of the right form."""

    bundle: Bundle
    request: type[BaseModel]

    @classmethod
    def of(cls, bundle: Bundle) -> Predictor:
        """Make the form of requests from the bundle's schema."""
        fields: dict[str, Any] = {
            f"c{i}": _field(column) for i, column in enumerate(bundle.schema.columns)
        }
        row = create_model("Row", __base__=_Row, **fields)
        rows = Annotated[list[row], Field(min_length=1, max_length=MAX_ROWS)]  # type: ignore[valid-type]  # made a line above
        return cls(
            bundle, create_model("Request", __config__=ConfigDict(extra="forbid"), rows=(rows, ...))
        )

    def answer(self, body: bytes) -> dict[str, Any]:
        """Return the predictions for a request.

        Args:
            body: `{"rows": [{column: value, ...}, ...]}`.

        Raises:
            RequestError: the body is not that, or holds values the model was not made for.
        """
        try:
            rows = self.request.model_validate_json(body).model_dump(by_alias=True)["rows"]
        except ValidationError as error:
            # Without the input, which may be long and is known to its sender.
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            by_place = dict(_describe_fault(fault) for fault in faults)
            raise RequestError([f"{place}: {what}" for place, what in by_place.items()]) from error
        names = [column.name for column in self.bundle.schema.columns]
        cells = {name: [row[name] for row in rows] for name in names}
        try:
            prediction = self.bundle.predict(cells)
        except DataError as error:
            # As `errors.listing` writes it: a headline, then a line for each fault.
            lines = str(error).splitlines()[1:]
            raise RequestError([line.removeprefix("  - ") for line in lines]) from error
        columns = {"predicted": prediction.predicted.tolist()}
        if prediction.low is not None and prediction.high is not None:
            columns["low"] = prediction.low.tolist()
            columns["high"] = prediction.high.tolist()
        values_of_rows = zip(*columns.values(), strict=True)
        return {
            "target": self.bundle.schema.target.column,
            "unit": self.bundle.schema.target.unit,
            "level": prediction.level,
            "predictions": [dict(zip(columns, values, strict=True)) for values in values_of_rows],
            "warnings": prediction.warnings,
            "run": self.bundle.manifest.run,
        }

    def describe(self) -> dict[str, Any]:
        """Return the bundle's schema, and which model answers."""
        manifest = self.bundle.manifest
        model = {
            "run": manifest.run,
            "model": manifest.model,
            "data_md5": manifest.data_md5,
            "is_simulated": manifest.is_simulated,
        }
        limits = {"max_rows": MAX_ROWS, "max_text": _MAX_TEXT}
        return {
            "schema": self.bundle.schema.model_dump(mode="json"),
            "answered_by": model,
            "limits": limits,
        }


def _field(column: InputColumn) -> tuple[Any, Any]:
    kinds: dict[str, Any] = {
        "number": _Whole | StrictFloat,
        "flag": StrictBool | Literal[0, 1],
        "category": Annotated[StrictStr, Field(max_length=_MAX_TEXT)],
    }
    kind = kinds[column.kind]
    # Columns may be called anything, so that their names are aliases: a field can't be named
    # model_config, nor begin with an underscore.
    if column.fill is None:
        return (kind, Field(alias=column.name))
    return (kind | None, Field(default=None, alias=column.name))


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "literal_error": "must be true, false, 0 or 1",
    "int_parsing_size": "must be true, false, 0 or 1",  # an integer of hundreds of digits
    "string_type": "must be text",
    "json_invalid": "is not JSON",
    "too_long": f"holds more than {MAX_ROWS} rows",
    "too_short": "holds no row",
    "string_too_long": f"is longer than {_MAX_TEXT} characters",
}
_BRANCHES = ("int", "constrained-int", "float", "bool", "literal[0,1]", "constrained-str", "str")
"""What pydantic adds to the place of a value that could be of several types."""


def _describe_fault(fault: Any) -> tuple[str, str]:  # noqa: ANN401 - pydantic's ErrorDetails
    """Return the place of a fault, and what is wrong there.

    A value that could be of two types has a fault for each, of which the last one says it all.
    """
    place = [part for part in fault["loc"] if part not in _BRANCHES]
    where = ".".join(str(part)[:60] for part in place) or "the body"
    if fault["type"] == "json_invalid" and "number out of range" in fault["msg"]:
        return where, "holds a number of thousands of digits"
    known = _WORDS.get(fault["type"])
    if known is not None:
        return where, known
    message = fault["msg"]
    return where, message[:1].lower() + message[1:]
