"""What a bundle promises, held for every file of conf/model: the graph alone gives the recorded predictions."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from kit.small_run import SMALL
from studperf.bundle import FILES, Bundle, find_bundle, verify
from studperf.bundle.cost import measure
from studperf.bundle.graph import read_graph
from studperf.bundle.rows import to_feeds
from studperf.config.load import load_overrides
from studperf.config.paths import config_dir
from studperf.config.run import RunConfig
from studperf.data.simulate import simulate
from studperf.errors import ExportError, RunError
from studperf.export import write
from studperf.export.__main__ import main
from studperf.export.write import export_run, write_bundle
from studperf.record.record import RunRecord
from studperf.train.finished import FinishedRun
from studperf.train.run import run

Config = Callable[..., RunConfig]
FAST = ("lightgbm", "mlp", "tabm")
"""Models whose promises the fast suite holds; the whole suite holds those of all."""
MODELS = [
    pytest.param(name, marks=[] if name in FAST else pytest.mark.slow)
    for name in sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))
]
BLOCKED = (
    "torch",
    "lightning",
    "pandas",
    "pyarrow",
    "sklearn",
    "scipy",
    "wandb",
    "optuna",
    "hydra",
    "omegaconf",
    "onnx",
    "safetensors",
)
ALONE = f"""
import csv, json, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, Block())
try:
    import torch
except ImportError:
    pass
else:
    raise SystemExit("torch could be imported")
from pathlib import Path
from studperf.bundle import Bundle
with open(sys.argv[2], newline="") as file:
    header, *rows = csv.reader(file)
prediction = Bundle.open(Path(sys.argv[1])).predict({{name: [row[i] for row in rows] for i, name in enumerate(header)}})
print(json.dumps([prediction.predicted.tolist(), prediction.low.tolist(), prediction.high.tolist()]))
"""


@pytest.fixture(scope="session", params=MODELS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each model with its bundle."""
    config = load_overrides(
        [*SMALL, f"model={request.param}", f"runs={tmp_path_factory.mktemp('runs')}", "export=true"]
    )
    run(config)
    (folder,) = Path(config.runs).iterdir()
    return folder


@pytest.fixture(scope="session")
def linear_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    config = load_overrides([*SMALL, "model=linear", f"runs={tmp_path_factory.mktemp('runs')}"])
    run(config)
    (folder,) = Path(config.runs).iterdir()
    return FinishedRun.load(folder)


def scored_rows(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The raw test rows and what was recorded of them."""
    predictions = pd.read_parquet(folder / "predictions.parquet")
    test = predictions[predictions["split"] == "test"]
    return simulate(FinishedRun.load(folder).config.data).iloc[test["row"].to_numpy() - 1], test


def test_the_bundle_alone_gives_the_recorded_predictions(exported: Path, tmp_path: Path) -> None:
    raw, recorded = scored_rows(exported)
    raw.to_csv(tmp_path / "rows.csv", index=False)
    command = [sys.executable, "-c", ALONE, str(exported / "bundle"), str(tmp_path / "rows.csv")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": ""}
    )
    assert done.returncode == 0, done.stderr
    predicted, low, high = (np.array(values) for values in json.loads(done.stdout))
    assert len(predicted) == len(recorded) == 40
    assert np.abs(predicted - recorded["predicted"].to_numpy()).max() <= 1e-4
    judgement = RunRecord.load(exported).judgement
    assert judgement is not None
    assert judgement.conformal is not None
    assert high - low == pytest.approx(np.full(40, 2 * judgement.conformal.half_width))


@pytest.mark.parametrize("n_rows", [0, 1, 3])
def test_the_bare_graph_takes_any_number_of_rows(exported: Path, n_rows: int) -> None:
    raw, recorded = scored_rows(exported)
    session = onnxruntime.InferenceSession(
        (exported / "bundle" / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    feeds = {
        i.name: raw[i.name].to_numpy(dtype=object if i.type == "tensor(string)" else np.float64)[
            :n_rows, None
        ]
        for i in session.get_inputs()
    }
    (predicted,) = session.run(["prediction"], feeds)
    assert predicted.shape == (n_rows,)
    assert np.abs(predicted - recorded["predicted"].to_numpy()[:n_rows]).max(initial=0) <= 1e-4


def test_the_cost_that_is_told_of_a_graph_is_what_it_makes(exported: Path) -> None:
    """Each size is compared with that of the value itself, handed out by onnxruntime."""
    model = onnx.load(exported / "bundle" / "model.onnx")
    values, _ = measure(read_graph(model.SerializeToString()))
    names = [name for node in model.graph.node for name in node.output if name]
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    bundle = Bundle.open(exported / "bundle")
    first, _ = scored_rows(exported)
    columns = {column.name: first[column.name].to_numpy()[:5] for column in bundle.schema.columns}
    made = session.run(names, to_feeds(columns, bundle.schema)[0])
    shapes = {name: value.shape for name, value in zip(names, made, strict=True)}
    told = {name: tuple(size.at(5) for size in values[name].shape) for name in names}
    assert len(names) > 40
    assert told == shapes


def test_a_model_with_an_operator_that_no_bundle_holds_is_refused_by_name(
    linear_run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noisy(torch.nn.Module):
        def forward(self, x_num: torch.Tensor, x_cat: torch.Tensor) -> torch.Tensor:
            return x_num.sum(dim=1) + x_cat.sum(dim=1) + 0 * torch.rand_like(x_num).sum(dim=1)

    # torch keeps a submodule beside __dict__, where undoing an attribute would not look.
    monkeypatch.setitem(linear_run.module._modules, "model", Noisy())
    with pytest.raises(ExportError, match=r"Noisy: .*holds the operator Random") as caught:
        write_bundle(
            linear_run.module,
            linear_run.encoder,
            linear_run.read_scored(),
            linear_run.record,
            tmp_path,
        )
    assert "Write the forward pass with other operators" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_predicted(exported: Path) -> None:
    raw, recorded = scored_rows(exported)
    columns = {str(name): np.tile(raw[name].to_numpy(), 2500) for name in raw}
    prediction = Bundle.open(exported / "bundle", threads=2).predict(columns)
    assert prediction.predicted.shape == (100_000,)
    assert (
        np.abs(prediction.predicted - np.tile(recorded["predicted"].to_numpy(), 2500)).max() <= 1e-4
    )


def test_the_weights_are_those_of_the_run(exported: Path) -> None:
    module = FinishedRun.load(exported).module
    state = load_file(exported / "bundle" / "weights.safetensors")
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in module.state_dict().items()
    }
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in state.items())


def test_a_bundle_holds_what_it_says(exported: Path) -> None:
    folder, record = find_bundle(exported), RunRecord.load(exported)
    manifest = verify(folder)
    assert {path.name for path in folder.iterdir()} == {*FILES, "manifest.json"}
    assert (manifest.run, manifest.model) == (record.name, record.model)
    assert manifest.weights_sha256 == record.weights_sha256
    metrics = json.loads((folder / "metrics.json").read_text())
    assert record.judgement is not None
    assert metrics["scores"]["rmse"]["value"] == record.judgement.scores.rmse.value
    assert metrics["conformal"]["half_width"] == record.judgement.conformal.half_width
    assert 0 <= metrics["parity"]["max_difference"] <= 1e-4
    assert all(part["n"] >= 20 for part in metrics["slices"])
    assert (folder / "encoder.json").read_text() == (exported / "encoder.json").read_text()


def test_a_bundle_names_no_path_of_the_machine_and_no_id(exported: Path) -> None:
    for path in (exported / "bundle").iterdir():
        content = path.read_bytes()
        assert str(Path(write.__file__).parents[1]).encode() not in content, path.name
        assert b"site-packages" not in content, path.name
    assert "student_id" not in (exported / "bundle" / "schema.json").read_text()


def test_a_row_that_no_rule_can_read_is_predicted_as_no_number(linear_run: FinishedRun) -> None:
    export_run(linear_run.folder)
    raw, _ = scored_rows(linear_run.folder)
    bundle = Bundle.open(linear_run.folder / "bundle")
    feeds, _ = to_feeds({str(name): raw[name].to_numpy()[:6] for name in raw}, bundle.schema)
    feeds["age"][1], feeds["age"][2], feeds["uses_ai"][3] = np.nan, np.inf, 0.5
    feeds["gender"][4], feeds["gender"][5] = "unheard of", ""
    (predicted,) = bundle.session.run(None, feeds)
    assert np.isnan(predicted).tolist() == [False, True, True, True, True, True]


def test_the_graph_carries_where_it_comes_from(linear_run: FinishedRun) -> None:
    export_run(linear_run.folder)
    model = onnx.load(linear_run.folder / "bundle" / "model.onnx")
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert (facts["run"], facts["target"], facts["format"]) == (
        linear_run.record.name,
        "final_score",
        "1",
    )
    assert [value.name for value in model.graph.output] == ["prediction"]


def test_a_graph_that_is_not_the_model_is_refused_and_nothing_stays(
    linear_run: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_run(linear_run.folder)
    before = verify(linear_run.folder / "bundle")
    parts = linear_run.read_scored()
    genuine = write.export_network

    def biased(module: torch.nn.Module, features: object) -> object:
        module.target_mean += 1e-3
        try:
            return genuine(module, features)
        finally:
            module.target_mean -= 1e-3

    monkeypatch.setattr(write, "export_network", biased)
    with pytest.raises(
        ExportError,
        match=r"predictions differ by up to 0\.00\d+, 0\.0001 is allowed \(row \d+ of 8\d:",
    ):
        write_bundle(
            linear_run.module, linear_run.encoder, parts, linear_run.record, linear_run.folder
        )
    assert verify(linear_run.folder / "bundle") == before
    assert not list(linear_run.folder.glob(".bundle*"))


def test_a_write_that_fails_leaves_the_old_bundle(
    linear_run: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_run(linear_run.folder)
    before = verify(linear_run.folder / "bundle")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.seals, "seal", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export_run(linear_run.folder)
    assert verify(linear_run.folder / "bundle") == before
    assert not list(linear_run.folder.glob(".bundle*"))


def test_a_model_that_torch_cannot_export_is_told_in_one_line(
    linear_run: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(x_num: torch.Tensor, x_cat: torch.Tensor) -> torch.Tensor:
        return x_num[:, 0] * (1 if float(x_num.sum()) > 0 else 2)

    monkeypatch.setattr(linear_run.module.model, "forward", forward)
    with pytest.raises(ExportError, match="Linear: torch can't export it to ONNX"):
        write_bundle(
            linear_run.module,
            linear_run.encoder,
            linear_run.read_scored(),
            linear_run.record,
            linear_run.folder,
        )


def test_a_run_that_was_not_judged_has_no_bundle(linear_run: FinishedRun) -> None:
    record = linear_run.record.model_copy(update={"judgement": None, "status": "interrupted"})
    with pytest.raises(ExportError, match="is interrupted and was not judged"):
        write_bundle(
            linear_run.module,
            linear_run.encoder,
            linear_run.read_scored(),
            record,
            linear_run.folder,
        )


def test_other_rows_than_the_runs_are_refused(linear_run: FinishedRun) -> None:
    facts = linear_run.record.data.model_copy(
        update={"md5": "0" * 32, "is_simulated": False, "path": "old.csv"}
    )
    changed = FinishedRun(
        linear_run.folder,
        linear_run.record.model_copy(update={"data": facts}),
        linear_run.config,
        linear_run.encoder,
        linear_run.module,
    )
    with pytest.raises(RunError, match=r"trained on md5 0+, and old\.csv now gives simulated rows"):
        changed.read_scored()


def test_a_run_scored_on_val_leaves_test_closed(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config("model=linear", "score_on=val", "export=true")
    seen: list[int] = []
    genuine = write.check_parity
    monkeypatch.setattr(
        write,
        "check_parity",
        lambda *given: seen.append(sum(map(len, given[-1]))) or genuine(*given),
    )
    run(config)
    (folder,) = Path(config.runs).iterdir()
    assert seen == [40]
    assert Bundle.open(folder / "bundle").metrics.conformal is None


def test_the_command_writes_a_bundle(
    linear_run: FinishedRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["export", f"run={linear_run.folder}"])
    main()
    assert "Try it: python -m studperf.bundle show" in capsys.readouterr().out
    verify(linear_run.folder / "bundle")


@pytest.mark.parametrize("style", ["codes", "onehot"])
def test_gaps_unseen_levels_and_odd_names_go_through_a_whole_run(
    tmp_path: Path, style: str
) -> None:
    """A table of its own, with a column named as the graph's output would be, and cells that only its rules can read."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "prediction": rng.normal(1e5, 30, 300),
            "~ a|b": rng.integers(0, 4, 300),
            "smokes": rng.choice(["yes", "no"], 300),
        }
    )
    frame["city"] = rng.choice(["Bonn", "Ulm", "", "3"], 300, p=[0.5, 0.2, 0.1, 0.2])
    frame["y"] = (frame["prediction"] - 1e5) / 10 + frame["~ a|b"] * 3 + rng.normal(0, 1, 300)
    text = frame.astype(object)
    text.loc[text.index % 9 == 0, "prediction"] = ""
    text.to_csv(tmp_path / "table.csv", index=False)
    columns = {
        "prediction": {"kind": "number", "fill": "median"},
        "~ a|b": {"kind": "number"},
        "smokes": {"kind": "flag"},
        "city": {"kind": "category", "levels": ["Bonn", "Ulm"], "unseen": "other", "fill": "mode"},
    }
    plain = load_overrides(
        [
            *SMALL,
            "model=mlp",
            f"runs={tmp_path / 'runs'}",
            "encode.numbers=quantile",
            f"encode.categories={style}",
        ]
    )
    dataset = {
        "name": "odd",
        "source": {"path": str(tmp_path / "table.csv"), "otherwise": "fail"},
        "target": {"column": "y"},
        "columns": columns,
        "split": {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 0},
    }
    config = RunConfig.model_validate(plain.model_dump() | {"data": dataset, "export": True})
    run(config)
    (folder,) = Path(config.runs).iterdir()
    bundle = Bundle.open(folder / "bundle")
    assert bundle.schema.output == "prediction~"
    test = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'")
    given = pd.read_csv(tmp_path / "table.csv", dtype=str, keep_default_na=False).iloc[
        test["row"].to_numpy() - 1
    ]
    prediction = bundle.predict({str(name): given[name].tolist() for name in given if name != "y"})
    assert np.abs(prediction.predicted - test["predicted"].to_numpy()).max() <= 1e-4
    assert any("taken as" in warning for warning in prediction.warnings)
