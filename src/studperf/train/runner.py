"""The functions of the commands that do runs, for rooms that may import no command."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.config.run import RunConfig
    from studperf.record.record import RunRecord
    from studperf.record.run import Job

RunOne: TypeAlias = Callable[..., "RunRecord"]
"""`train.run.run`."""
Result: TypeAlias = "RunRecord | Exception"
"""A run's record, or the error that it ended with."""


@dataclass(frozen=True)
class Runner:
    """The functions by which a study does its runs, given by the command.

    A study gets them so, since rooms import no commands. Another process gets them too, so they are
    such as can be imported there.

    Args:
        run_one: `train.run.run`; called by calling the runner itself.
        run_many: `train.runs.run_many`.
        make_console: makes the console on which a study is shown.
        begun: the command's start, by the monotonic clock.
    """

    run_one: RunOne
    run_many: Callable[..., list[Result]]
    make_console: Callable[[], Console]
    begun: float = field(default_factory=time.monotonic)

    def __call__(self, config: RunConfig, **named: Any) -> RunRecord:  # noqa: ANN401 - of `run_one`
        """Do one run; arguments as of `train.run.run`."""
        return self.run_one(config, **named)

    def many(self, jobs: Sequence[Job], console: Console, *, is_trial: bool) -> list[Result]:
        """Do several runs, stacked where they can be; return each one's record or error."""
        return self.run_many(jobs, self.run_one, console, is_trial=is_trial)
