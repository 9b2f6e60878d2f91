"""Following a job: its log as it comes, its states, its end.

Ctrl-C ends the following, and leaves the job running.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from studperf.cloud.google.vertex import Line
from studperf.config.console import print_line

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.cloud.google.vertex import Job, Vertex

# Google's own client asks as often.
POLL_S = 5.0
_INTERRUPTED = 130
# Lines of a failed job's log that are printed with its state.
_TAIL = 20


class Log:
    """A job's log, read so that each line comes once.

    The newest lines are asked for again, since several may share a time.
    """

    def __init__(self, vertex: Vertex, job: Job) -> None:
        self.vertex = vertex
        self.job = job
        self.since = ""
        self.seen: set[tuple[str, str]] = set()

    def new(self) -> Iterator[Line]:
        """Yield the lines that came since the last call."""
        for line in self.vertex.log(self.job, self.since):
            if (line.time, line.id) not in self.seen:
                self.seen.add((line.time, line.id))
                self.since = max(self.since, line.time)
                yield line


def follow(
    vertex: Vertex, job: Job, console: Console, how_to: Mapping[str, str], *, poll_s: float = POLL_S
) -> int:
    """Print a job's log and states until it has ended; return the exit code.

    The code is 0 if the job succeeded, 1 if not, 130 if following was stopped.
    """
    log = Log(vertex, job)
    state = ""
    try:
        while True:
            job = vertex.get(job.resource)
            show_lines(log.new(), console, n_machines=job.n_machines)
            if job.state != state:
                state = job.state
                print_line(console, f"{job.name}: {state}", style="bold")
            if job.has_ended:
                break
            time.sleep(poll_s)
    except KeyboardInterrupt:
        print_line(
            console,
            f"\nNo longer watching; the job {job.name} goes on in the cloud, and costs money.",
        )
        for name in ("Follow", "Cancel"):
            print_line(console, f"{name + ':':8}{how_to[name]}")
        return _INTERRUPTED

    if job.error:
        print_line(console, job.error, style="red")
    if state != "SUCCEEDED":
        return 1
    print_line(console, f"Fetch:  {how_to['Fetch']}")
    return 0


def show_lines(lines: Iterator[Line] | list[Line], console: Console, *, n_machines: int) -> None:
    """Print lines as they were written; with several machines, name the one that wrote each."""
    for line in lines:
        text = line.text
        if n_machines > 1:
            text = f"{line.replica:14} {text}"
        console.out(text, highlight=False)


def show_tail(vertex: Vertex, job: Job, console: Console) -> None:
    """Print the last lines of the machine that wrote last, which is where a failure shows.

    Vertex AI itself often says no more than that a replica exited with a non-zero status.
    """
    lines = list(vertex.log(job))
    if not lines:
        return
    replica = lines[-1].replica
    console.print(f"The last lines of {replica or 'its log'}:")
    of_replica = [line for line in lines if line.replica == replica]
    show_lines(of_replica[-_TAIL:], console, n_machines=1)
