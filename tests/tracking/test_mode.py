import subprocess
import sys
from pathlib import Path

import pytest

from studperf.errors import ConfigError
from studperf.tracking.mode import choose_mode, has_key, server_url


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        pytest.param("auto", {}, "offline", id="auto without a key"),
        pytest.param("auto", {"WANDB_API_KEY": "k" * 40}, "online", id="auto with a key"),
        pytest.param(
            "auto",
            {"WANDB_API_KEY": "k" * 40, "WANDB_MODE": "offline"},
            "offline",
            id="auto heeds WANDB_MODE",
        ),
        pytest.param(
            "auto",
            {"WANDB_MODE": "disabled"},
            "disabled",
            id="auto can be switched off for a shell",
        ),
        pytest.param("online", {}, "online", id="online as asked"),
        pytest.param(
            "offline", {"WANDB_API_KEY": "k" * 40}, "offline", id="offline in spite of a key"
        ),
        pytest.param("disabled", {"WANDB_MODE": "online"}, "disabled", id="disabled as asked"),
        pytest.param("online", {"RANK": "1"}, "disabled", id="second of two processes"),
        pytest.param(
            "online",
            {"NODE_RANK": "1", "LOCAL_RANK": "0"},
            "disabled",
            id="first process of the second machine",
        ),
        pytest.param(
            "online", {"RANK": "0", "LOCAL_RANK": "0"}, "online", id="first of two processes"
        ),
    ],
)
def test_the_mode_is_chosen(
    asked: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert choose_mode(asked) == expected


def test_a_key_for_the_server_is_found_in_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_key()
    (tmp_path / "netrc").write_text(
        "machine other.example login user password x\ndefault login me password y\n"
    )
    assert not has_key()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.other.example")
    assert not has_key()


def test_a_netrc_that_can_not_be_read_holds_no_key(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine\n")
    assert not has_key()


def test_the_server_is_the_one_that_wandb_login_wrote_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server_url() == "https://api.wandb.ai"
    folder = tmp_path / "wandb-config"
    folder.mkdir()
    (folder / "settings").write_text("[default]\nbase_url = https://own.example/\n")
    assert server_url() == "https://own.example"
    monkeypatch.setenv("WANDB_BASE_URL", "https://first.example/")
    assert server_url() == "https://first.example"


def test_choosing_and_telling_import_no_wandb() -> None:
    script = "import sys, studperf.tracking.tracker; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_mode_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disable")
    with pytest.raises(
        ConfigError, match="WANDB_MODE=disable: is no mode; valid: online, offline, disabled"
    ):
        choose_mode("auto")
