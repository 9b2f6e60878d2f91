"""A run from its opening to its end, over interruptions and resumed runs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from studperf.config.secrets import mask
from studperf.errors import PrunedError, RunError, as_shown
from studperf.record.files import LAST, LOG_FILE, RECORD, SEEN_ROWS, make_folder, write_inputs
from studperf.record.record import RunRecord, describe_data
from studperf.record.run import Job, Run

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.data.preparation import Prepared

LOG = logging.getLogger("studperf")


def open_run(
    job: Job,
    ready: Prepared,
    console: Console,
    *,
    n_parameters: int,
    n_together: int = 1,
    is_trial: bool = False,
    is_kept: bool = True,
) -> Run:
    """Open a run in its folder, which is made unless there is one to go on in.

    Args:
        job: what is to be done.
        ready: the rows.
        console: shows the run.
        n_parameters: of its model.
        n_together: runs that are trained together, this one included.
        is_trial: the run is a study's.
        is_kept: False in the further processes of a run, which write nothing.

    Raises:
        RunError: the folder can't be made, or its run began with other rows.
    """
    config = ready.settle(job.config)
    folder = job.folder
    name = _name_run(job)
    rows = ready.rows
    data = describe_data(
        rows,
        rows.split,
        rows.origin,
        left_out=ready.left_out,
        leaks=ready.leaks,
        n_sampled=rows.n_sampled,
    )
    record = RunRecord.start(name, config, job.overrides, data, n_parameters=n_parameters)
    if folder is not None and (folder / RECORD).is_file():
        record = reopen(folder, record, is_kept=is_kept)
    elif is_kept:
        # A run that was killed as it began leaves a folder without a record: it begins there again.
        if folder is None or not folder.is_dir():
            parent = folder.parent if folder else Path(config.runs)
            folder = make_folder(parent, name)
        record.name = folder.name
        _write_beginning(folder, record, ready)
    record.n_stacked = n_together

    place = folder or Path(config.runs) / name
    run = Run(config, record, place, console, is_trial=is_trial, is_kept=is_kept)
    if is_kept:
        run.save()
        with logged([run]):
            verb = "going on with" if record.resumed_at else "started"
            LOG.info("%s %s", verb, " ".join(record.overrides) or "the defaults")
    return run


def _name_run(job: Job) -> str:
    """Return a run's name: that of its folder, or one made of the time, model and seed."""
    if job.folder is not None:
        return job.folder.name
    begun = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    return f"{begun}_{job.config.model_name}_seed{job.config.seed}"


def _write_beginning(folder: Path, record: RunRecord, ready: Prepared) -> None:
    """Write what a new run begins with: its inputs, and the hashes of the rows that it will see."""
    write_inputs(folder, record, ready.encoder.model_dump_json(indent=1))
    split = ready.rows.split
    seen = np.concatenate([split.train, split.val])
    hashes = pd.DataFrame({"hash": ready.rows.hashes(seen)})
    hashes.to_parquet(folder / SEEN_ROWS, index=False)


class _Formatter(logging.Formatter):
    """Formatter of the lines of `log.txt`, which people read in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line with secrets masked and characters that steer a terminal escaped."""
        return as_shown(mask(super().format(record)))


@contextmanager
def logged(runs: Sequence[Run]) -> Iterator[None]:
    """Have what is logged inside written into the `log.txt` of each of these runs."""
    with ExitStack() as stack:
        for run in runs:
            handler = logging.FileHandler(run.folder / LOG_FILE, encoding="utf-8")
            handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
            stack.callback(handler.close)
            LOG.addHandler(handler)
            stack.callback(LOG.removeHandler, handler)
        LOG.setLevel(logging.INFO)
        yield


@contextmanager
def failures_recorded(runs: Sequence[Run]) -> Iterator[None]:
    """Record what ends the work inside before its time, in each run that was not finished by then.

    `log.txt` has the details.
    """
    try:
        yield
    except BaseException as error:
        for run in runs:
            if run.is_kept and run.record.status == "running":
                with logged([run]):
                    _record_end(run, error)
        raise


def _record_end(run: Run, error: BaseException) -> None:
    """Record and log what ended a run."""
    match error:
        case KeyboardInterrupt():
            LOG.warning("interrupted after %d epochs", len(run.record.history))
            run.end_early("interrupted", "stopped by the user or the system")
        case PrunedError():
            LOG.info("pruned: %s", error)
            run.end_early("pruned", str(error))
        case _:
            LOG.error("failed", exc_info=error)
            run.end_early("failed", f"{type(error).__name__}: {error}")


@contextmanager
def recorded(run: Run) -> Iterator[None]:
    """Record how the work inside ends: finished, or what ended it before; `log.txt` follows it."""
    with failures_recorded([run]), logged([run]):
        yield
        judgement = run.record.judgement
        LOG.info("finished: %s", judgement.verdict.line if judgement else "not judged")
    run.record.finish(run.folder)


def reopen(folder: Path, fresh: RunRecord, *, is_kept: bool = True) -> RunRecord:
    """Return the record of a run to go on with, after checking that its rows are the same.

    Raises:
        RunError: the run goes on in another process, or the rows are not those that it began with.
    """
    record = RunRecord.load(folder)
    process = record.process
    pid = process.pid if process is not None else None
    is_running = record.status == "running" and process is not None and process.is_alive
    # A further process of the run finds it opened by the first one.
    if is_kept and is_running and pid != os.getpid():
        raise RunError(f"{folder}: is running, in process {pid}; let it end or stop it first")
    for what, old, new in (
        ("data md5", record.data.md5, fresh.data.md5),
        ("split", record.data.split_sha256, fresh.data.split_sha256),
    ):
        if old != new:
            raise RunError(
                f"{folder}: can't go on, the {what} was {old} and is now {new}. "
                "Bring the old rows back, or start a new run."
            )

    record.status = "running"
    record.ended = None
    record.error = None
    record.process = fresh.process
    if (folder / LAST).is_file():
        record.history = _kept_history(folder / LAST)
    else:  # begun in a stack, which keeps no checkpoint to go on from
        record.history = []
        record.n_stacked = 1
    record.resumed_at.append(len(record.history))
    return record


def _kept_history(checkpoint: Path) -> list[dict[str, Any]]:
    """Return the history of epochs that a checkpoint contains.

    A run that was stopped after it has recorded later epochs, which are trained again.
    """
    import torch

    kept = torch.load(checkpoint, map_location="cpu", weights_only=True)
    # Lightning keeps each callback's state; the only one with a history is our Keeper.
    states = kept["callbacks"].values()
    histories = (state["history"] for state in states if "history" in state)
    history: list[dict[str, Any]] = next(histories)
    return history


@contextmanager
def timed(runs: Sequence[Run], what: str) -> Iterator[None]:
    """Add the seconds that the work inside takes to the records.

    Those of a resumed run add up; runs that are trained together share the seconds of all.
    """
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - started
        for run in runs:
            earlier = run.record.timings_s.get(what, 0.0)
            run.record.timings_s[what] = round(earlier + seconds, 3)
