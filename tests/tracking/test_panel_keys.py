import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from studperf.config.run import RunConfig
from studperf.errors import ConfigError, RunError
from studperf.tracking import dashboard, keys, panel_keys
from studperf.tracking.__main__ import main
from studperf.train.run import run

pytestmark = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince20"
)  # wandb-workspaces' own
Config = Callable[..., RunConfig]
STUDY = (
    "-m",
    "data=simulated",
    "data.source.simulate.rows=1000",
    "trainer.max_epochs=20",
    "progress=false",
    "threads=1",
    "hydra/sweeper=optuna",
    "hydra.sweeper.study=check",
    "hydra.sweeper.n_trials=2",
    "hydra.sweeper.winner={top:1,seeds:1}",
    "tracking.wandb.mode=offline",
    "tracking.wandb.system_s=1",
    "optimizer.lr=interval(1e-3,1e-2)",
)
"""Two short trials and a winner, which log every key that there is."""


def test_every_panel_shows_what_a_run_logs(offline_config: Config) -> None:
    config = offline_config("plots=true", "trainer.max_epochs=3", "tracking.wandb.system_s=0.1")
    run(config)
    (folder,) = Path(config.runs).iterdir()
    workspace = dashboard.build(None, "p")
    assert panel_keys.dead_keys(workspace, panel_keys.logged_keys(folder), has_study=False) == []
    dead = panel_keys.dead_keys(workspace, panel_keys.logged_keys(folder))
    assert {key.section for key in dead} == {"Studies"}
    assert keys.STUDY_BEST in {key.name for key in dead}


def test_a_panel_of_a_key_that_no_run_logs_is_named() -> None:
    import wandb_workspaces.reports.v2 as panels

    workspace = dashboard.build(None, "p")
    logged = {key.name for key in panel_keys.keys_of(workspace)}
    assert panel_keys.dead_keys(workspace, logged) == []
    workspace.sections[1].panels.append(panels.LinePlot(title="new", x="epoch", y=["val/rmsee"]))
    assert panel_keys.dead_keys(workspace, logged) == [
        panel_keys.Key("Learning curves", "new", "val/rmsee")
    ]


def test_a_panel_of_a_kind_that_is_not_known_is_refused() -> None:
    import wandb_workspaces.reports.v2 as panels

    workspace = dashboard.build(None, "p")
    workspace.sections[0].panels.append(panels.MarkdownPanel("text"))
    with pytest.raises(ConfigError, match="holds a MarkdownPanel"):
        panel_keys.keys_of(workspace)


def test_keys_of_each_kind_of_panel_are_found() -> None:
    names = {key.name for key in panel_keys.keys_of(dashboard.build(None, "p"))}
    assert {
        keys.EPOCH,
        "train/loss",
        keys.BEST_VALUE,
        "optimizer.lr",
        "plots/parity",
        keys.SLICES,
        "record.model",
        "test/rmse",
    } <= names
    assert set(keys.SYSTEM) <= names


def test_what_ran_untracked_can_not_be_checked_by(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no W&B log"):
        panel_keys.logged_keys(tmp_path)


@pytest.mark.slow
def test_every_panel_shows_what_runs_and_studies_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-m", "studperf.train", *STUDY], check=True)
    monkeypatch.setattr(sys, "argv", ["tracking", "dashboard", "check"])
    code = main()
    said = capsys.readouterr().out
    assert code is None, said
    assert "Checking by runs/sweeps/check" in said
    assert "Every panel shows what runs and studies log." in said
