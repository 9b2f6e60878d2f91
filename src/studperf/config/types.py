"""Types with ranges, for the keys of the configuration and for the constructors that a YAML node names.

All are strict: YAML knows numbers, so text or a boolean where a number belongs is a mistake.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, lt=1, strict=True)]
"""A dropout rate: from 0 up to, but not, 1."""
Fraction = Annotated[float, Field(gt=0, lt=1, strict=True)]


def _check_order(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] >= ends[1]:
        raise ValueError(f"the lower end must come first, got {list(ends)}")
    return ends


Range = Annotated[tuple[Number, Number], AfterValidator(_check_order)]


def _as_several(value: Any) -> Any:  # noqa: ANN401 - checked next
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(_as_several)]
"""Of layers, one after the other; a single number is a single layer."""
