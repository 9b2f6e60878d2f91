"""The process that talks to W&B: reads messages from its input, a line of JSON each, and answers on its output.

It ends with its input. If that happens in the middle of a run, the process that trained was killed, and the run is marked so.
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
ARRIVED = "arrived.json"
"""Beside a log: that the server has it."""


class Scribe:
    """One run at a time at W&B."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._about: Message = {}
        self._run: Any = None
        self._failed = False

    def take(self, message: Message) -> None:
        """Does what a message says. The first thing that fails is told; then the run's other messages are dropped."""
        actions: dict[str, Callable[[Message], None]] = {
            "start": self._start,
            "row": self._log_row,
            "artifact": self._log_artifact,
            "finish": self._finish,
        }
        action = actions[message["do"]]
        if message["do"] == "start":
            self._about, self._failed = message, False
        elif self._failed and message["do"] != "finish":
            return
        try:
            action(message)
        except Exception as error:  # noqa: BLE001 - whatever wandb raises, training must not hear of it
            sys.stderr.write(f"{message['do']}: {error!r}\n")
            self._warn(f"{message['do']} failed: {error}")
            if message["do"] == "finish":
                self._say("finished", is_confirmed=False)

    def end(self) -> None:
        """The input has ended; a run still open was left by a process that was killed."""
        if self._run is not None:
            self._run.finish(exit_code=KILLED)
            tidy(Path(self._run.dir).parent)

    def _say(self, event: str, **facts: object) -> None:
        self._reply({"event": event, "id": self._about.get("id"), **facts})

    def _warn(self, text: str) -> None:
        if not self._failed:
            self._say("warning", text=" ".join(text.split())[:400])
        self._failed = True

    def _start(self, about: Message) -> None:
        self._run = None
        home = Path(about["folder"]) / "wandb"
        # Before the import: with the run folder everything that W&B keeps moves, and is deleted.
        os.environ.update(WANDB_DATA_DIR=str(home / "data"), WANDB_CACHE_DIR=str(home / "cache"))
        mode = about["mode"]
        if mode == "online" and not answers(about["server"], about["init_timeout_s"]):
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
        self._say("started", mode=mode, url=self._run.url, entity=self._run.entity or None)
        if about["dataset"] is not None:
            use_dataset(self._run, about["dataset"])
        warm_up()

    def _fall_back(self, why: str) -> str:
        self._say("warning", text=" ".join(f"{why}, so the run is recorded offline".split())[:400])
        return "offline"

    def _log_row(self, message: Message) -> None:
        import wandb

        row = dict(message["row"])
        row |= {
            key: wandb.Table(columns=t["columns"], data=t["data"])
            for key, t in message.get("tables", {}).items()
        }
        row |= {key: wandb.Image(path) for key, path in message.get("images", {}).items()}
        if row:
            self._run.log(row)

    def _log_artifact(self, message: Message) -> None:
        import wandb

        about = message["artifact"]
        artifact = wandb.Artifact(about["name"], about["type"], metadata=about["metadata"])
        artifact.add_dir(about["folder"], policy="immutable")  # as they lie, not a copy
        self._run.log_artifact(artifact, aliases=about["aliases"])

    def _finish(self, message: Message) -> None:
        run, self._run = self._run, None
        if run is None:
            self._say("finished", is_confirmed=False)
            return
        is_online = not run.offline
        run.summary.update(message["summary"])
        try:
            run.finish(exit_code=message["exit_code"])
        except TimeoutError:
            self._warn(
                f"{self._about['server']} has not taken all of the run within {self._about['finish_timeout_s']:g} s"
            )
        is_confirmed = is_online and not self._failed
        if is_confirmed:
            shutil.rmtree(os.environ["WANDB_DATA_DIR"], ignore_errors=True)
            note_arrival(Path(run.dir).parent, run.url)
        tidy(Path(run.dir).parent)
        self._say("finished", is_confirmed=is_confirmed)


def open_run(about: Message, mode: str) -> Any:  # noqa: ANN401 - wandb's
    """The run at W&B, live or on disk.

    Raises:
        wandb.Error: the server does not want it.
    """
    import wandb

    from studperf.tracking import keys

    run: Any = wandb.init(
        mode="online" if mode == "online" else "offline",
        id=about["id"],
        resume="allow" if about["is_resumed"] else None,
        dir=about["folder"],
        settings=settings_of(about),
        **{
            name: about[name]
            for name in ("project", "entity", "group", "name", "job_type", "tags", "config")
        },
    )
    # Logging a table or an artifact first asks the server who one is and what type the artifact has, "not a hard requirement", and waits
    # minutes for a server that is gone (wandb 0.31). Nothing here needs the answers.
    silent = SimpleNamespace(
        settings={"entity": run.entity, "project": run.project},
        _expected_artifact_type=lambda **_: None,
        _set_artifact_save_handle=lambda *_: None,
    )
    run._public_api = lambda: silent  # noqa: SLF001
    for axis, several in keys.AXES.items():
        for key in several:
            run.define_metric(key, step_metric=axis)
    return run


def tidy(folder: Path) -> None:
    """Removes the cache, and the link to wandb's own log in it: a run folder is to be copied without links that lead nowhere."""
    shutil.rmtree(os.environ["WANDB_CACHE_DIR"], ignore_errors=True)
    for link in filter(Path.is_symlink, (folder / "logs").glob("*")):
        link.unlink()


def note_arrival(folder: Path, url: str | None) -> None:
    """Leaves the note that `sync` leaves, so that it need not send the run again."""
    for log in folder.glob("run-*.wandb"):
        (folder / ARRIVED).write_text(
            json.dumps({"url": url, "bytes": log.stat().st_size}) + "\n", encoding="utf-8"
        )


def forget_attempt(left: set[Path]) -> None:
    """Frees the id of a run that could not be opened, in wandb's own process and on disk."""
    import wandb

    wandb.teardown(exit_code=1)
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)


def settings_of(about: Message) -> Any:  # noqa: ANN401 - wandb's
    """Durable, and lean: no console, no code, no machine's or person's name, no package list; the record has what matters of these.

    `x_` settings are wandb's private ones: those that a version does not know are left out.
    """
    import wandb

    wanted = {
        "console": "off",
        "silent": True,
        "symlink": False,
        "disable_code": True,
        "disable_git": True,
        "disable_job_creation": True,
        "init_timeout": about["init_timeout_s"],
        "finish_timeout": about["finish_timeout_s"],
        "finish_timeout_raises": True,
        "x_disable_meta": True,
        "host": "",
        "x_save_requirements": False,
        "x_stats_pid": about["pid"],
        "x_stats_sampling_interval": about["system_s"],
        "x_transaction_log_flush_interval": about["flush_s"],
    }
    known = {
        name: value
        for name, value in wanted.items()
        if name in wandb.Settings.model_fields and value is not None
    }
    for name in wanted.keys() - known.keys():
        sys.stderr.write(f"this wandb does not know the setting {name}\n")
    return wandb.Settings(**known)


def use_dataset(run: Any, about: Message) -> None:  # noqa: ANN401 - wandb's
    """The dataset as an artifact that the run used.

    `run.use_artifact` refuses to work offline and waits online; what it does inside works in both (wandb 0.31).
    """
    import wandb
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    artifact = wandb.Artifact(about["name"], about["type"], metadata=about["metadata"])
    if (reference := about["reference"]) is not None:
        digest = base64.b64encode(bytes.fromhex(reference["md5"])).decode()
        name = reference["uri"].rsplit("/", 1)[-1]
        # add_reference would read the whole file again for a md5 that is known.
        artifact.manifest.add_entry(
            ArtifactManifestEntry(
                path=name, ref=reference["uri"], digest=digest, size=reference["size"]
            )
        )
    else:
        with artifact.new_file("dataset.json") as file:
            json.dump(about["metadata"], file, indent=1, sort_keys=True)
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)  # noqa: SLF001


def warm_up() -> None:
    """Imports now, beside the training, what the run's end will need."""
    import wandb

    wandb.Table(columns=["a"], data=[[1.0]])
    __import__("PIL.PngImagePlugin")


def answers(server: str, timeout_s: float) -> bool:
    """Whether anything at a server's address speaks HTTP, be it to refuse: wandb itself would try for a minute and a half."""
    try:
        urllib.request.urlopen(f"{server}/graphql", data=b"{}", timeout=timeout_s).close()  # noqa: S310 - the user's own server
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, ValueError):
        return False
    return True


class _Lines(Protocol):
    def __iter__(self) -> Any: ...  # noqa: ANN401


def serve(lines: _Lines, out: IO[str]) -> None:
    """Works until the lines end."""

    def reply(message: Message) -> None:
        try:
            out.write(json.dumps(message) + "\n")
            out.flush()
        except OSError:
            pass  # nobody listens any more

    scribe = Scribe(reply)
    for line in lines:
        scribe.take(json.loads(line))
    scribe.end()


def main() -> None:
    """The process: nothing but replies may reach its output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    os.environ["WANDB_SILENT"] = "true"
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        serve(sys.stdin, out)


if __name__ == "__main__":
    main()
