"""The command of a job's container: bring the rows in, run what was typed, carry the results out.

python -m studperf.cloud entry --folder=gs://BUCKET/jobs/NAME [--table=... --table-md5=...
--table-path=...] [--secret=VARIABLE=VERSION] -- WORDS

Exit codes: the command's own; 143 when the machine is taken away (Vertex AI starts the job again,
and it goes on from the bucket).
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

from studperf.cloud.container.heartbeat import Presence
from studperf.cloud.container.machines import Replica
from studperf.cloud.container.mirror import Mirror, Ticking
from studperf.cloud.container.quoting import unpack
from studperf.cloud.fetch import RUNS
from studperf.config.secrets import STORAGE_VARIABLE
from studperf.record.files import RECORD, STUDIES

if TYPE_CHECKING:
    from studperf.cloud.google.bucket import Folder
    from studperf.cloud.google.session import Google

# 128 + SIGTERM: Vertex AI takes an exit code above 127 for something that may go better on
# another machine.
_TERMINATED = 143
# A machine that is taken away is given half a minute; the rest is for the last copy to the bucket.
_LEAVE_S = 20


def enter(arguments: Sequence[str]) -> int:
    """Do the job of a container; return the exit code."""
    from studperf.cloud.google.bucket import Folder
    from studperf.cloud.google.secrets import take_secrets
    from studperf.cloud.google.session import Google

    given, words = _read_arguments(arguments)
    replica = Replica.read(os.environ)
    # A project's number, not its name; here it stands in messages alone.
    google = Google(project=os.environ.get("CLOUD_ML_PROJECT_ID", ""))
    folder = Folder(google, given.folder)
    versions = dict(secret.split("=", 1) for secret in given.secret)
    take_secrets(google, versions)

    work = Path(tempfile.mkdtemp(prefix="studperf-"))
    try:
        words += _bring_table(google, given, work)
        return _work(folder, replica, words, work, given)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the container's arguments into its options and the words of the run after `--`."""
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
    end = len(arguments)
    if "--" in arguments:
        end = list(arguments).index("--")
    given = parser.parse_args(arguments[:end])
    words = [unpack(word) for word in arguments[end + 1 :]]
    return given, words


def _bring_table(google: Google, given: argparse.Namespace, work: Path) -> list[str]:
    """Download the table to where the run looks for it; return the override if it is elsewhere.

    A path outside of the run's folder can't be had in a container, so it becomes one below data/.
    """
    from studperf.cloud.google.bucket import Folder

    if not given.table:
        return []
    asked = Path(unpack(given.table_path))
    leads_out = asked.is_absolute() or ".." in asked.parts or str(asked).startswith("~")
    path = asked
    if leads_out:
        path = Path("data", asked.name)
    folder, _, name = str(given.table).rpartition("/")
    Folder(google, folder).download(name, work / path, given.table_md5)

    if not leads_out:
        return []
    # Relative to the folder that the command runs in: the next machine of this run has another one.
    quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return [f"data.source.path='{quoted}'"]


def _work(
    folder: Folder, replica: Replica, words: list[str], work: Path, given: argparse.Namespace
) -> int:
    """Restore an earlier attempt from the bucket, run the command, and copy its files there."""
    mirror = Mirror(work / RUNS, folder.below(RUNS))
    is_shared_study = given.study is not None and replica.n > 1
    # A study in a database goes on from there; its other workers are writing to the bucket
    # all the while.
    if not is_shared_study:
        n_files = mirror.restore()
        if n_files:
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
        # What is not saved is lost with the machine, so an error here is the job's.
        mirror.sync()
        if given.study is not None and replica.is_primary and code == 0:
            if is_shared_study:
                presence.wait_for_others()
            keep_study(given.study, work)
            mirror.sync()
    if is_shared_study:
        presence.end()
    return code


def keep_study(study: str, work: Path) -> None:
    """Write the study as a journal and a page, so that `fetch` brings home all of it.

    Workers on several machines share a database, which is not in the bucket.
    """
    from studperf.sweeps.storage import copy_to_journal

    folder = work / RUNS / STUDIES / study
    environment = dict(os.environ)
    url = environment.pop(STORAGE_VARIABLE, None)
    if url:
        copy_to_journal(study, url, folder)
    # Without the database's address the page is made from the journal.
    run_child([sys.executable, "-m", "studperf.sweeps", "report", study], environment, work)


def command_to_run(runs: Path, words: Sequence[str]) -> list[str] | None:
    """Return the command to start: the typed one, or the one that resumes a run from the bucket.

    None if that run has finished. A study goes on by the very same command.
    """
    train = [sys.executable, "-m", "studperf.train"]
    if "-m" in words:
        return [*train, *words]

    begun = [path for path in sorted(runs.glob("*")) if _is_begun(path)]
    if not begun:
        return [*train, *words]

    record = begun[-1] / RECORD
    if record.is_file():
        status = json.loads(record.read_text(encoding="utf-8"))["status"]
        if status == "finished":
            return None
    return [*train, f"resume={RUNS}/{begun[-1].name}"]


def _is_begun(folder: Path) -> bool:
    """Return True if a folder is that of a run, or of repeated runs, that was begun."""
    return (folder / RECORD).is_file() or (folder / "repeat.yaml").is_file()


def run_child(command: Sequence[str], environment: Mapping[str, str], work: Path) -> int:
    """Run the command in a folder of its own, and hand SIGTERM on to it; return its exit code.

    By SIGTERM a machine is taken away or a job cancelled.
    """
    child = subprocess.Popen(command, cwd=work, env=dict(environment))  # noqa: S603 - our own command
    is_leaving = False

    def leave(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
        nonlocal is_leaving
        is_leaving = True
        child.terminate()
        signal.setitimer(signal.ITIMER_REAL, _LEAVE_S)

    def give_up(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as above
        child.kill()

    old_terminate = signal.signal(signal.SIGTERM, leave)
    old_alarm = signal.signal(signal.SIGALRM, give_up)
    try:
        code = child.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, old_terminate)
        signal.signal(signal.SIGALRM, old_alarm)

    if is_leaving:
        return _TERMINATED
    if code < 0:  # killed by a signal, which a shell reports as 128 + its number
        return 128 - code
    return code
