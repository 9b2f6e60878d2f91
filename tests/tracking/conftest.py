"""No test meets a real W&B: no key, no server but the stand-in, nothing outside of tmp_path."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit.small_run import SMALL
from kit.wandb_standin import API_KEY, Standin
from studperf.config.run import RunConfig
from studperf.tracking.client import close_scribe

Train = Callable[..., subprocess.CompletedProcess[str]]
OFFLINE = "tracking.wandb.mode=offline"


@pytest.fixture(autouse=True)
def hermetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    close_scribe(20)  # each test's own, with the test's environment


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """W&B's server, and a key for it."""
    with Standin() as standin:
        monkeypatch.setenv("WANDB_BASE_URL", standin.url)
        monkeypatch.setenv("WANDB_API_KEY", API_KEY)
        yield standin
        assert standin.unknown == []


@pytest.fixture
def offline_config(small_config: Callable[..., RunConfig]) -> Callable[..., RunConfig]:
    """A small run, recorded offline."""
    return lambda *overrides: small_config(OFFLINE, *overrides)


def command(tmp_path: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "studperf.train", *SMALL, f"runs={tmp_path / 'runs'}", *overrides]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """`python -m studperf.train` on a small table, below tmp_path."""

    def start(*overrides: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(tmp_path, *overrides),
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=120,
        )

    return start


@pytest.fixture
def start_train(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The same, to be met while it runs."""
    started: list[subprocess.Popen[str]] = []

    def start(*overrides: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(tmp_path, *overrides),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
