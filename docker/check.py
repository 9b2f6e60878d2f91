"""Lints, builds and runs the images, and says their sizes and times.

    python docker/check.py [build] [serve] [train]

`build` stops after building. Without an engine, buildah builds on a stand-in for the base; see docs/images.md.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import STORE, Buildah, Engine, find_engine

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ("serve", "train")
MAX_SERVE_MB = 400
MAX_START_S = 3.0
PLANTED = "planted-secret-5f2c"
"""Lies in the build context and the environment of each build, and must be in no image."""
_UID = 1001
"""The images' user."""
_SECRETS = (".env", "data/table.csv", ".dvc/config.local", "runs/old/record.json", "key.json")


def main(words: list[str]) -> None:
    """The command."""
    chosen = [name for name in IMAGES if name in words] or list(IMAGES)
    lint()
    engine = find_engine()
    STORE.mkdir(parents=True, exist_ok=True)
    with context() as folder, tempfile.TemporaryDirectory() as work:
        for name in chosen:
            started = time.monotonic()
            engine.build(
                ROOT / "docker" / f"{name}.Dockerfile",
                f"studperf-{name}",
                folder,
                STORE / f"build-{name}.log",
            )
            say(f"{name}: built with {engine.name} in {time.monotonic() - started:.0f} s")
        if "build" in words:
            return
        for name in chosen:
            inspect(engine, name)
            {"serve": check_serve, "train": check_train}[name](engine, Path(work))
    if isinstance(engine, Buildah):
        engine.clean()
    say("Good: " + ", ".join(chosen))


def lint() -> None:
    """Hadolint on each Dockerfile."""
    files = sorted(str(path) for path in (ROOT / "docker").glob("*.Dockerfile"))
    hadolint = shutil.which(
        "hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if hadolint is None:
        raise SystemExit("hadolint is not installed; run: make setup")
    subprocess.run([hadolint, *files], check=True)
    say(f"hadolint: {len(files)} files are clean")


@contextmanager
def context() -> Iterator[Path]:
    """A copy of what git tracks or would track, with secrets planted where people keep them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for line in listed.stdout.decode().splitlines():
            if (ROOT / line).is_file() or (ROOT / line).is_symlink():
                (folder / line).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / line, folder / line, follow_symlinks=False)
        for secret in _SECRETS:
            (folder / secret).parent.mkdir(parents=True, exist_ok=True)
            (folder / secret).write_text(PLANTED, encoding="utf-8")
        os.environ["WANDB_API_KEY"] = PLANTED
        yield folder
        del os.environ["WANDB_API_KEY"]


def inspect(engine: Engine, name: str) -> None:
    """Looks through an image: its size, its user, and what must not be in it."""
    with engine.files(f"studperf-{name}") as files:
        paths = [path for path in files.rglob("*") if not path.is_symlink()]
        megabytes = (
            sum(
                size
                for _, size in {
                    (path.stat().st_ino, path.stat().st_size) for path in paths if path.is_file()
                }
            )
            / 1e6
        )
        ours = [
            path
            for path in paths
            if path.is_file() and files / "app" in path.parents and ".venv" not in path.parts
        ]
        found = [
            str(path.relative_to(files)) for path in ours if PLANTED.encode() in path.read_bytes()
        ]
        torch = [path for path in paths if path.name in ("torch", "lightning", "pandas", "sklearn")]
        compiled = len([path for path in ours if path.suffix == ".pyc"])
    user = engine.user(f"studperf-{name}")
    uid = user.split(":")[0]
    demand(
        uid.isdigit() and int(uid) > 0,
        f"{name}: runs as {user!r}, which is no numeric id other than root's",
    )
    demand(not found, f"{name}: holds what was planted in the build context: {found}")
    demand(compiled > 0, f"{name}: its code is not compiled")
    say(
        f"{name}: {megabytes:,.0f} MB unpacked, user {user}, nothing of {len(_SECRETS)} planted secrets"
    )
    if name == "serve":
        demand(not torch, f"serve: holds {torch}")
        demand(
            megabytes < MAX_SERVE_MB,
            f"serve: has {megabytes:.0f} MB unpacked, at most {MAX_SERVE_MB} were promised",
        )


def check_serve(engine: Engine, work: Path) -> None:
    """Starts the server on a bundle and holds an answer against the command's own."""
    words = [
        "data=simulated",
        "data.source.simulate.rows=2000",
        "model=linear",
        "trainer=smoke",
        "export=true",
        f"runs={work / 'runs'}",
    ]
    studperf("train", *words, "progress=false", "plots=false", "tracking.wandb.mode=disabled")
    (bundle,) = (work / "runs").glob("*/bundle")
    studperf("data", "simulate", "rows=3", f"out={work / 'rows.csv'}")
    for folder in (work, bundle.parent, work / "runs", bundle):  # the image's user is none of ours
        folder.chmod(0o755)
    port = free_port()
    started = time.monotonic()
    words = ["/bundle", "host=127.0.0.1", f"port={port}"]
    process = engine.start(
        "studperf-serve",
        words,
        mounts={bundle: "/bundle:ro"},
        network=True,
        log=STORE / "serve.log",
    )
    try:
        health = wait_for(f"http://127.0.0.1:{port}/health", process)
        took = time.monotonic() - started
        answer = ask(
            f"http://127.0.0.1:{port}/predict", {"rows": read_rows(bundle, work / "rows.csv")}
        )
    finally:
        code = engine.stop(process)
    told = studperf("bundle", "predict", str(bundle), str(work / "rows.csv"))
    expected = [float(row["predicted"]) for row in csv.DictReader(io.StringIO(told))]
    worst = max(
        abs(a["predicted"] - b) for a, b in zip(answer["predictions"], expected, strict=True)
    )
    demand(
        health["status"] == "ok" and worst < 1e-3,  # noqa: PLR2004
        f"serve: predicts {answer['predictions']}, the command {expected}",
    )
    demand(took < MAX_START_S, f"serve: answered after {took:.1f} s, {MAX_START_S} were promised")
    say(
        f"serve: answered {took:.2f} s after its start, the same predictions as the command; ended with {code} on SIGTERM"
    )


def read_rows(bundle: Path, file: Path) -> list[dict[str, object]]:
    """The rows of a CSV with the types that the bundle's schema names."""
    columns = json.loads((bundle / "schema.json").read_text(encoding="utf-8"))["columns"]
    as_type: dict[str, Callable[[str], object]] = {
        "number": float,
        "flag": lambda text: int(float(text)),
        "category": str,
    }
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            {c["name"]: as_type[c["kind"]](row[c["name"]]) for c in columns}
            for row in csv.DictReader(lines)
        ]


def check_train(engine: Engine, work: Path) -> None:
    """A run of two epochs and a sweep of two trials, as the image's user, without a network."""
    runs = work / "container-runs"
    runs.mkdir()
    os.chown(runs, _UID, _UID) if os.geteuid() == 0 else runs.chmod(0o777)
    work.chmod(0o755)
    log = STORE / "train.log"
    log.unlink(missing_ok=True)
    small = ["trainer=smoke", "data.source.simulate.rows=2000", "progress=false"]
    run(engine, small, runs, log, "trainer=smoke")
    (record,) = runs.glob("*/record.json")
    plain = json.loads(record.read_text(encoding="utf-8"))
    demand(plain["status"] == "finished", f"train: the run is {plain['status']}")
    demand(record.stat().st_uid == _UID, f"train: its files belong to {record.stat().st_uid}")
    sweep = ["-m", "sweeps=mlp", "hydra.sweeper.n_trials=2", "hydra.sweeper.winner.top=0"]
    run(engine, [*sweep, *small], runs, log, "a sweep of two trials")
    demand(
        len(list(runs.glob("sweeps/*/*/record.json"))) >= 2,  # noqa: PLR2004
        f"train: the sweep left no two records in {runs}; see {log}",
    )


def run(engine: Engine, words: list[str], runs: Path, log: Path, what: str) -> None:
    """One command of the training image, to its end."""
    started = time.monotonic()
    code = engine.start(
        "studperf-train", words, mounts={runs: "/app/runs"}, network=False, log=log
    ).wait()
    demand(code == 0, f"train: {what} ended with {code}; see {log}")
    say(f"train: {what} in {time.monotonic() - started:.0f} s without a network, as user {_UID}")


def studperf(room: str, *words: str) -> str:
    """The output of one of our commands, run here."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", f"studperf.{room}", *words]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> dict[str, str]:
    """The first answer of a server that is starting."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - of this machine
                return dict(json.load(answer))
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"no answer from {url}; see {STORE / 'serve.log'}")


def ask(url: str, body: dict[str, object]) -> dict[str, list[dict[str, float]]]:
    """What a server answers to JSON."""
    request = urllib.request.Request(  # noqa: S310 - of this machine
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - of this machine
        return dict(json.load(answer))


def demand(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like an assertion
    """Ends the check.

    Raises:
        SystemExit: the condition does not hold.
    """
    if not condition:
        raise SystemExit(otherwise)


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
