"""What every model must do; the models are the files of conf/model, so that a new one is tested by being there.

What is grown in rounds has a contract of its own, at the end.
"""

import re
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from kit.models import GROWN, NETWORKS
from studperf.config.load import load_overrides
from studperf.data.encode import FeatureSpec
from studperf.models.trees import Columns, Growth, TreeModel, TreesError
from studperf.train.network.module import ScoreModule, build_model

SPECS = {
    "mixed": FeatureSpec(5, (3, 2)),
    "numbers only": FeatureSpec(4),
    "categories only": FeatureSpec(0, (4, 3)),
}


def node_of(name: str) -> dict[str, Any]:
    node: dict[str, Any] = load_overrides([f"model={name}"]).model
    return node


def build(name: str, features: FeatureSpec, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model: torch.nn.Module = build_model(node_of(name), features)
    return model


def draw(features: FeatureSpec, n_rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    codes = [torch.randint(0, n, (n_rows,), generator=generator) for n in features.cardinalities]
    x_cat = torch.stack(codes, dim=1) if codes else torch.zeros(n_rows, 0, dtype=torch.int64)
    return torch.randn(n_rows, features.n_numbers, generator=generator), x_cat


@pytest.fixture(params=NETWORKS)
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


@pytest.mark.parametrize("name", [*NETWORKS, *GROWN])
def test_the_stem_runs_through_every_layer(name: str) -> None:
    target = node_of(name)["_target_"]
    assert re.fullmatch(rf"studperf\.models\.{name}\.\w+", target)


GROWTH = Growth("mse", delta=1.0, quantile=0.5, seed=0, n_threads=1)


def draw_columns(features: FeatureSpec, n_rows: int, seed: int = 0) -> Columns:
    return torch.cat(draw(features, n_rows, seed), dim=1).numpy().astype(np.float32)


def grow(
    name: str, features: FeatureSpec, growth: Growth = GROWTH, n_rounds: int = 12
) -> TreeModel:
    """Trees for a target that the first and the last column make."""
    model: TreeModel = build_model(node_of(name), features)
    parts = []
    for seed in (1, 2):
        x = draw_columns(features, 400, seed)
        parts.append((x, (x[:, 0] + np.sin(3 * x[:, -1])).astype(np.float64)))
    model.begin(*parts, growth)
    for _ in range(n_rounds):
        assert model.grow()
    return model


@pytest.mark.parametrize("grown", GROWN)
def test_what_was_grown_is_read_back_from_its_text(grown: str, features: FeatureSpec) -> None:
    model = grow(grown, features)
    again: TreeModel = build_model(node_of(grown), features)
    again.read(model.to_text(12))
    x = draw_columns(features, 400, seed=2)
    _, val = model.fitted()
    np.testing.assert_allclose(again.predict(x), val, rtol=1e-12, atol=1e-12)
    assert np.array_equal(again.predict(x[7:8]), again.predict(x)[7:8])
    assert again.predict(x[:0]).shape == (0,)


@pytest.mark.parametrize("grown", GROWN)
def test_the_first_rounds_alone_can_be_kept(grown: str, features: FeatureSpec) -> None:
    model, shorter = grow(grown, features), grow(grown, features, n_rounds=5)
    assert model.to_text(5) == shorter.to_text(5)


@pytest.mark.parametrize("grown", GROWN)
def test_the_arrays_of_what_was_grown_are_a_forest_that_sums_to_its_predictions(
    grown: str, features: FeatureSpec
) -> None:
    model: TreeModel = build_model(node_of(grown), features)
    model.read(grow(grown, features).to_text(12))
    forest = model.forest()
    forest.check(model.n_columns)
    x = draw_columns(features, 50, seed=3).astype(np.float64)
    sums = np.zeros(50)
    for i, row in enumerate(x):
        for root in forest.roots:
            node = int(root)
            while node >= 0:
                value = row[forest.feature[node]]
                is_left = value <= forest.threshold[node]
                if node in forest.members:
                    is_left = int(value) in forest.members[node]
                node = int(forest.left[node] if is_left else forest.right[node])
            sums[i] += forest.value[~node]
    np.testing.assert_allclose(sums, model.predict(x.astype(np.float32)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "huber", "quantile"])
@pytest.mark.parametrize("grown", GROWN)
def test_what_is_grown_takes_every_loss_but_one_that_learns_a_variance(
    grown: str, loss: Any
) -> None:
    model = grow(grown, SPECS["mixed"], Growth(loss, 1.0, 0.9, seed=0, n_threads=1), n_rounds=60)
    x = draw_columns(SPECS["mixed"], 400, seed=1)
    target = x[:, 0] + np.sin(3 * x[:, -1])
    above = np.mean(model.fitted()[0] >= target)
    assert (above > 0.8) if loss == "quantile" else (0.3 < above < 0.7)


@pytest.mark.parametrize("text", ["", "tree", "Tree=0\nend of trees"])
@pytest.mark.parametrize("grown", GROWN)
def test_a_text_without_trees_is_refused(grown: str, text: str) -> None:
    model: TreeModel = build_model(node_of(grown), SPECS["mixed"])
    with pytest.raises(TreesError):
        model.read(text)
