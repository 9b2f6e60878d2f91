"""No test meets a real Google Cloud: every request goes to the stand-in, and nobody is logged in."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit.google_standin import GoogleStandin
from studperf.cloud.google.session import Google
from studperf.cloud.google.vertex import Vertex

Command = Callable[..., subprocess.CompletedProcess[str]]
PLACE = ("cloud.project=my-project", "cloud.bucket=gs://my-bucket/studperf")
QUICK = ("cloud=vertex", "cloud.sync_s=0.2", *PLACE)


@pytest.fixture(autouse=True)
def hermetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name
        for name in os.environ
        if name.startswith(("GOOGLE_", "CLOUDSDK_", "STUDPERF_", "CLUSTER_SPEC"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("STUDPERF_GOOGLE_ENDPOINT", "http://127.0.0.1:9")  # nobody is there


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleStandin]:
    with GoogleStandin(tmp_path / "standin") as running:
        monkeypatch.setenv("STUDPERF_GOOGLE_ENDPOINT", running.url)
        yield running


@pytest.fixture
def google(standin: GoogleStandin) -> Google:
    return Google("my-project", "europe-west1", wait_s=0.01, patience_s=1.0)


@pytest.fixture
def vertex(google: Google) -> Vertex:
    return Vertex(google)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """`python -m studperf.ROOM WORDS`, in a folder of its own."""

    def start(room: str, *words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", f"studperf.{room}", *words]
        return subprocess.run(
            line, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=180
        )

    return start
