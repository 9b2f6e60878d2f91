import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.wandb_standin import ENTITY, Standin
from studperf.config.run import RunConfig
from studperf.errors import ConfigError, RunError
from studperf.tracking import dashboard, keys
from studperf.train.run import run

pytestmark = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince20"
)  # wandb-workspaces' own
Config = Callable[..., RunConfig]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "studperf.tracking", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


def test_every_panel_shows_what_a_run_logs(offline_config: Config) -> None:
    config = offline_config("plots=true", "trainer.max_epochs=3", "tracking.wandb.system_s=0.1")
    run(config)
    (folder,) = Path(config.runs).iterdir()
    workspace = dashboard.build(None, "p")
    assert dashboard.dead_keys(workspace, dashboard.logged_keys(folder), has_study=False) == []
    dead = dashboard.dead_keys(workspace, dashboard.logged_keys(folder))
    assert {key.section for key in dead} == {"Studies"}
    assert keys.STUDY_BEST in {key.name for key in dead}


def test_a_panel_of_a_key_that_no_run_logs_is_named() -> None:
    import wandb_workspaces.reports.v2 as panels

    workspace = dashboard.build(None, "p")
    logged = {key.name for key in dashboard.keys_of(workspace)}
    assert dashboard.dead_keys(workspace, logged) == []
    workspace.sections[1].panels.append(panels.LinePlot(title="new", x="epoch", y=["val/rmsee"]))
    assert dashboard.dead_keys(workspace, logged) == [
        dashboard.Key("Learning curves", "new", "val/rmsee")
    ]


def test_a_panel_of_a_kind_that_is_not_known_is_refused() -> None:
    import wandb_workspaces.reports.v2 as panels

    workspace = dashboard.build(None, "p")
    workspace.sections[0].panels.append(panels.MarkdownPanel("text"))
    with pytest.raises(ConfigError, match="holds a MarkdownPanel"):
        dashboard.keys_of(workspace)


def test_keys_of_each_kind_of_panel_are_found() -> None:
    names = {key.name for key in dashboard.keys_of(dashboard.build(None, "p"))}
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
        dashboard.logged_keys(tmp_path)


@pytest.mark.slow
def test_applying_twice_updates_the_one_view(server: Standin) -> None:
    for _ in range(2):
        done = command("dashboard", "apply", "project=studperf")
        assert done.returncode == 0, done.stderr
        assert f"{server.url}/{ENTITY}/studperf" in done.stdout
    (view,) = server.views.values()
    dumped = command("dashboard", "dump", f"entity={ENTITY}")
    assert [s["name"] for s in sections(json.loads(view["spec"]))] == [
        s["name"] for s in sections(json.loads(dumped.stdout))
    ]


@pytest.mark.slow
def test_applying_leaves_no_temporary_folder(
    server: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = command("dashboard", "apply", "project=studperf")
    assert done.returncode == 0, done.stderr
    assert f"{server.url}/{ENTITY}/studperf" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_server_that_is_not_there_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(RunError, match=r"^http://127.0.0.1:9 can't be reached: "):
        dashboard.apply(dashboard.build("somebody", "p"))


def sections(spec: dict[str, object]) -> list[dict[str, str]]:
    return spec["section"]["panelBankConfig"]["sections"]


@pytest.mark.slow
def test_check_makes_a_study_of_its_own() -> None:
    done = command("dashboard", "check")
    assert (done.returncode, "Every panel shows what runs and studies log." in done.stdout) == (
        0,
        True,
    ), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say what to do: sync or dashboard"),
        (["synk"], "nearest valid name is 'sync'"),
        (["dashboard"], "check, dump or apply"),
        (["dashboard", "dump", "projct=x"], "nearest valid name is 'project'"),
        (["dashboard", "dump", "run=nowhere"], "run: unknown"),
        (["dashboard", "check", "run=nowhere"], "nowhere: there is no such folder"),
        (["sync", "nowhere"], "nowhere: there is no such folder"),
        (["dashboard", "apply"], "there is no key"),
    ],
)
def test_a_wrong_command_is_refused(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studperf.tracking.__main__ import main

    monkeypatch.setattr(sys, "argv", ["tracking", *words])
    with pytest.raises((ConfigError, RunError), match=says):
        main()


def test_help_names_the_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from studperf.tracking.__main__ import main

    monkeypatch.setattr(sys, "argv", ["tracking", "--help"])
    assert main() is None
    assert "Exit codes: 0 all there" in capsys.readouterr().out
