"""Nothing that we start phones home: the switches, and what the kernel sees of each command."""

import functools
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit import strace
from kit.small_run import SMALL
from studperf.cli.telemetry import SWITCHES
from studperf.config.paths import project_root
from studperf.serving.health import is_healthy

OPPOSITE = {"ORT_DISABLE_TELEMETRY": "0", "WANDB_ERROR_REPORTING": "true", "DO_NOT_TRACK": "0"}
"""What a shell may have left behind, or somebody has asked for."""
CACHES = (".cache/matplotlib", ".config/matplotlib")
"""Below the home folder; docs/privacy.md names them."""


def printed_by(script: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("module", ["studperf", "studperf.bundle", "studperf.tracking.process"])
def test_whatever_is_imported_first_the_switches_are_set(module: str) -> None:
    script = f"import {module}, os\nfor name in {list(SWITCHES)}: print(os.environ[name])"
    assert printed_by(script, **OPPOSITE) == list(SWITCHES.values())


def test_the_switches_cost_no_import() -> None:
    script = (
        "import os, sys\nold = set(sys.modules)\nimport studperf\n"
        "print(sorted(set(sys.modules) - old))"
    )
    assert printed_by(script) == ["['studperf', 'studperf.cli', 'studperf.cli.telemetry']"]


@pytest.mark.slow
def test_the_libraries_heed_the_switches() -> None:
    script = (
        "import studperf\n"
        "from wandb.env import error_reporting_enabled\n"
        "from dvc.analytics import is_enabled\n"
        "from iterative_telemetry import IterativeTelemetryLogger\n"
        "print(error_reporting_enabled(), is_enabled())\n"
        "print(IterativeTelemetryLogger('tool', '1', enabled=lambda: True).is_enabled())"
    )
    assert printed_by(script, **OPPOSITE) == ["False False", "False"]


@pytest.mark.parametrize("name", ["serve", "train"])
def test_an_image_has_the_switches_too(name: str) -> None:
    text = (project_root() / "docker" / f"{name}.Dockerfile").read_text(encoding="utf-8")
    last = text.rsplit("FROM ${BASE}", maxsplit=1)[-1].replace("\\\n", " ")
    given = dict(
        re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^ENV (.*)$", last, re.MULTILINE)))
    )
    assert given.items() >= SWITCHES.items()


def test_the_listener_hears_what_phones_home(tmp_path: Path) -> None:
    """Planted: a look-up, a socket to the outside, one that listens to all, and a device id."""
    need_strace()
    (tmp_path / "work").mkdir()
    script = (
        "import os, socket\n"
        "def udp(): return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "udp().connect(('127.0.0.53', 53))\n"  # sends nothing: a datagram's socket only notes it
        "udp().connect(('127.0.0.1', 8080))\n"
        "udp().bind(('0.0.0.0', 0))\n"
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind(('::1', 0))\n"
        "open('inside', 'w').close()\n"
        "os.mkdir('../.cache'); open('../.cache/id', 'w').close()\n"
        "os.rename('inside', '../moved')\n"
    )
    log = tmp_path / "log"
    place = tmp_path / "work"
    process = strace.begin([sys.executable, "-c", script], log=log, folder=place, environment={})
    assert process.communicate(timeout=60)[1] == ""
    assert strace.find_outgoing(log) == ["bind 0.0.0.0 port 0", "connect 127.0.0.53 port 53"]
    written = strace.find_written(log, folder=place, but_below=[place])
    assert written == [str(tmp_path / name) for name in (".cache", ".cache/id", "moved")]


@functools.cache
def is_deaf() -> bool:
    return not strace.can_trace()


def need_strace() -> None:
    if is_deaf():
        pytest.skip("strace is not installed, or may not trace: apt-get install strace")


@dataclass
class Walk:
    """Commands given one after the other, each listened to, in a folder of their own."""

    base: Path
    temporary: Path
    faults: dict[str, list[str]]
    n: int = 0

    @property
    def work(self) -> Path:
        return self.base / "work"

    @property
    def environment(self) -> dict[str, str]:
        """An empty home, no key of any service, and switches that say the opposite."""
        own = {"HOME": str(self.base / "home"), "TMPDIR": str(self.temporary)}
        plain = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        return {**plain, **own, **OPPOSITE, "OMP_NUM_THREADS": "1"}

    def command(self, room: str, *words: object, code: int = 0) -> None:
        self.start([sys.executable, "-m", f"studperf.{room}", *words], code=code)

    def start(
        self,
        words: Sequence[object],
        *,
        code: int = 0,
        meanwhile: Callable[[subprocess.Popen[str]], None] | None = None,
    ) -> None:
        self.n += 1
        log = self.base / f"{self.n}.log"
        process = strace.begin(words, log=log, folder=self.work, environment=self.environment)
        if meanwhile is not None:
            meanwhile(process)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == code, errors[-2000:]
        caches = [self.base / "home" / cache for cache in CACHES]
        but_below = [self.work, self.temporary, *caches]
        outside = strace.find_written(log, folder=self.work, but_below=but_below)
        if faults := [*strace.find_outgoing(log), *outside]:
            self.faults[" ".join(map(str, words[1:]))] = faults


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    need_strace()
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    # A short name: where it leaves no room for that of a socket, W&B's process takes /tmp instead.
    with tempfile.TemporaryDirectory(prefix="sp-") as temporary:
        walk = Walk(tmp_path, Path(temporary), {})
        yield walk
    assert walk.faults == {}


@pytest.mark.slow
def test_trees_are_grown_and_read_back_here(walk: Walk) -> None:
    walk.command("train", *SMALL[:-1], "model=lightgbm", "export=true", "runs=runs")
    (run,) = (walk.work / "runs").glob("2*")
    walk.command("evaluate", f"run={run}")
    walk.command("reproduce", f"run={run}")


@pytest.mark.slow
def test_a_run_and_what_is_done_with_it_stays_here(walk: Walk) -> None:
    walk.command("train", *SMALL[:-1], "model=linear", "export=true", "runs=runs")
    (run,) = (walk.work / "runs").glob("2*")
    walk.command("data", "simulate", "data=simulated", "out=table.csv", "rows=300")
    walk.command("bundle", "verify", run)
    walk.command("bundle", "show", run)
    walk.command("bundle", "predict", run, "table.csv")
    walk.command("evaluate", f"run={run}")
    walk.command("reproduce", f"run={run}")
    walk.command("export", f"run={run}")
    walk.command("report", f"run={run}")
    walk.command("report", "runs=runs")
    walk.command("compare", *sorted((walk.work / "runs").glob("2*")))
    walk.command("tracking", "sync", "runs=runs", code=2)
    door = (
        "from pathlib import Path\nfrom studperf.bundle import Bundle\n"
        f"Bundle.open(Path({str(run / 'bundle')!r}))"
    )
    walk.start([sys.executable, "-c", f"{door}\nimport time\ntime.sleep(2)"])

    port = free_port()

    def ask_and_end(server: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 60
        while not is_healthy(port) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2)
        os.killpg(server.pid, signal.SIGTERM)

    words = [sys.executable, "-m", "studperf.serving", run, f"port={port}"]
    walk.start(words, meanwhile=ask_and_end)


@pytest.mark.slow
def test_tables_and_studies_stay_here(walk: Walk) -> None:
    walk.command("data", "simulate", "data=simulated", "out=table.csv", "rows=300")
    walk.command("data", "infer", "table.csv", "target=final_score", "out=table.yaml")
    walk.command("data", "check", "data=simulated")
    walk.command("data", "report", "data=simulated", "out=page")
    walk.command("data", "fetch", "dvc=table.csv.dvc", code=2)
    walk.command("train", *SMALL, "cloud=vertex", "cloud.dry_run=true")
    sweeper = ("study=here", "n_trials=2", "n_jobs=2", "winner={top:1,seeds:1}")
    words = [f"hydra.sweeper.{word}" for word in sweeper]
    lr = "optimizer.lr=interval(1e-3,1e-2)"
    walk.command("train", "-m", *SMALL, "model=linear", "hydra/sweeper=optuna", *words, lr)
    walk.command("sweeps", "list")
    walk.command("sweeps", "show", "here")
    walk.command("sweeps", "report", "here")
