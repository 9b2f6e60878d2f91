"""Types with ranges, for the keys of the configuration and for the constructors that a YAML node names."""

from typing import Annotated

from pydantic import Field

PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, lt=1)]
"""A dropout rate: from 0 up to, but not, 1."""
Fraction = Annotated[float, Field(gt=0, lt=1)]
