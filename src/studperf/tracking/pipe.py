"""The line to the scribe: a process of its own that imports wandb and does all that may wait, hang or fail.

Training only ever puts a message in a queue. `import wandb` alone takes as long as half the fit of a small model and a tenth of the
memory of a training process, and its calls may wait for a server; here they can't.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Message = dict[str, Any]

_PIPE_BYTES = 1 << 20
_OUR_NAMES = (
    "WANDB_RUN_ID",
    "WANDB_RESUME",
    "WANDB_SWEEP_ID",
    "WANDB_MODE",
    "WANDB_DIR",
    "WANDB_NAME",
    "WANDB_RUN_GROUP",
    "WANDB_TAGS",
)
"""What the environment may say about one run would hold for all runs of this process."""


class Scribe:
    """The process at the other end; serves the runs of this process one after the other."""

    def __init__(self, log: Path) -> None:
        """Starts it; its errors go to `log`."""
        self.log = log
        environment = {name: value for name, value in os.environ.items() if name not in _OUR_NAMES}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "studperf.tracking.scribe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,  # Ctrl-C in the terminal is for the training, which then says how the run ended
            )
        _widen(self.process.stdin)
        self.replies: SimpleQueue[Message] = SimpleQueue()
        self._n_open = 0
        self._closed_one = threading.Condition()
        self._outgoing: SimpleQueue[Message | None] = SimpleQueue()
        for work in (self._write, self._read):
            threading.Thread(target=work, name=f"scribe-{work.__name__}", daemon=True).start()

    def send(self, message: Message) -> None:
        """Never waits: a pipe is soon full, and the scribe may be busy with a slow server."""
        if message["do"] == "start":
            self._count(+1)
        self._outgoing.put(message)

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next reply; None if there is none by then. By default without waiting."""
        try:
            return self.replies.get(timeout=timeout_s) if timeout_s else self.replies.get_nowait()
        except Empty:
            return None

    def settle(self, timeout_s: float) -> int:
        """Waits until every run that was started is finished, as long as one more is within each `timeout_s`; returns how many are not."""
        with self._closed_one:
            while n_before := self._n_open:
                if not self._closed_one.wait_for(lambda n=n_before: self._n_open < n, timeout_s):  # type: ignore[misc] # of a lambda
                    break
            return self._n_open

    @property
    def is_alive(self) -> bool:
        """Whether it still listens."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Ends it and what it started, wherever they hang."""
        try:
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        except ProcessLookupError:
            pass
        self.process.wait()

    def close(self, timeout_s: float = 0.0) -> None:
        """Lets it go: it ends by itself once its input has ended."""
        self._outgoing.put(None)
        if timeout_s:
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def _write(self) -> None:
        pipe = self.process.stdin
        try:
            while pipe is not None and (message := self._outgoing.get()) is not None:
                pipe.write(json.dumps(message).encode() + b"\n")
                pipe.flush()
        except OSError:
            return  # it has died; the reader tells
        finally:
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read(self) -> None:
        pipe = self.process.stdout
        if pipe is not None:
            with pipe:
                for line in pipe:
                    reply = json.loads(line)
                    self.replies.put(reply)
                    if reply["event"] == "finished":
                        self._count(-1)
        self.replies.put({"event": "gone"})

    def _count(self, change: int) -> None:
        with self._closed_one:
            self._n_open += change
            self._closed_one.notify_all()


def _widen(pipe: IO[bytes] | None) -> None:
    """Room for some 5,000 rows where the system allows it, in place of 300: what is in the pipe outlives a kill, what waits before it does not."""
    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


_current: Scribe | None = None
_owner = 0


def get_scribe(log: Path) -> Scribe:
    """The scribe of this process, started if there is none: importing wandb once serves a whole sweep."""
    global _current, _owner
    if _current is None or _owner != os.getpid() or not _current.is_alive:
        _current, _owner = Scribe(log), os.getpid()
    return _current


def settle(timeout_s: float) -> int:
    """As `Scribe.settle`, of this process's scribe, if there is one."""
    return (
        _current.settle(timeout_s)
        if _current is not None and _owner == os.getpid() and _current.is_alive
        else 0
    )


@atexit.register
def close_scribe(timeout_s: float = 0.0) -> None:
    """Lets this process's scribe go."""
    global _current  # noqa: PLW0603 - one a process
    if _current is not None and _owner == os.getpid():
        _current.close(timeout_s)
    _current = None
