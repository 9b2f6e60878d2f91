"""The pipe to the scribe, a process that imports wandb and does all that may wait or fail.

Training only ever puts a message in a queue. `import wandb` alone takes as long as half the fit of
a small model and a tenth of the memory of a training process, and its calls may wait for a server;
here they can't.
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
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment] # a module's name has no other type

Message = dict[str, Any]

# Linux lets every user have a pipe of 1 MB, in place of 64 KB: some 5,000 rows in place of 300.
_PIPE_BYTES = 1 << 20
# Variables of W&B that are about one run. The scribe serves all runs of this process, so that what
# they say of one would hold for all.
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


class Scribe:
    """The process at the other end of the pipe, which serves this process's runs one by one.

    Args:
        log: file for its errors.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        environment = {name: value for name, value in os.environ.items() if name not in _OUR_NAMES}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "studperf.tracking.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                # Ctrl-C in the terminal is for the training, which then sends how the run ended.
                start_new_session=True,
            )
        _enlarge(self.process.stdin)
        self.replies: SimpleQueue[Message] = SimpleQueue()
        self._n_open = 0
        self._closed_one = threading.Condition()
        self._outgoing: SimpleQueue[Message | None] = SimpleQueue()
        for work in (self._write, self._read):
            threading.Thread(target=work, name=f"scribe-{work.__name__}", daemon=True).start()

    def send(self, message: Message) -> None:
        """Put a message in the queue, without waiting.

        A pipe is soon full, and the scribe may be busy with a slow server.
        """
        if message["do"] == "start":
            self._count(+1)
        self._outgoing.put(message)

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """Return the next reply, waiting for it up to a timeout; None if there is none."""
        try:
            if timeout_s:
                return self.replies.get(timeout=timeout_s)
            return self.replies.get_nowait()
        except Empty:
            return None

    def wait_for_runs(self, timeout_s: float) -> int:
        """Wait until the started runs are finished; return how many are not.

        It gives up when no run was finished for `timeout_s`.
        """
        with self._closed_one:
            while self._n_open:
                has_one_less = partial(self._has_fewer_open, self._n_open)
                if not self._closed_one.wait_for(has_one_less, timeout_s):
                    break
            return self._n_open

    def _has_fewer_open(self, n: int) -> bool:
        """Return True if fewer than n runs are still to be finished."""
        return self._n_open < n

    @property
    def is_alive(self) -> bool:
        """True if the process still listens."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill the process and those that it started, wherever they hang."""
        try:
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        except ProcessLookupError:  # it has ended by itself
            pass
        self.process.wait()

    def close(self, timeout_s: float = 0.0) -> None:
        """Close the process's input, after which it ends by itself.

        With a timeout, wait for its end for as long, and kill it then.
        """
        self._outgoing.put(None)
        if not timeout_s:
            return
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def _write(self) -> None:
        """Write the queue's messages into the pipe, until None comes or the process dies."""
        pipe = self.process.stdin
        if pipe is None:
            return
        try:
            while True:
                message = self._outgoing.get()
                if message is None:
                    return
                pipe.write(json.dumps(message).encode() + b"\n")
                pipe.flush()
        except OSError:
            # The process has died, of which `_read` sends word.
            return
        finally:
            with contextlib.suppress(OSError):
                pipe.close()

    def _read(self) -> None:
        """Put the process's replies in the queue, and a last one when it has ended."""
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
        """Add to the number of runs that are still to be finished, and wake who waits for it."""
        with self._closed_one:
            self._n_open += change
            self._closed_one.notify_all()


def _enlarge(pipe: IO[bytes] | None) -> None:
    """Enlarge the pipe where the system allows it.

    Rows in the pipe survive a kill of the training process, rows in the queue before it do not.
    """
    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


_scribes: dict[int, Scribe] = {}
"""A process's number -> its scribe: a forked process must not write into its parent's pipe."""


def find_scribe() -> Scribe | None:
    """Return this process's scribe, or None if there is none that listens."""
    scribe = _scribes.get(os.getpid())
    if scribe is None or not scribe.is_alive:
        return None
    return scribe


def get_scribe(log: Path) -> Scribe:
    """Return this process's scribe, started if there is none.

    Importing wandb once then serves a whole study.
    """
    scribe = find_scribe()
    if scribe is None:
        scribe = Scribe(log)
        _scribes[os.getpid()] = scribe
    return scribe


def wait_for_runs(timeout_s: float) -> int:
    """Wait for this process's runs as `Scribe.wait_for_runs` does; return 0 without a scribe."""
    scribe = find_scribe()
    if scribe is None:
        return 0
    return scribe.wait_for_runs(timeout_s)


@atexit.register
def close_scribe(timeout_s: float = 0.0) -> None:
    """Close this process's scribe, if there is one."""
    scribe = _scribes.pop(os.getpid(), None)
    if scribe is not None:
        scribe.close(timeout_s)
