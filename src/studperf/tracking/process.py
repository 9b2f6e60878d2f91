"""The process that talks to W&B: it reads messages from its input and answers on its output.

Each is a line of JSON. The process ends with its input. If that happens in the middle of a run, the
process that trained was killed, and the run is marked so.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Protocol

Message = dict[str, Any]
Reply = Callable[[Message], None]
KILLED = 137
"""Exit code of a killed run, as a shell reports SIGKILL."""
ARRIVED = "arrived.json"
"""File beside a log that the server has."""
# A server's refusal may be a whole page.
_MAX_SHOWN = 400


class Scribe:
    """Carries out messages at W&B, one run at a time."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._about: Message = {}
        self._run: Any = None
        self._failed = False

    def take(self, message: Message) -> None:
        """Carry out a message.

        The first failure of a run is sent back; then the run's other messages are dropped.
        """
        actions: dict[str, Callable[[Message], None]] = {
            "start": self._start,
            "row": self._log_row,
            "artifact": self._log_artifact,
            "finish": self._finish,
        }
        action = actions[message["do"]]
        is_last = message["do"] == "finish"
        if message["do"] == "start":
            self._about = message
            self._failed = False
        elif self._failed and not is_last:
            return
        try:
            action(message)
        except Exception as error:  # noqa: BLE001 - training must not hear of it
            sys.stderr.write(f"{message['do']}: {error!r}\n")
            self._warn(f"{message['do']} failed: {error}")
            if is_last:
                self._send("finished", is_confirmed=False)

    def end(self) -> None:
        """Mark a run that is still open as killed: its input has ended without its finish."""
        if self._run is not None:
            self._run.finish(exit_code=KILLED)
            remove_leftovers(Path(self._run.dir).parent)

    def _send(self, event: str, **facts: object) -> None:
        """Send a reply about the current run."""
        self._reply({"event": event, "id": self._about.get("id"), **facts})

    def _send_warning(self, text: str) -> None:
        """Send a warning, on one line."""
        self._send("warning", text=" ".join(text.split())[:_MAX_SHOWN])

    def _warn(self, text: str) -> None:
        """Send the run's first failure."""
        if not self._failed:
            self._send_warning(text)
        self._failed = True

    def _start(self, about: Message) -> None:
        """Open a run; fall back to recording it offline where the server is of no use."""
        self._run = None
        home = Path(about["folder"]) / "wandb"
        # Before the import: with the run folder everything that W&B keeps moves, and is deleted.
        os.environ["WANDB_DATA_DIR"] = str(home / "data")
        os.environ["WANDB_CACHE_DIR"] = str(home / "cache")
        mode = about["mode"]
        if mode == "online" and not is_answering(about["server"], about["init_timeout_s"]):
            mode = self._fall_back(
                f"{about['server']} did not answer within {about['init_timeout_s']:g} s"
            )

        before = set(home.glob("run-*"))
        try:
            self._run = open_run(about, mode)
        except Exception as error:
            if mode == "offline":
                raise
            sys.stderr.write(f"online: {error!r}\n")
            mode = self._fall_back(f"{about['server']} refused the run: {error}")
            forget_attempt(set(home.glob("run-*")) - before)
            self._run = open_run(about, mode)

        run = self._run
        self._send("started", mode=mode, url=run.url, entity=run.entity or None)
        if about["dataset"] is not None:
            use_dataset(self._run, about["dataset"])
        warm_up()

    def _fall_back(self, why: str) -> str:
        """Warn that the run is recorded offline; return that mode."""
        self._send_warning(f"{why}, so the run is recorded offline")
        return "offline"

    def _log_row(self, message: Message) -> None:
        """Log a row of history, with tables and images."""
        import wandb

        row = dict(message["row"])
        for key, table in message.get("tables", {}).items():
            row[key] = wandb.Table(columns=table["columns"], data=table["data"])
        for key, path in message.get("images", {}).items():
            row[key] = wandb.Image(path)
        if row:
            self._run.log(row)

    def _log_artifact(self, message: Message) -> None:
        """Log a folder as an artifact."""
        import wandb

        about = message["artifact"]
        artifact = wandb.Artifact(about["name"], about["type"], metadata=about["metadata"])
        # Immutable files are uploaded from where they lie; others are copied first.
        artifact.add_dir(about["folder"], policy="immutable")
        self._run.log_artifact(artifact, aliases=about["aliases"])

    def _finish(self, message: Message) -> None:
        """Finish the run, and send whether the server has all of it."""
        run = self._run
        self._run = None
        if run is None:
            self._send("finished", is_confirmed=False)
            return

        is_online = not run.offline
        run.summary.update(message["summary"])
        try:
            run.finish(exit_code=message["exit_code"])
        except TimeoutError:
            self._warn(
                f"{self._about['server']} has not taken all of the run "
                f"within {self._about['finish_timeout_s']:g} s"
            )

        is_confirmed = is_online and not self._failed
        if is_confirmed:
            # Copies of what has been uploaded, which nobody needs any more.
            shutil.rmtree(os.environ["WANDB_DATA_DIR"], ignore_errors=True)
            note_arrival(Path(run.dir).parent, run.url)
        remove_leftovers(Path(run.dir).parent)
        self._send("finished", is_confirmed=is_confirmed)


def open_run(about: Message, mode: str) -> Any:  # noqa: ANN401 - wandb's run
    """Return an open run, live at W&B or on disk.

    Raises:
        wandb.Error: the server refused it.
    """
    import wandb

    from studperf.tracking import keys

    run: Any = wandb.init(
        mode="online" if mode == "online" else "offline",
        # A resumed run writes a second log under the same id, and at W&B both are one run.
        id=about["id"],
        resume="allow" if about["is_resumed"] else None,
        dir=about["folder"],
        settings=settings_of(about),
        project=about["project"],
        entity=about["entity"],
        group=about["group"],
        name=about["name"],
        job_type=about["job_type"],
        tags=about["tags"],
        config=about["config"],
    )
    # Logging a table or an artifact first asks the server who one is and what type the artifact
    # has, "not a hard requirement", and waits minutes for a server that is gone (wandb 0.31).
    # Nothing here needs the answers.
    silent = SimpleNamespace(
        settings={"entity": run.entity, "project": run.project},
        _expected_artifact_type=lambda **_: None,
        _set_artifact_save_handle=lambda *_: None,
    )
    run._public_api = lambda: silent  # noqa: SLF001 - there is no public way
    for axis, several in keys.AXES.items():
        for key in several:
            run.define_metric(key, step_metric=axis)
    return run


def remove_leftovers(folder: Path) -> None:
    """Delete the cache, and the links to wandb's own log.

    A run folder must be copied without links that lead nowhere.
    """
    shutil.rmtree(os.environ["WANDB_CACHE_DIR"], ignore_errors=True)
    for path in (folder / "logs").glob("*"):
        if path.is_symlink():
            path.unlink()


def note_arrival(folder: Path, url: str | None) -> None:
    """Leave the note that `sync` leaves, so that it need not send the run again."""
    for log in folder.glob("run-*.wandb"):
        facts = {"url": url, "bytes": log.stat().st_size}
        (folder / ARRIVED).write_text(json.dumps(facts) + "\n", encoding="utf-8")


def forget_attempt(left: set[Path]) -> None:
    """Free the id of a run that could not be opened, in wandb's own process and on disk."""
    import wandb

    wandb.teardown(exit_code=1)
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)


def settings_of(about: Message) -> Any:  # noqa: ANN401 - wandb's settings
    """Return W&B's settings for a run: durable, and lean.

    No console, code, machine's or person's name, or list of packages is sent; the record has what
    matters of these. `x_` settings are wandb's private ones: those that a version does not know are
    left out.
    """
    import wandb

    wanted = {
        "console": "off",
        "silent": True,
        "symlink": False,
        "disable_code": True,
        "disable_git": True,
        "disable_job_creation": True,
        # By default wandb waits a minute and a half at the start, and for ever at the end, and says
        # of a run that it cut short that all of it was sent.
        "init_timeout": about["init_timeout_s"],
        "finish_timeout": about["finish_timeout_s"],
        "finish_timeout_raises": True,
        "x_disable_meta": True,
        "host": "",
        "x_save_requirements": False,
        # The training's process, of which W&B would otherwise see this one.
        "x_stats_pid": about["pid"],
        "x_stats_sampling_interval": about["system_s"],
        # By default 15 s, so that a short run that is killed has an empty log.
        "x_transaction_log_flush_interval": about["flush_s"],
    }
    fields = wandb.Settings.model_fields
    given = {name: value for name, value in wanted.items() if value is not None}
    known = {name: value for name, value in given.items() if name in fields}
    for name in wanted.keys() - known.keys():
        sys.stderr.write(f"this wandb does not know the setting {name}\n")
    return wandb.Settings(**known)


def use_dataset(run: Any, about: Message) -> None:  # noqa: ANN401 - wandb's run
    """Log the dataset as an artifact that the run used.

    `run.use_artifact` refuses to work offline and waits online; what it does inside works in both
    (wandb 0.31).
    """
    import wandb
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    artifact = wandb.Artifact(about["name"], about["type"], metadata=about["metadata"])
    reference = about["reference"]
    if reference is not None:
        uri = reference["uri"]
        digest = base64.b64encode(bytes.fromhex(reference["md5"])).decode()
        entry = ArtifactManifestEntry(
            path=uri.rpartition("/")[2],
            ref=uri,
            digest=digest,
            size=reference["size"],
        )
        # add_reference would read the whole file again for a md5 that is known.
        artifact.manifest.add_entry(entry)
    else:
        with artifact.new_file("dataset.json") as file:
            json.dump(about["metadata"], file, indent=1, sort_keys=True)
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)  # noqa: SLF001 - see above


def warm_up() -> None:
    """Import now, beside the training, what the run's end will need."""
    import wandb

    wandb.Table(columns=["a"], data=[[1.0]])
    __import__("PIL.PngImagePlugin")


def is_answering(server: str, timeout_s: float) -> bool:
    """Return True if anything at a server's address speaks HTTP, even to refuse.

    wandb itself would try for a minute and a half.
    """
    try:
        url = f"{server}/graphql"
        urllib.request.urlopen(url, data=b"{}", timeout=timeout_s).close()  # noqa: S310 - the user's own server
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, ValueError):
        return False
    return True


class _Lines(Protocol):
    def __iter__(self) -> Any: ...  # noqa: ANN401 - an iterator of text or of bytes


def serve(lines: _Lines, out: IO[str]) -> None:
    """Carry out messages until their lines end."""

    def reply(message: Message) -> None:
        try:
            out.write(json.dumps(message) + "\n")
            out.flush()
        except OSError:  # nobody listens any more
            pass

    scribe = Scribe(reply)
    for line in lines:
        scribe.take(json.loads(line))
    scribe.end()


def main() -> None:
    """Serve the process's input; nothing but replies may reach its output."""
    # Ctrl-C ends the training, which then sends how the run ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # wandb would send its own errors and counters to its maker.
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    os.environ["WANDB_SILENT"] = "true"
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        # Whatever wandb and its processes print goes to the errors.
        os.dup2(2, 1)
        serve(sys.stdin, out)


if __name__ == "__main__":
    main()
