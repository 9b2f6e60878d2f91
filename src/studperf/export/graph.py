"""An ONNX graph in the making."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper


@dataclass
class Graph:
    """Operators and constants so far. Names of inner values begin with `prefix`, which the name of no column may do."""

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
        """Adds an operator; returns the name of its one output."""
        output = name or f"{self.prefix}{kind}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], domain=domain, **attributes)
        )
        return output

    def constant(self, value: object, dtype: type[np.generic] = np.float64) -> str:
        """Adds a constant; returns its name."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def as_float(self, value: str) -> str:
        """float32, as models compute."""
        return self.add("Cast", value, to=TensorProto.FLOAT)

    def side_by_side(self, columns: list[str]) -> str:
        """(N, 1) or (N, M) matrices as one."""
        return columns[0] if len(columns) == 1 else self.add("Concat", *columns, axis=1)
