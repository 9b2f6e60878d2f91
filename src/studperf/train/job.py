"""SPLIT OF: Several runs: one after another, or those of one architecture together as a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from studperf.config.run import RunConfig
from studperf.record.record import RunRecord


@dataclass(frozen=True)
class Job:
    """A run to be done.

    Args:
        config: of this one run; its `repeat` is 1.
        overrides: the words of the command line, for the record.
        folder: where the run lies, or is to lie; None for a new folder below `config.runs`.
    """

    config: RunConfig
    overrides: Sequence[str] = ()
    folder: Path | None = None


RunOne = Callable[..., RunRecord]
"""`train.run`; handed in, since rooms import no commands."""

Result = RunRecord | Exception
