"""Each architecture through torch's exporter, for every kind of input; the graph must take any number of rows."""

import logging

import numpy as np
import onnxruntime
import pytest
import torch

from kit.models import NETWORKS
from studperf.config.load import load_overrides
from studperf.data.encode import FeatureSpec
from studperf.errors import ExportError
from studperf.export.network import export_network
from studperf.train.network.module import ScoreModule, build_model

SPECS = {
    "mixed": FeatureSpec(5, (3, 2)),
    "numbers_only": FeatureSpec(4),
    "categories_only": FeatureSpec(0, (4, 3)),
}


def build(name: str, features: FeatureSpec) -> ScoreModule:
    """Weights away from where some models start, at zero; moments of batch normalisation too."""
    config = load_overrides([f"model={name}"])
    torch.manual_seed(0)
    module = ScoreModule(
        build_model(config.model, features), config, target_mean=58.0, target_std=13.0
    ).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _, buffer in module.model.named_buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer))
    return module


def compare(name: str, features: FeatureSpec) -> None:
    module = build(name, features)
    graph = export_network(module, features).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    for n_rows in (0, 1, 2, 300):
        x_num = torch.randn(n_rows, features.n_numbers, generator=generator)
        codes = [
            torch.randint(0, n, (n_rows, 1), generator=generator) for n in features.cardinalities
        ]
        x_cat = torch.cat(codes, dim=1) if codes else torch.zeros(n_rows, 0, dtype=torch.int64)
        (y,) = session.run(["y"], {"x_num": x_num.numpy(), "x_cat": x_cat.numpy()})
        assert y.shape == (n_rows,)
        expected = module(x_num, x_cat).detach().numpy()
        assert np.abs(y - expected).max(initial=0) <= 1e-4


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_the_graph_gives_what_torch_gives(name: str) -> None:
    compare(name, SPECS["mixed"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_model_is_exported_for_every_kind_of_input(name: str, kind: str) -> None:
    compare(name, SPECS[kind])


def test_the_exporter_is_quiet_and_leaves_logging_as_it_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logging.getLogger("onnxscript").setLevel(logging.INFO)
    export_network(build("mean", SPECS["mixed"]), SPECS["mixed"])
    assert logging.getLogger("onnxscript").level == logging.INFO
    logging.getLogger("onnxscript").setLevel(logging.NOTSET)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


class Lookup:
    """A model that nothing can make a graph of."""

    kind = "Lookup"


def test_a_model_of_an_unknown_kind_is_refused_by_its_name() -> None:
    with pytest.raises(ExportError, match="Lookup: there is no way to make an ONNX graph of it"):
        export_network(Lookup(), SPECS["mixed"])
