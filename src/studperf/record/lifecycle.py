"""A record from its opening to its end, over interruptions and resumed runs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from studperf.config.run import RunConfig
from studperf.config.secrets import mask
from studperf.data.encode import Encoder
from studperf.data.guard.leaks import Leak
from studperf.data.guard.left_out import left_out_signal
from studperf.errors import PrunedError, RunError, as_shown
from studperf.record.files import LAST, LOG_FILE, RECORD, SEEN_ROWS, make_folder, write_inputs
from studperf.record.record import RunRecord, describe_data

if TYPE_CHECKING:
    from studperf.data.rows import Rows

LOG = logging.getLogger("studperf")


def open_run(
    config: RunConfig,
    overrides: Sequence[str],
    rows: Rows,
    leaks: Sequence[Leak],
    encoder: Encoder,
    n_parameters: int,
    folder: Path | None,
    *,
    is_kept: bool = True,
) -> tuple[RunRecord, Path]:
    """Open a run, and return its record and its folder.

    A `folder` that holds a run already is gone on with. Unless `is_kept` nothing is written: the
    record belongs to one of the further processes of a run.

    Raises:
        RunError: the folder can't be made, or its run began with other rows.
    """
    split = rows.split
    left_out = dict(left_out_signal(rows.table(rows.sample), config.data))
    data = describe_data(
        rows, split, rows.origin, left_out=left_out, leaks=leaks, n_sampled=rows.n_sampled
    )
    begun = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    name = folder.name if folder else f"{begun}_{config.model_name}_seed{config.seed}"
    record = RunRecord.start(name, config, overrides, data, n_parameters=n_parameters)
    if folder is not None and (folder / RECORD).is_file():
        record = reopen(folder, record, is_kept=is_kept)
    elif not is_kept:
        return record, Path(config.runs) / name
    else:
        # A run that was killed as it began leaves a folder without a record: it begins there again.
        if folder is None or not folder.is_dir():
            parent = folder.parent if folder else Path(config.runs)
            folder = make_folder(parent, name)
        record.name = folder.name
        write_inputs(folder, config, record.overrides, encoder.model_dump_json(indent=1))
        seen = np.concatenate([split.train, split.val])
        hashes = pd.DataFrame({"hash": rows.hashes(seen)})
        hashes.to_parquet(folder / SEEN_ROWS, index=False)
    if is_kept:
        record.save(folder)
    return record, folder


class _Formatter(logging.Formatter):
    """Formatter of the lines of `log.txt`, which people read in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line with secrets masked and characters that steer a terminal escaped."""
        return as_shown(mask(super().format(record)))


@contextmanager
def recorded(record: RunRecord, folder: Path) -> Iterator[None]:
    """Record how the work inside ends: finished, interrupted, or failed with the reason.

    `log.txt` has the details.
    """
    handler = logging.FileHandler(folder / LOG_FILE, encoding="utf-8")
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.info(
        "%s %s",
        "going on with" if record.resumed_at else "started",
        " ".join(record.overrides) or "the defaults",
    )
    try:
        yield
        LOG.info(
            "finished: %s", record.judgement.verdict.line if record.judgement else "not judged"
        )
    except KeyboardInterrupt:
        LOG.warning("interrupted after %d epochs", len(record.history))
        record.leave(folder, "interrupted", "stopped by the user or the system")
        raise
    except PrunedError as reason:
        LOG.info("pruned: %s", reason)
        record.leave(folder, "pruned", str(reason))
        raise
    except BaseException as error:
        LOG.exception("failed")
        record.leave(folder, "failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        LOG.removeHandler(handler)
        handler.close()
    record.finish(folder)


def reopen(folder: Path, fresh: RunRecord, *, is_kept: bool = True) -> RunRecord:
    """Return the record of a run to go on with, after checking that its rows are the same.

    Raises:
        RunError: the run goes on in another process, or the rows are not those that it began with.
    """
    record = RunRecord.load(folder)
    is_running = (
        record.status == "running" and record.process is not None and record.process.is_alive
    )
    # A further process of the run finds it opened by the first one.
    if (
        is_kept
        and is_running
        and (process := record.process) is not None
        and process.pid != os.getpid()
    ):
        raise RunError(
            f"{folder}: is running, in process {process.pid}; let it end or stop it first"
        )
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
    """Return the epochs that a checkpoint knows.

    A run that was stopped after it has recorded later epochs, which are trained again.
    """
    import torch

    kept = torch.load(checkpoint, map_location="cpu", weights_only=True)
    states = kept["callbacks"].values()
    histories = (state["history"] for state in states if "history" in state)
    history: list[dict[str, Any]] = next(histories)
    return history


@contextmanager
def timed(record: RunRecord, what: str) -> Iterator[None]:
    """Add the seconds that the work inside takes to the record.

    Those of a resumed run add up.
    """
    started = time.monotonic()
    try:
        yield
    finally:
        earlier = record.timings_s.get(what, 0.0)
        record.timings_s[what] = round(earlier + time.monotonic() - started, 3)
