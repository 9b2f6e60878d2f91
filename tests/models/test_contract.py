"""What every model must do; the models are the files of conf/model, so that a new one is tested by being there."""

import re

import pytest
import torch
import yaml
from safetensors.torch import load, save

from studperf.config.load import load_overrides
from studperf.config.paths import config_dir
from studperf.data.encode import FeatureSpec
from studperf.train.module import ScoreModule, build_model

NAMES = sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))
SPECS = {
    "mixed": FeatureSpec(5, (3, 2)),
    "numbers only": FeatureSpec(4),
    "categories only": FeatureSpec(0, (4, 3)),
}


def build(name: str, features: FeatureSpec, seed: int = 0) -> torch.nn.Module:
    node = yaml.safe_load((config_dir() / "model" / f"{name}.yaml").read_text())
    torch.manual_seed(seed)
    return build_model(node, features)


def draw(features: FeatureSpec, n_rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    codes = [torch.randint(0, n, (n_rows,), generator=generator) for n in features.cardinalities]
    x_cat = torch.stack(codes, dim=1) if codes else torch.zeros(n_rows, 0, dtype=torch.int64)
    return torch.randn(n_rows, features.n_numbers, generator=generator), x_cat


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=SPECS, ids=[key.replace(" ", "_") for key in SPECS])
def features(request: pytest.FixtureRequest) -> FeatureSpec:
    return SPECS[request.param]


@pytest.mark.parametrize("n_rows", [0, 1, 2, 37])
def test_model_gives_a_number_a_row(name: str, features: FeatureSpec, n_rows: int) -> None:
    model = build(name, features).eval()
    y = model(*draw(features, n_rows))
    assert y.ndim in {1, 2}
    assert len(y) == n_rows
    assert y.dtype == torch.float32
    assert torch.isfinite(y).all()


def test_model_has_finite_gradients_everywhere_it_learns(name: str, features: FeatureSpec) -> None:
    model = build(name, features).train()
    model(*draw(features, 8)).square().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


def test_model_survives_saving_and_loading(name: str, features: FeatureSpec) -> None:
    model = build(name, features, seed=1).eval()
    other = build(name, features, seed=2).eval()
    other.load_state_dict(load(save({k: v.contiguous() for k, v in model.state_dict().items()})))
    rows = draw(features, 16)
    assert torch.equal(model(*rows), other(*rows))


def test_model_is_the_same_for_the_same_seed(name: str, features: FeatureSpec) -> None:
    rows = draw(features, 16)
    first, second = build(name, features, seed=3).eval(), build(name, features, seed=3).eval()
    assert torch.equal(first(*rows), second(*rows))


def test_a_row_is_predicted_alike_alone_and_among_others(name: str, features: FeatureSpec) -> None:
    model = build(name, features).eval()
    x_num, x_cat = draw(features, 9)
    assert torch.allclose(model(x_num, x_cat)[4:5], model(x_num[4:5], x_cat[4:5]), atol=1e-5)


def test_model_learns_a_line(name: str) -> None:
    if name == "mean":
        pytest.skip("the mean can't learn a line; that is what it is for")
    features = FeatureSpec(3, (3,))
    x_num, x_cat = draw(features, 512)
    target = 50 + 8 * x_num[:, 0] - 5 * x_num[:, 1] + 6 * (x_cat[:, 0] == 1)
    config = load_overrides([f"model={name}"])
    torch.manual_seed(0)
    module = ScoreModule(
        build_model(config.model, features),
        config,
        target_mean=float(target.mean()),
        target_std=float(target.std()),
    )
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
    for step in range(150):
        rows = torch.arange(step * 128, step * 128 + 128) % 512
        optimizer.zero_grad()
        module.loss(module.model(x_num[rows], x_cat[rows]), target[rows]).backward()
        optimizer.step()
    predicted = module.predict_rows((x_num, x_cat, target))
    error = float(((torch.from_numpy(predicted) - target) ** 2).mean().sqrt())
    assert error < 0.35 * float(target.std())


def test_the_stem_runs_through_every_layer(name: str) -> None:
    target = yaml.safe_load((config_dir() / "model" / f"{name}.yaml").read_text())["_target_"]
    assert re.fullmatch(rf"studperf\.models\.{name}\.\w+", target)
