"""A builder of ONNX graphs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper


@dataclass
class Graph:
    """The operators and constants of a graph so far.

    Names of inner values begin with `prefix`, which no column's name does.
    """

    prefix: str
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(
        self,
        kind: str,
        *inputs: str,
        name: str | None = None,
        domain: str = "",
        **attributes: Any,  # noqa: ANN401 - ONNX's
    ) -> str:
        """Add an operator, and return the name of its one output."""
        output = name or f"{self.prefix}{kind}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], domain=domain, **attributes)
        )
        return output

    def constant(self, value: object, dtype: type[np.generic] = np.float64) -> str:
        """Add a constant, and return its name."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def as_float(self, value: str) -> str:
        """Add a cast to float32, in which models compute."""
        return self.add("Cast", value, to=TensorProto.FLOAT)

    def side_by_side(self, columns: list[str]) -> str:
        """Join matrices of N rows along their columns."""
        if len(columns) == 1:
            return columns[0]
        return self.add("Concat", *columns, axis=1)
