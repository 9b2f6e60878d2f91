"""Grown trees as a graph: what LightGBM gives is what onnxruntime gives, whatever the rows hold."""

import numpy as np
import onnxruntime
import pytest
import torch

from studperf.bundle import wire
from studperf.bundle.cost import measure
from studperf.bundle.graph import read_graph
from studperf.config.load import load_overrides
from studperf.data.encode import FeatureSpec
from studperf.errors import ExportError
from studperf.export import trees as exporter
from studperf.export.network import export_network
from studperf.models.trees import Growth
from studperf.train.trees import TreesModel, as_columns, build_trees

N_ROWS = 600


def draw(features: FeatureSpec, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x_num = torch.randn(N_ROWS, features.n_numbers, generator=generator)
    codes = [torch.randint(0, n, (N_ROWS, 1), generator=generator) for n in features.cardinalities]
    x_cat = torch.cat(codes, dim=1) if codes else torch.zeros(N_ROWS, 0, dtype=torch.int64)
    target = x_num.sum(dim=1) + (x_cat.sum(dim=1) % 7)
    return x_num, x_cat, target


def grown(
    features: FeatureSpec, *words: str, n_rounds: int = 40, holes: bool = False
) -> TreesModel:
    config = load_overrides(["model=lightgbm", "model.min_rows_leaf=3", *words])
    model = build_trees(config, features, np.array([100.0, 300.0]))
    parts = []
    for seed in (1, 2):
        x_num, x_cat, target = draw(features, seed)
        if holes:
            x_num[::3, 0] = torch.nan
        parts.append((as_columns((x_num, x_cat, target)), target.double().numpy()))
    model.trees.begin(parts[0], parts[1], Growth("mse", 1.0, 0.5, seed=0, n_threads=1))
    for _ in range(n_rounds):
        model.trees.grow()
    model.text = model.trees.to_text(n_rounds)
    state = model.state_dict()
    model.load_weights(state)
    return model


def run_graph(
    model: TreesModel, features: FeatureSpec, x_num: torch.Tensor, x_cat: torch.Tensor
) -> np.ndarray:
    graph = export_network(model, features).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (y,) = session.run(["y"], {"x_num": x_num.numpy(), "x_cat": x_cat.numpy()})
    return np.asarray(y)


@pytest.mark.parametrize(
    "features",
    [FeatureSpec(3), FeatureSpec(0, (5, 90)), FeatureSpec(2, (3, 400))],
    ids=["numbers", "categories", "many_levels"],
)
@pytest.mark.parametrize("n_rows", [0, 1, N_ROWS])
def test_the_graph_gives_what_the_trees_give(features: FeatureSpec, n_rows: int) -> None:
    model = grown(features)
    x_num, x_cat, target = (part[:n_rows] for part in draw(features, seed=3))
    given = run_graph(model, features, x_num, x_cat)
    expected = model.predict_rows((x_num, x_cat, target))
    assert given.shape == (n_rows,)
    np.testing.assert_allclose(given, expected, rtol=1e-12)
    if n_rows > 1:
        assert given.std() > 10


@pytest.mark.parametrize("holes", [False, True], ids=["not met in training", "met in training"])
def test_a_missing_number_goes_the_way_that_it_goes_in_the_trees(*, holes: bool) -> None:
    features = FeatureSpec(3, (4,))
    model = grown(features, holes=holes)
    x_num, x_cat, target = draw(features, seed=3)
    x_num[::2, 0] = torch.nan
    x_num[::5, 1] = torch.nan
    given = run_graph(model, features, x_num, x_cat)
    expected = model.predict_rows((x_num, x_cat, target))
    np.testing.assert_allclose(given, expected, rtol=1e-12)


def test_a_value_on_a_threshold_goes_left_in_both() -> None:
    features = FeatureSpec(1)
    model = grown(features)
    thresholds = model.trees.forest().threshold.astype(np.float32)
    around = [np.nextafter(thresholds, np.float32(end)) for end in (-np.inf, np.inf)]
    x_num = torch.from_numpy(np.concatenate([thresholds, *around])[:, None])
    x_cat = torch.zeros(len(x_num), 0, dtype=torch.int64)
    expected = model.predict_rows((x_num, x_cat, torch.zeros(len(x_num))))
    np.testing.assert_allclose(run_graph(model, features, x_num, x_cat), expected, rtol=1e-12)


def test_trees_that_found_no_split_are_a_graph_too() -> None:
    features = FeatureSpec(2, (3,))
    model = grown(features, "model.min_rows_leaf=400", n_rounds=1)
    assert model.n_parameters == 1
    x_num, x_cat, target = draw(features, seed=3)
    given = run_graph(model, features, x_num, x_cat)
    np.testing.assert_allclose(given, model.predict_rows((x_num, x_cat, target)), rtol=1e-12)


def test_the_reader_of_a_bundle_tells_what_the_graph_costs() -> None:
    features = FeatureSpec(2, (3, 400))
    graph = export_network(grown(features), features)
    values, costs = measure(read_graph(graph.SerializeToString()))
    (shape,) = (values[output.name].shape for output in graph.graph.output)
    assert [size.at(7) for size in shape] == [7]
    # Each of 40 trees is passed from its root to a leaf, over six nodes or more.
    assert costs.work.at(1000) >= 40 * 6 * 1000


def test_more_trees_than_a_bundle_takes_are_refused_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = FeatureSpec(3)
    model = grown(features)
    monkeypatch.setattr(exporter, "MAX_NUMBERS", 1000)
    with pytest.raises(ExportError, match=r"too many for a bundle.*lower model.n_rounds"):
        export_network(model, features)
    assert exporter.MAX_NUMBERS < wire.MAX_NUMBERS
