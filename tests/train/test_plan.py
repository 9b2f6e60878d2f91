"""A multirun knows all of its runs from the start, and goes on with those that were never begun."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from rich.console import Console

from kit.small_run import SMALL
from studperf.config.load import load_overrides
from studperf.config.run import RunConfig
from studperf.errors import ConfigError, RunError
from studperf.record.record import RunRecord
from studperf.report.summary import show_summary
from studperf.train.plan import PLAN, Plan, WritePlan, find_progress, holds_several, load_recorded
from studperf.train.run import run
from studperf.train.runs import find_jobs, open_repeat, run_many
from studperf.train.session import Session, resume_several

Config = Callable[..., RunConfig]
OWN_MODEL = """
from torch import Tensor, nn

from studperf.config.types import Number
from studperf.data.encode import FeatureSpec


class A(nn.Module):
    def __init__(self, features: FeatureSpec, *, start: Number) -> None:
        super().__init__()
        self.start = start
        self.line = nn.Linear(features.n_numbers, 1)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        return self.line(x_num).squeeze(-1) + self.start
"""


def quiet() -> Console:
    return Console(file=io.StringIO(), width=300)


def summary_of(folder: Path) -> str:
    console = Console(width=300, record=True, file=io.StringIO())
    show_summary(folder, console)
    return console.export_text()


def write_own(folder: Path) -> None:
    """A model of the user's own, under two names."""
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "ownmodel.py").write_text(OWN_MODEL)
    for name, start in (("aa", 0), ("bb", 1)):
        text = f"_target_: ownmodel.A\nstart: {start}\n"
        (folder / "conf" / "model" / f"{name}.yaml").write_text(text)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_own(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multirun of three runs, the second of two seeds, of which one run and one seed have been made."""
    folder = tmp_path_factory.mktemp("multirun") / "a_multirun"
    all_have = [*SMALL, "tracking.wandb.mode=disabled", f"runs={folder.parent}"]
    sweeps = [
        [*all_have, "model=linear", "++data.allow_leaks=[]"],
        [*all_have, "model=mlp", "repeat=2"],
        [*all_have, "model=mean"],
    ]
    Plan.of_sweep(sweeps, repeat=1).save(folder)
    for name, words in (("0_linear_seed0", ["model=linear"]), ("1_mlp_seed0", ["model=mlp"])):
        run(load_overrides([*all_have, *words]), overrides=words, folder=folder / name)
    return folder


@pytest.fixture
def begun(made_once: Path, tmp_path: Path) -> Path:
    """A copy, for a test to go on with."""
    return Path(shutil.copytree(made_once, tmp_path / "a_multirun"))


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = Plan.of_sweep([["+model=linear", "repeat=3"], ["model='a b'"], []], repeat=2)
    plan.save(tmp_path)
    assert Plan.load(tmp_path) == plan
    assert [one.n_runs for one in plan.runs] == [3, 2, 2]
    assert plan.runs[0].plain_words == ["model=linear", "repeat=3"]
    assert Plan.load(tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", ["", "[", "runs: 3", "runs: [{words: 3}]", "runs: []", "\0"])
def test_a_damaged_plan_is_refused_in_words(text: str, tmp_path: Path) -> None:
    (tmp_path / PLAN).write_text(text)
    with pytest.raises(RunError, match=r"plan\.yaml: is no plan of a multirun"):
        find_jobs(tmp_path)


def hydra_config(folder: Path, sweeper: str, *words: str) -> object:
    hydra = {
        "sweeper": {"_target_": sweeper, "params": {"batch_size": "32,64"}},
        "overrides": {"task": list(words)},
        "sweep": {"dir": str(folder)},
    }
    return OmegaConf.create({"repeat": 1, "hydra": hydra})


def test_hydra_writes_the_plan_in_the_order_of_its_jobs(tmp_path: Path) -> None:
    sweeper = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
    words = ("model=linear,mlp", "seed=range(2)", "optimizer.lr=1e-3")
    WritePlan().on_multirun_start(hydra_config(tmp_path, sweeper, *words))  # type: ignore[arg-type]
    plan = Plan.load(tmp_path)
    assert plan is not None
    assert len(plan.runs) == 8
    assert plan.runs[1].words == ("batch_size=32", "model=linear", "seed=1", "optimizer.lr=0.001")
    assert plan.runs[7].words == ("batch_size=64", "model=mlp", "seed=1", "optimizer.lr=0.001")


def test_a_study_has_no_plan_of_ours(tmp_path: Path) -> None:
    sweeper = "hydra_plugins.studperf_sweeper.StudperfSweeper"
    WritePlan().on_multirun_start(hydra_config(tmp_path, sweeper))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_runs_that_were_never_begun_are_named_and_begun(begun: Path) -> None:
    assert find_progress(begun).n_planned == 4
    text = summary_of(begun)
    assert "2 of 4 runs" in text
    assert "Not begun: 1: model=mlp repeat=2; 2: model=mean\n" in text
    assert f"Go on with: python -m studperf.train resume={begun}" in text
    before = {path: path.read_bytes() for path in begun.glob("*/record.json")}
    jobs = find_jobs(begun)
    assert [job.folder.name for job in jobs if job.folder] == ["1_mlp_seed1", "2_mean_seed0"]
    run_many(jobs, run, quiet())
    records = {
        path.parent.name: RunRecord.load(path.parent) for path in begun.glob("*/record.json")
    }
    assert sorted(records) == ["0_linear_seed0", "1_mlp_seed0", "1_mlp_seed1", "2_mean_seed0"]
    assert {record.status for record in records.values()} == {"finished"}
    assert records["1_mlp_seed1"].seed == 1
    assert "model=mean" in records["2_mean_seed0"].overrides
    assert all(path.read_bytes() == content for path, content in before.items())
    assert "4 runs" in summary_of(begun)
    assert "Go on with" not in summary_of(begun)
    assert find_jobs(begun) == []


def test_a_folder_that_a_killed_run_left_empty_is_begun_again(begun: Path) -> None:
    (begun / "2_mean_seed0").mkdir()
    run_many(find_jobs(begun), run, quiet())
    assert len(list(begun.iterdir())) == 5
    assert "4 runs" in summary_of(begun)


def test_an_interrupted_run_is_gone_on_with_by_its_record(begun: Path) -> None:
    record = RunRecord.load(begun / "0_linear_seed0")
    record.status, record.judgement = "interrupted", None
    record.config["trainer"]["max_epochs"] = 3
    record.save(begun / "0_linear_seed0")
    first = find_jobs(begun)[0]
    assert first.folder == begun / "0_linear_seed0"
    assert first.config.trainer["max_epochs"] == 3
    text = summary_of(begun)
    assert "1 of 4 runs" in text
    assert "Interrupted: 0_linear_seed0\n" in text


def test_a_multirun_of_an_earlier_version_is_known_by_what_lies_there(begun: Path) -> None:
    (begun / PLAN).unlink()
    assert holds_several(begun)
    record = RunRecord.load(begun / "1_mlp_seed0")
    record.status, record.judgement = "interrupted", None
    record.save(begun / "1_mlp_seed0")
    assert [job.folder for job in find_jobs(begun)] == [begun / "1_mlp_seed0"]
    assert "1 of 2 runs" in summary_of(begun)


def test_a_multirun_that_was_killed_before_its_first_run_is_begun(begun: Path) -> None:
    for path in sorted(begun.glob("*/*"), reverse=True):
        path.unlink() if path.is_file() else None
    assert holds_several(begun)
    assert len(find_jobs(begun)) == 4


def test_a_repeated_run_says_which_seeds_are_missing(small_config: Config) -> None:
    words = ["repeat=3", "seed=4"]
    folder, jobs = open_repeat(small_config(*words), words)
    run(jobs[1].config, overrides=jobs[1].overrides, folder=jobs[1].folder)
    text = summary_of(folder)
    assert "1 of 3 runs" in text
    assert "Not begun: seed=4; seed=6\n" in text


@pytest.mark.parametrize(
    "word",
    ["model._target_=subprocess.Popen", "model={_target_:os.system}", "seed=${oc.env:PLANTED}"],
)
def test_a_plan_names_no_code_and_reads_no_environment(
    word: str, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "271828")
    Plan.of_sweep([[*SMALL, "model=linear"], [*SMALL, "model=mlp", word]], repeat=1).save(begun)
    (begun / "1_mlp_seed0" / "record.json").unlink()
    with pytest.raises(RunError, match="start it yourself: ") as caught:
        find_jobs(begun)
    assert "271828" not in str(caught.value)


def test_a_plan_that_can_not_be_composed_any_more_says_so(begun: Path) -> None:
    Plan.of_sweep([["model=gone"]], repeat=2).save(begun)
    with pytest.raises(ConfigError, match=r"model=gone: .*gone"):
        find_jobs(begun)


@pytest.mark.usefixtures("own")
def test_a_model_of_ones_own_goes_on_where_the_own_conf_still_names_it(
    small_config: Config, tmp_path: Path
) -> None:
    config = small_config("model=bb", "seed=3")
    words = [*SMALL, "tracking.wandb.mode=disabled", f"runs={config.runs}", "model=bb", "seed=3"]
    assert load_recorded(config.model_dump(mode="json"), words) == config
    (tmp_path / "conf" / "model" / "bb.yaml").write_text("_target_: ownmodel.A\nstart: 2\n")
    with pytest.raises(ConfigError, match=r"only studperf\.models\. is taken"):
        load_recorded(config.model_dump(mode="json"), words)
    hostile = config.model_dump(mode="json") | {"model": {"_target_": "ownmodel.A", "start": 2}}
    with pytest.raises(ConfigError, match=r"only studperf\.models\. is taken"):
        load_recorded(hostile, [*words, "model._target_=ownmodel.A"])


def test_going_on_with_what_has_finished_says_so(
    begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (begun / PLAN).unlink()
    resume_several(begun, Session())
    assert "all of its runs have finished" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_multirun_that_was_stopped_goes_on_to_its_end(
    number: signal.Signals, tmp_path: Path
) -> None:
    write_own(tmp_path)
    words = ["-m", "model=aa,bb,linear", "seed=0,1", "data=simulated", "threads=1", "plots=false"]
    words += ["data.source.simulate.rows=400", "trainer.max_epochs=60", "progress=false"]
    words += ["monitor.patience=99", "tracking.wandb.mode=disabled"]
    command = [sys.executable, "-m", "studperf.train", *words]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": tmp_path}
    process = subprocess.Popen(command, **piped)  # type: ignore[call-overload]
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if any(tmp_path.glob("runs/*/1_aa_seed1/record.json")):
            break
        time.sleep(0.02)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=60)
    (folder,) = (tmp_path / "runs").iterdir()
    plan = yaml.safe_load((folder / PLAN).read_text())
    assert len(plan["runs"]) == 6
    n_left = len(list(folder.glob("*/record.json")))
    assert n_left < 6
    if number == signal.SIGINT:
        assert process.returncode == 130, output
        assert "of 6 runs" in output
        assert f"resume={Path('runs') / folder.name}" in output
    compared = subprocess.run(
        [sys.executable, "-m", "studperf.compare", str(folder)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert compared.returncode == 0, compared.stderr
    assert f"studperf.train resume={folder / '1_aa_seed1'}" in compared.stdout
    again = subprocess.run(
        [sys.executable, "-m", "studperf.train", f"resume={folder}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=240,
        check=False,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "6 runs" in again.stdout
    names = sorted(path.parent.name for path in folder.glob("*/record.json"))
    assert names == [
        f"{i}_{name}_seed{i % 2}"
        for i, name in enumerate(["aa", "aa", "bb", "bb", "linear", "linear"])
    ]
    assert {RunRecord.load(folder / name).status for name in names} == {"finished"}
