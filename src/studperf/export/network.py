"""The export of a trained model to an ONNX graph; of a torch module by torch's own exporter."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator

import torch
from onnx import ModelProto
from torch import Tensor, nn

from studperf.config.quiet import errors_only
from studperf.data.encode import FeatureSpec
from studperf.errors import ExportError, first_line
from studperf.train.learner import Model
from studperf.train.network.module import ScoreModule

X_NUM, X_CAT, Y = "x_num", "x_cat", "y"
# A number of rows that no width of a model is likely to have, so that a fixed size in the graph
# can't pass for it.
_N_ROWS = 7
_TALKATIVE = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class _Network(nn.Module):
    """The forward pass of a module: scaled model, mean over members, target's unit."""

    def __init__(self, module: ScoreModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        return self.module.unscale(self.module.model(x_num, x_cat))


@functools.singledispatch
def export_network(model: Model, features: FeatureSpec) -> ModelProto:  # noqa: ARG001 - read by each kind
    """Return a model as ONNX, for any number of rows; each kind of model registers its own way.

    The graph takes `x_num` (N, F) float and `x_cat` (N, C) int64, and gives `y` (N,) float in the
    target's unit.

    Raises:
        ExportError: the model can't be exported, for instance as its forward pass depends on
            values.
    """
    raise ExportError(f"{model.kind}: there is no way to make an ONNX graph of it")


@export_network.register
def export_module(module: ScoreModule, features: FeatureSpec) -> ModelProto:
    """Return a torch module as ONNX."""
    module.cpu().eval()
    n_rows = torch.export.Dim("n_rows")
    rows = (
        torch.zeros(_N_ROWS, features.n_numbers),
        torch.zeros(_N_ROWS, len(features.cardinalities), dtype=torch.int64),
    )
    try:
        with _quiet(), torch.no_grad():
            # Strict: the other way, and the older exporter by tracing, take `len(x)` for a constant
            # (torch 2.15).
            shapes = ({0: n_rows}, {0: n_rows})
            network = _Network(module)
            program = torch.export.export(network, rows, dynamic_shapes=shapes, strict=True)
            # Operators such as column_stack of mixed types have no translation of their own that
            # onnxruntime takes.
            program = program.run_decompositions()
            exported = torch.onnx.export(
                program, input_names=[X_NUM, X_CAT], output_names=[Y], dynamo=True, verbose=False
            )
    except Exception as error:  # torch's exporters raise whatever they meet
        raise ExportError(
            f"{module.kind}: torch can't export it to ONNX: {first_line(error)[:300]}. "
            "A forward pass must be made of tensor operators that don't depend on values."
        ) from error
    if exported is None:
        raise ExportError(f"{module.kind}: torch's exporter gave nothing")
    return _without_traces(exported.model_proto)


def _without_traces(model: ModelProto) -> ModelProto:
    """Remove the stack traces that the exporter leaves in nodes.

    They name the paths of the machine.
    """
    graph = model.graph
    named = [*graph.node, *graph.initializer, *graph.input, *graph.output]
    for part in (graph, *named):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:], model.metadata_props[:]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's notices until the block ends, but not its errors.

    It tells of packages that are not installed and of what it optimises away.
    """
    with errors_only(*_TALKATIVE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
