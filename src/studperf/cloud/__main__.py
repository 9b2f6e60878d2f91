"""Commands for jobs on Vertex AI: list them, follow them, fetch their results.

python -m studperf.cloud list
python -m studperf.cloud logs JOB follow=true
python -m studperf.cloud fetch JOB
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.cli.command import is_on, read_keys, read_words
from studperf.cli.process import make_console, run_command
from studperf.config.console import print_line
from studperf.config.faults import unknown_key
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.cloud.google.session import Google
    from studperf.cloud.google.vertex import Job, Vertex
    from studperf.config.cloud import Vertex as Cloud

_USAGE = """Jobs on Vertex AI that python -m studperf.train ... cloud=vertex submitted.

  python -m studperf.cloud list               all jobs, the newest first
  python -m studperf.cloud status [JOB]       one job: state, machines, labels, why it failed
  python -m studperf.cloud logs [JOB]         its log; follow=true goes on until it has ended (Ctrl-C leaves the job running)
  python -m studperf.cloud cancel JOB         ends it
  python -m studperf.cloud fetch [JOB]        brings home what it wrote: runs, bundles, studies; into runs/, or runs=FOLDER
  python -m studperf.cloud doctor             looks at credentials, APIs, bucket, image and secrets, and says what mends each

JOB is a name, the beginning of one, or a number; without it, the newest. Keys: cloud.project, cloud.region, cloud.bucket and all others
of conf/cloud/vertex.yaml; GOOGLE_CLOUD_PROJECT and STUDPERF_BUCKET stand for two of them. Flags: --debug shows tracebacks.
Exit codes: 0 done, 1 the job failed or something is missing, 2 it could not be tried."""
_OWN_KEYS = {"logs": ("follow",), "fetch": ("runs",)}
_ABOUT_ALL = ("list", "doctor")


@dataclass(frozen=True)
class Asked:
    """A command of this module, with the session and the settings that it works on."""

    cloud: Cloud
    google: Google
    vertex: Vertex
    job: str | None
    given: dict[str, str]
    words: list[str]
    """The overrides of cloud settings, as typed."""
    console: Console

    def find(self) -> Job:
        """Return the job that was named, or the newest."""
        return self.vertex.find(self.job)


def show_list(asked: Asked) -> None:
    """Print a line for each job, the newest first."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("job", "number", "state", "kind", "machines", "submitted", "ran"):
        table.add_column(name, overflow="fold")
    jobs = list(asked.vertex.jobs())
    if not jobs:
        asked.console.print(
            f"There are no jobs of studperf in {asked.cloud.region}, project {asked.cloud.project}."
        )
        return

    for job in jobs:
        ran = ""
        if job.seconds is not None:
            ran = f"{job.seconds:.0f} s"
        submitted = f"{job.created.astimezone():%Y-%m-%d %H:%M}"
        table.add_row(
            job.name,
            job.id,
            job.state,
            job.labels.get("kind", ""),
            str(job.n_machines),
            submitted,
            ran,
        )
    asked.console.print(table)


def show_status(asked: Asked) -> int:
    """Print one job's state, machines and labels, and why it failed; return the exit code."""
    from studperf.cloud.follow import show_tail

    job = asked.find()
    state = job.state
    if job.seconds is not None:
        state += f" after {job.seconds:.0f} s"
    labels = [f"{key}={value}" for key, value in sorted(job.labels.items())]

    lines = {
        "Job": f"{job.name} ({job.id})",
        "State": state,
        "Machines": str(job.n_machines),
        "Image": job.image,
        "Labels": ", ".join(labels),
        "Results": job.folder,
        "Console": asked.vertex.console_url(job),
    }
    for name, text in lines.items():
        print_line(asked.console, f"{name + ':':10}{text}")

    if job.error:
        print_line(asked.console, job.error, style="red")
        show_tail(asked.vertex, job, asked.console)
    return 1 if job.state == "FAILED" else 0


def show_logs(asked: Asked) -> int | None:
    """Print a job's log; with follow=true go on until it has ended."""
    from studperf.cloud.follow import Log, follow, show_lines
    from studperf.cloud.launch import how_to

    job = asked.find()
    if is_on(asked.given, "follow"):
        return follow(asked.vertex, job, asked.console, how_to(job, asked.words))

    lines = Log(asked.vertex, job).new()
    show_lines(lines, asked.console, n_machines=job.n_machines)
    return None


def cancel(asked: Asked) -> None:
    """Cancel a job that has not ended yet."""
    job = asked.find()
    if job.has_ended:
        print_line(asked.console, f"{job.name} has ended already: {job.state}")
        return

    asked.vertex.cancel(job)
    print_line(asked.console, f"{job.name} is being cancelled; what it wrote stays in {job.folder}")


def bring_home(asked: Asked) -> None:
    """Fetch a job's results into the folder of runs, and list them."""
    from studperf.cloud.fetch import fetch, show

    runs = Path(asked.given.get("runs", "runs"))
    fetched = fetch(asked.google, asked.find(), runs, asked.console)
    show(fetched, asked.console)


def run_doctor(asked: Asked) -> int:
    """Check all that a job needs, and print each finding; return the exit code."""
    from studperf.cloud.doctor import examine, show
    from studperf.cloud.inputs import read_code

    code = read_code()
    commit = None
    if code is not None:
        commit = code.commit

    is_fine = True
    for finding in examine(asked.cloud, asked.google, commit):
        show(finding, asked.console)
        # None is no fault: only the job itself can look at that.
        if finding.is_fine is False:
            is_fine = False
    return 0 if is_fine else 1


_COMMANDS: dict[str, Callable[[Asked], int | None]] = {
    "list": show_list,
    "status": show_status,
    "logs": show_logs,
    "cancel": cancel,
    "fetch": bring_home,
    "doctor": run_doctor,
}


def main() -> int | None:
    """Run the command that the command line names; return the exit code."""
    if sys.argv[1:2] == ["entry"]:  # in a job's container
        from studperf.cloud.container.entry import enter

        return enter(sys.argv[2:])
    words = read_words(_USAGE)
    if words is None:
        return None
    if not words:
        raise ConfigError(f"name a command: {', '.join(_COMMANDS)}\n\n{_USAGE}")
    name, *rest = words
    if name not in _COMMANDS:
        raise ConfigError(f"{name}: {unknown_key(name, _COMMANDS)}\n\n{_USAGE}")

    jobs = [word for word in rest if "=" not in word]
    if jobs and name in _ABOUT_ALL:
        raise ConfigError(
            f"{name} takes no job, got {' '.join(jobs)}; "
            f"for one: python -m studperf.cloud status {jobs[0]}"
        )
    if len(jobs) > 1:
        raise ConfigError(f"name one job, got {' '.join(jobs)}")
    # The newest job is a fine default for a look at it, and a costly one for its end.
    if name == "cancel" and not jobs:
        raise ConfigError("name the job to cancel: python -m studperf.cloud cancel JOB")

    settings = [word for word in rest if word.startswith("cloud.")]
    keys = [word for word in rest if "=" in word and word not in settings]
    given = read_keys(keys, _OWN_KEYS.get(name, ()))
    is_on(given, "follow")  # refuses a value that is neither true nor false
    job = jobs[0] if jobs else None
    asked = _open(settings, name, job, given, make_console())
    return _COMMANDS[name](asked)


def _open(
    words: list[str], name: str, job: str | None, given: dict[str, str], console: Console
) -> Asked:
    """Compose the settings of the cloud, and open a session with Google."""
    from studperf.cloud.checks import check_place
    from studperf.cloud.google.session import Google
    from studperf.cloud.google.vertex import Vertex
    from studperf.config.cloud import Vertex as Cloud
    from studperf.config.load import load_overrides

    cloud = load_overrides(["cloud=vertex", *words]).cloud
    if not isinstance(cloud, Cloud):
        raise ConfigError("cloud.name: these commands are about cloud=vertex")
    if name != "doctor":
        check_place(cloud, needs_bucket=False)
    google = Google(cloud.project or "", cloud.region)
    return Asked(cloud, google, Vertex(google), job, given, words, console)


if __name__ == "__main__":
    run_command(main)
