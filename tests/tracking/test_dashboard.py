import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.wandb_standin import ENTITY, Standin
from studperf.errors import ConfigError, RunError
from studperf.tracking import dashboard

pytestmark = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince20"
)  # wandb-workspaces' own


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "studperf.tracking", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say what to do: sync or dashboard"),
        (["synk"], "nearest valid name is 'sync'"),
        (["dashboard"], "check, dump or apply"),
        (["dashboard", "dump", "projct=x"], "nearest valid name is 'project'"),
        (["dashboard", "dump", "run=nowhere"], "run: unknown"),
        (["dashboard", "check", "run=nowhere"], "nowhere: there is no such folder"),
        (["dashboard", "check"], "there is no study with a winner below runs .* run=FOLDER"),
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
