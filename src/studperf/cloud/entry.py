"""What a job's container runs: the very command that was typed, with its rows brought in and its results carried out as it goes.

python -m studperf.cloud entry --folder=gs://BUCKET/jobs/NAME [--table=... --table-md5=... --table-path=...] [--secret=VARIABLE=VERSION] -- WORDS

Exit codes: the command's own; 143 when the machine is taken away (Vertex AI starts the job again, and it goes on from the bucket).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from studperf.cloud.fetch import RUNS
from studperf.cloud.mirror import Mirror, Ticking
from studperf.cloud.presence import Presence
from studperf.cloud.replica import Replica
from studperf.cloud.words import unpack

if TYPE_CHECKING:
    from studperf.cloud.gcs import Folder
    from studperf.cloud.wire import Google

_TERMINATED = 143
"""128 + SIGTERM: Vertex AI takes an exit code above 127 for something that may go better on another machine."""
_LEAVE_S = 20
"""Of the half minute that a machine is given when it is taken away."""


def enter(arguments: Sequence[str]) -> int:
    """Does the job; returns the exit code."""
    from studperf.cloud.gcs import Folder
    from studperf.cloud.secret import take_secrets
    from studperf.cloud.wire import Google

    given, words = _read_arguments(arguments)
    replica = Replica.read(os.environ)
    google = Google(project=os.environ.get("CLOUD_ML_PROJECT_ID", ""))
    folder = Folder(google, given.folder)
    take_secrets(google, dict(secret.split("=", 1) for secret in given.secret))
    work = Path(tempfile.mkdtemp(prefix="studperf-"))
    try:
        words += _bring_table(google, given, work)
        return _work(folder, replica, words, work, given)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m studperf.cloud entry", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--folder", required=True)
    parser.add_argument("--sync-s", type=float, default=10.0)
    parser.add_argument("--table")
    parser.add_argument("--table-md5")
    parser.add_argument("--table-path")
    parser.add_argument("--study", type=unpack)
    parser.add_argument("--secret", action="append", default=[])
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    return parser.parse_args(arguments[:end]), [unpack(word) for word in arguments[end + 1 :]]


def _bring_table(google: Google, given: argparse.Namespace, work: Path) -> list[str]:
    """Puts the table where the run looks for it; returns the word that names the place, if it is another one here."""
    from studperf.cloud.gcs import Folder

    if not given.table:
        return []
    asked = Path(unpack(given.table_path))
    is_below = (
        not asked.is_absolute() and ".." not in asked.parts and not str(asked).startswith("~")
    )
    path = asked if is_below else Path("data", asked.name)
    folder, _, name = str(given.table).rpartition("/")
    Folder(google, folder).download(name, work / path, given.table_md5)
    # From the folder that the command runs in: the next machine of this run has another one.
    quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return [] if is_below else [f"data.source.path='{quoted}'"]


def _work(
    folder: Folder, replica: Replica, words: list[str], work: Path, given: argparse.Namespace
) -> int:
    """Runs the command between what the bucket has of it and what it leaves there."""
    mirror = Mirror(work / RUNS, folder.below(RUNS))
    is_shared_study = given.study is not None and replica.n > 1
    # A study in a database goes on from there; its other workers are writing to the bucket all the while.
    if not is_shared_study and (n_files := mirror.restore()):
        sys.stdout.write(
            f"{n_files} files of an earlier attempt restored from {mirror.there.uri}\n"
        )
    command = command_to_run(work / RUNS, words)
    if command is None:
        sys.stdout.write("The run has finished already; there is nothing to go on with.\n")
        return 0
    presence = Presence(replica, folder, given.sync_s)
    with ExitStack() as stack:
        if is_shared_study:
            presence.beat()
            stack.enter_context(Ticking(presence.beat, given.sync_s))
        with Ticking(mirror.sync, given.sync_s):
            code = run_child(command, os.environ, work)
        mirror.sync()  # what is not saved is lost with the machine, so an error here is the job's
        if given.study is not None and replica.is_primary and code == 0:
            if is_shared_study:
                presence.wait_for_others()
            keep_study(given.study, work)
            mirror.sync()
    if is_shared_study:
        presence.end()
    return code


def keep_study(study: str, work: Path) -> None:
    """The study as a journal, though its workers shared a database, and a page about it: what `fetch` brings home is complete."""
    from studperf.sweeps.storage import copy_to_journal

    folder = work / RUNS / "sweeps" / study
    if url := os.environ.get("STUDPERF_STORAGE"):
        copy_to_journal(study, url, folder)
    environment = {name: value for name, value in os.environ.items() if name != "STUDPERF_STORAGE"}
    run_child([sys.executable, "-m", "studperf.sweeps", "report", study], environment, work)


def command_to_run(runs: Path, words: Sequence[str]) -> list[str] | None:
    """The typed command; or, where the bucket has a run that was begun, the one that goes on with it; None if it has finished.

    A study goes on by the very same command.
    """
    train = [sys.executable, "-m", "studperf.train"]
    if "-m" in words:
        return [*train, *words]
    begun = [
        path
        for path in sorted(runs.glob("*"))
        if (path / "record.json").is_file() or (path / "repeat.yaml").is_file()
    ]
    if not begun:
        return [*train, *words]
    record = begun[-1] / "record.json"
    if record.is_file() and json.loads(record.read_text(encoding="utf-8"))["status"] == "finished":
        return None
    return [*train, f"resume={RUNS}/{begun[-1].name}"]


def run_child(command: Sequence[str], environment: Mapping[str, str], work: Path) -> int:
    """Runs the command in a folder of its own; SIGTERM, by which a machine is taken away or a job cancelled, is handed on."""
    child = subprocess.Popen(command, cwd=work, env=dict(environment))  # noqa: S603 - our own command
    is_leaving = False

    def leave(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - of a handler
        nonlocal is_leaving
        is_leaving = True
        child.terminate()
        signal.setitimer(signal.ITIMER_REAL, _LEAVE_S)

    def give_up(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - of a handler
        child.kill()

    old = signal.signal(signal.SIGTERM, leave), signal.signal(signal.SIGALRM, give_up)
    try:
        code = child.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, old[0])
        signal.signal(signal.SIGALRM, old[1])
    if is_leaving:
        return _TERMINATED
    return code if code >= 0 else 128 - code
