"""The encoder's operators against `Encoder.transform`, cell by cell, without a network behind them."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from scipy.special import ndtri

from studperf.bundle.rows import to_feeds
from studperf.config.dataset import Dataset
from studperf.config.run import Encode
from studperf.data.encode import CLIP, Encoder, NumberCode
from studperf.data.schema import check_table
from studperf.export.encoder import ML_DOMAIN, add_encoder
from studperf.export.graph import Graph
from studperf.export.model import build_schema
from studperf.export.quantiles import add_quantile_transform

N = 60


def make_dataset(columns: dict[str, dict[str, Any]], missing: tuple[str, ...] = ("",)) -> Dataset:
    source = {"path": "x.csv", "otherwise": "fail", "missing": missing}
    split = {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 0}
    return Dataset.model_validate(
        {
            "name": "small",
            "source": source,
            "target": {"column": "y"},
            "columns": columns,
            "split": split,
        }
    )


def run(
    graph: Graph, inputs: list[Any], outputs: list[str], feeds: dict[str, np.ndarray]
) -> list[np.ndarray]:
    infos = [onnx.ValueInfoProto(name=name) for name in outputs]
    whole = helper.make_graph(graph.nodes, "encoder", inputs, infos, graph.constants)
    model = helper.make_model(
        whole,
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(ML_DOMAIN, 4)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(outputs, feeds))


def encode_both(
    columns: dict[str, dict[str, Any]], frame: pd.DataFrame, new: pd.DataFrame, encode: Encode
) -> Any:
    """(x_num, x_cat, is_strange) by the graph, and the encoder's own."""
    dataset = make_dataset(columns)
    train = check_table(frame.assign(y=np.arange(float(len(frame)))), dataset)
    encoder = Encoder.fit(train, encode)
    schema = build_schema(encoder, dataset)
    table = check_table(new, dataset, for_training=False)
    graph = Graph("~")
    names = add_encoder(graph, encoder, schema)
    inputs = [
        helper.make_tensor_value_info(
            c.name, TensorProto.STRING if c.kind == "category" else TensorProto.DOUBLE, ["n", 1]
        )
        for c in schema.columns
    ]
    feeds = to_feeds({c.name: table.frame[c.name].to_numpy() for c in schema.columns}, schema)[0]
    return run(
        graph, inputs, [names.x_num, names.x_cat, names.is_strange], feeds
    ), encoder.transform(table)


def draw(n: int = N, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": rng.normal(1e6, 3.0, n),
            "b": rng.integers(0, 5, n).astype(float),
            "f": rng.integers(0, 2, n).astype(float),
            "g": rng.integers(0, 2, n).astype(float),
            "c": rng.choice(["x", "y", "z"], n),
            "d": rng.choice(["p", "q"], n),
        }
    )


def with_gaps(frame: pd.DataFrame, columns: str) -> pd.DataFrame:
    frame = frame.astype(object)
    for i, name in enumerate(columns):
        frame.loc[frame.index % 7 == i, name] = None
    return frame


ALL = {
    "a": {"kind": "number", "fill": "median"},
    "b": {"kind": "number"},
    "f": {"kind": "flag", "fill": "mode"},
    "g": {"kind": "flag"},
    "c": {"kind": "category", "fill": "mode"},
    "d": {"kind": "category", "levels": ["p", "q"], "unseen": "other"},
}
CASES = {
    "all kinds, filled": (ALL, "afc"),
    "filled with what no row has": (
        ALL | {"c": {"kind": "category", "fill": "new"}, "a": {"kind": "number", "fill": -1}},
        "ac",
    ),
    "rare levels together": (
        {
            "c": {"kind": "category", "unseen": "other", "rare": 15, "fill": "mode"},
            "b": {"kind": "number"},
        },
        "c",
    ),
    "numbers only": ({k: ALL[k] for k in "ab"}, "a"),
    "one flag only": ({"g": {"kind": "flag"}}, ""),
    "categories only": ({k: ALL[k] for k in "cd"}, "c"),
    "nothing filled": (
        {"a": {"kind": "number"}, "c": {"kind": "category"}, "g": {"kind": "flag"}},
        "",
    ),
}


@pytest.mark.parametrize("numbers", ["standard", "quantile"])
@pytest.mark.parametrize("categories", ["codes", "onehot"])
@pytest.mark.parametrize(
    ("columns", "gaps"), CASES.values(), ids=[key.replace(" ", "_") for key in CASES]
)
def test_the_graph_encodes_as_the_encoder_does(
    columns: dict[str, dict[str, Any]], gaps: str, numbers: str, categories: str
) -> None:
    encode = Encode.model_validate({"numbers": numbers, "categories": categories})
    train, new = (
        with_gaps(draw()[list(columns)], gaps),
        with_gaps(draw(seed=1)[list(columns)], gaps),
    )
    (x_num, x_cat, is_strange), expected = encode_both(columns, train, new, encode)
    assert x_num.dtype == np.float32
    assert x_cat.dtype == np.int64
    assert x_num.shape == expected.x_num.shape
    assert np.abs(x_num - expected.x_num).max(initial=0) <= 1e-6
    assert np.array_equal(x_cat, expected.x_cat)
    assert not is_strange.any()


@pytest.mark.parametrize("further", ["r", "q"], ids=["taught", "untaught"])
def test_an_unseen_level_is_read_as_the_encoder_reads_it(further: str) -> None:
    train = pd.DataFrame({"d": ["p", "q", "q", further] * 10})
    new = pd.DataFrame({"d": ["p", "q", "never seen"]})
    columns = {"d": {"kind": "category", "levels": ["p", "q"], "unseen": "other"}}
    (_, x_cat, is_strange), expected = encode_both(
        columns, train, new, Encode(numbers="standard", categories="codes")
    )
    assert np.array_equal(x_cat, expected.x_cat)
    assert not is_strange.any()


def test_no_rows_keep_their_width() -> None:
    train, dataset = draw(), make_dataset({k: ALL[k] for k in "abc"})
    encoder = Encoder.fit(
        check_table(train[["a", "b", "c"]].assign(y=np.arange(60.0)), dataset),
        Encode(numbers="quantile", categories="onehot"),
    )
    schema, graph = build_schema(encoder, dataset), Graph("~")
    names = add_encoder(graph, encoder, schema)
    kinds = {"a": TensorProto.DOUBLE, "b": TensorProto.DOUBLE, "c": TensorProto.STRING}
    inputs = [helper.make_tensor_value_info(name, kind, ["n", 1]) for name, kind in kinds.items()]
    feeds = to_feeds({name: [] for name in kinds}, schema)[0]
    x_num, x_cat, is_strange = run(
        graph, inputs, [names.x_num, names.x_cat, names.is_strange], feeds
    )
    assert (x_num.shape, x_cat.shape, is_strange.shape) == (
        (0, len(encoder.number_names)),
        (0, 0),
        (0,),
    )


def quantile_graph(quantiles: list[float], x: np.ndarray) -> np.ndarray:
    code = NumberCode(
        name="x", fill=None, mean=0.0, std=1.0, low=0.0, high=1.0, quantiles=tuple(quantiles)
    )
    graph = Graph("~")
    out = add_quantile_transform(graph, "x", [code])
    info = helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["n", 1])
    return run(graph, [info], [out], {"x": x[:, None]})[0][:, 0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 2)), min_size=1, max_size=70).map(sorted),
    st.lists(st.floats(-2e6, 2e6), min_size=1, max_size=20),
)
def test_any_quantiles_are_looked_up_as_numpy_does(
    quantiles: list[float], others: list[float]
) -> None:
    x = np.array([*quantiles, *others])
    knots, ranks = np.array(quantiles), np.linspace(0, 1, len(quantiles))
    rank = (np.interp(x, knots, ranks) - np.interp(-x, -knots[::-1], -ranks[::-1])) / 2
    expected = ndtri(np.clip(rank, CLIP, 1 - CLIP))
    assert np.abs(quantile_graph(quantiles, x) - expected).max() < 1e-6


def test_the_normal_quantile_is_scipys_in_every_branch() -> None:
    quantiles = np.linspace(0, 1, 3).tolist()
    x = np.concatenate(
        [np.linspace(0, 1, 4001), np.logspace(-9, -1, 200), 1 - np.logspace(-9, -1, 200)]
    )
    expected = ndtri(np.clip(x, CLIP, 1 - CLIP))
    assert np.abs(quantile_graph(quantiles, x) - expected).max() < 1e-9
