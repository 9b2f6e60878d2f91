"""Types with ranges, for keys of the configuration and for constructors that a YAML node names.

All are strict: YAML knows numbers, so text or a boolean where a number belongs is a mistake.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
# A dropout rate: from 0 up to, but not, 1.
Probability = Annotated[float, Field(ge=0, lt=1, strict=True)]
Fraction = Annotated[float, Field(gt=0, lt=1, strict=True)]
# A part of a whole, up to all of it.
Share = Annotated[float, Field(gt=0, le=1, strict=True)]
# Leaves of a tree. A chain of as many nodes is what readers of a bundle's graph take.
LeafCount = Annotated[int, Field(ge=2, le=1024, strict=True)]


def _check_order(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] >= ends[1]:
        raise ValueError(f"the lower end must come first, got {list(ends)}")
    return ends


def of_form(pattern: str, what: str, *, is_shown: bool = True) -> AfterValidator:
    """Return a validator for text of a form that is described in words.

    With `is_shown=False` the message does not repeat the text, which may be a secret that was
    pasted where its name belongs.
    """

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            got = f", got {text!r}" if is_shown else ""
            raise ValueError(f"must be {what}{got}")
        return text

    return AfterValidator(check)


def check_encoding(name: str) -> str:
    """Return the name of a text encoding, if Python has one of that name.

    Python's codecs hold others too, such as `undefined` and `rot13`.

    Raises:
        ValueError: no text is read by it.
    """
    try:
        "a".encode(name).decode(name)
    except (LookupError, ValueError) as error:
        raise ValueError(
            f"Python knows no encoding {name!r} of text; such as utf-8, latin-1, utf-16"
        ) from error
    return name


Encoding = Annotated[str, AfterValidator(check_encoding)]
Range = Annotated[tuple[Number, Number], AfterValidator(_check_order)]


def _as_several(value: Any) -> Any:  # noqa: ANN401 - checked next
    if isinstance(value, bool) or not isinstance(value, int | list | tuple):
        raise PydanticCustomError("widths", "a whole number, or a list of them such as [64,32]")
    return (value,) if isinstance(value, int) else value


# Widths of layers, first to last; a single number is a single layer.
Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(_as_several)]
