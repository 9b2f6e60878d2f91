"""Watches a job: its log as it comes, its states, its end. Watching ends by Ctrl-C; the job does not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from studperf.cloud.vertex import Line

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.cloud.vertex import Job, Vertex

POLL_S = 5.0
_INTERRUPTED = 130
_TAIL = 20


class Log:
    """A job's log, each line once: the newest ones are asked for again, since several share a time."""

    def __init__(self, vertex: Vertex, job: Job) -> None:
        self.vertex, self.job = vertex, job
        self.since = ""
        self.seen: set[tuple[str, str]] = set()

    def new(self) -> Iterator[Line]:
        """The lines that came since."""
        for line in self.vertex.log(self.job, self.since):
            if (line.time, line.id) not in self.seen:
                self.seen.add((line.time, line.id))
                self.since = max(self.since, line.time)
                yield line


def follow(
    vertex: Vertex, job: Job, console: Console, how_to: Mapping[str, str], *, poll_s: float = POLL_S
) -> int:
    """Shows a job until it has ended; returns the exit code: 0 if it succeeded, 1 if not, 130 if watching was stopped."""
    log, state = Log(vertex, job), ""
    try:
        while True:
            job = vertex.get(job.resource)
            show_lines(log.new(), console, n_machines=job.n_machines)
            if job.state != state:
                state = job.state
                console.print(f"{job.name}: {state}", style="bold", soft_wrap=True)
            if job.has_ended:
                break
            time.sleep(poll_s)
    except KeyboardInterrupt:
        console.print(
            f"\nNo longer watching; the job {job.name} goes on in the cloud, and costs money.",
            soft_wrap=True,
        )
        for name in ("Follow", "Cancel"):
            console.print(f"{name + ':':8}{how_to[name]}", soft_wrap=True, markup=False)
        return _INTERRUPTED
    if job.error:
        console.print(job.error, style="red", soft_wrap=True, markup=False)
    if state == "SUCCEEDED":
        console.print(f"Fetch:  {how_to['Fetch']}", soft_wrap=True, markup=False)
    return 0 if state == "SUCCEEDED" else 1


def show_lines(lines: Iterator[Line] | list[Line], console: Console, *, n_machines: int) -> None:
    """Lines as they were written; of several machines, with whose they are."""
    for line in lines:
        console.out(
            f"{line.replica:14} {line.text}" if n_machines > 1 else line.text, highlight=False
        )


def show_tail(vertex: Vertex, job: Job, console: Console) -> None:
    """The last lines of the replica that spoke last: where a failure is told."""
    lines = list(vertex.log(job))
    if lines:
        console.print(f"The last lines of {lines[-1].replica or 'its log'}:")
        show_lines(
            [line for line in lines if line.replica == lines[-1].replica][-_TAIL:],
            console,
            n_machines=1,
        )
