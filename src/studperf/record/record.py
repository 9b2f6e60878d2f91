"""A run's record: one JSON file, true at any moment, complete without any server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError

from studperf.config.files import write_atomically
from studperf.config.run import RunConfig
from studperf.config.secrets import mask
from studperf.data.guard.leaks import Leak
from studperf.data.schema import Table
from studperf.data.source import Provenance
from studperf.data.split import Split
from studperf.errors import RunError
from studperf.record.files import RECORD, WANDB, sha256_of
from studperf.record.shape import (
    CutShort,
    DataFacts,
    Git,
    Hardware,
    Judgement,
    Part,
    Process,
    Status,
    Tracked,
)
from studperf.record.surroundings import now, read_git, read_lock_hash, read_versions

if TYPE_CHECKING:
    from studperf.data.rows import Rows


def describe_data(
    table: Table | Rows,
    split: Split,
    origin: Provenance,
    *,
    left_out: Mapping[str, float],
    leaks: Sequence[Leak],
    n_sampled: int | None = None,
) -> DataFacts:
    """Return the facts about the rows, for the record.

    Args:
        table: all rows.
        split: of them.
        origin: where they come from.
        left_out: columns that are no feature, with the share that each explains.
        leaks: what the guard let through: allowed leaks, and suspects, which become warnings.
        n_sampled: training rows that the guard saw; None where it saw all.
    """
    target = table.dataset.target
    warnings = [str(warning) for warning in table.warnings]
    warnings += [leak.warning for leak in leaks if not leak.is_refused]
    allowed: dict[str, str] = {}
    for leak in leaks:
        if leak.is_refused:
            allowed.update(dict.fromkeys(leak.columns, leak.evidence))
    return DataFacts(
        name=origin.name,
        path=origin.path,
        md5=origin.md5,
        is_simulated=origin.is_simulated,
        n_rows=len(table),
        n_train=len(split.train),
        n_val=len(split.val),
        n_test=len(split.test),
        split_sha256=split.sha256,
        target=target.column,
        unit=target.unit,
        noise_floor=target.noise_floor,
        features=list(table.dataset.feature_names),
        left_out_signal=dict(left_out),
        allowed_leaks=allowed,
        warnings=warnings,
        n_sampled=n_sampled,
    )


class RunRecord(Part):
    """The record of one run.

    `save` replaces the file in one step, so that a killed run leaves a true record.
    """

    format: Literal[1] = 1
    name: str
    status: Status = "running"
    error: str | None = None
    started: str
    ended: str | None = None
    config: dict[str, Any]
    overrides: list[str]
    model: str
    seed: int
    git: Git | None
    lock_sha256: str | None
    versions: dict[str, str]
    hardware: Hardware | None = None
    process: Process | None = None
    tracking: Tracked | None = None
    data: DataFacts
    n_parameters: int
    n_stacked: int = 1
    """Runs that were trained together as one stack, this one included.

    The seconds of `fit` are those of all of them together.
    """
    monitor: str
    history: list[dict[str, float | int]] = Field(default_factory=list)
    best_epoch: int | None = None
    best_value: float | None = None
    is_stopped_early: bool = False
    cut_short: CutShort | None = None
    """Set where more epochs would likely have made a better model."""
    resumed_at: list[int] = Field(default_factory=list)
    timings_s: dict[str, float] = Field(default_factory=dict)
    weights_sha256: str | None = None
    judgement: Judgement | None = None
    files: dict[str, str] = Field(default_factory=dict)
    """Name -> sha256 of each other file of the folder, once the run has finished."""

    @classmethod
    def start(
        cls,
        name: str,
        config: RunConfig,
        overrides: Sequence[str],
        data: DataFacts,
        *,
        n_parameters: int,
    ) -> Self:
        """Return the record of a run that is about to begin."""
        return cls(
            name=name,
            started=now(),
            config=config.model_dump(mode="json"),
            overrides=list(overrides),
            model=config.model_name,
            seed=config.seed,
            git=read_git(),
            lock_sha256=read_lock_hash(),
            versions=read_versions(),
            process=Process.this(),
            data=data,
            n_parameters=n_parameters,
            monitor=config.monitor.metric,
        )

    def save(self, folder: Path) -> None:
        """Write `record.json`, whole or not at all."""
        write_atomically(folder / RECORD, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the record of a run's folder.

        A run whose process was killed while it went on counts as interrupted.

        Raises:
            RunError: the folder is not a run, or its record is of another format.
        """
        path = folder / RECORD
        if not path.is_file():
            hint = "" if folder.is_dir() else " (there is no such folder)"
            raise RunError(f"{folder}: is not a run folder, it has no {RECORD}{hint}")
        try:
            record = cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            what = f"{where}: {fault['msg']}" if where else fault["msg"]
            raise RunError(
                f"{path}: is not a record that this version of studperf reads: {what}"
            ) from error
        process = record.process
        if record.status == "running" and process is not None and process.is_alive is False:
            record.status = "interrupted"
            record.error = f"killed: process {process.pid}, which ran it, is gone"
        return record

    def finish(self, folder: Path) -> None:
        """Mark the run as finished, and hash the files that it left."""
        self.status = "finished"
        self.ended = now()
        self.error = None

        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [path.relative_to(folder) for path in files if path.name != RECORD]
        hashed = [name for name in names if name.parts[0] != WANDB]
        self.files = {str(name): sha256_of(folder / name) for name in hashed}
        self.save(folder)

    def leave(self, folder: Path, status: Status, error: str) -> None:
        """Mark the run as not finished, with the reason."""
        self.status = status
        self.ended = now()
        self.error = mask(error)
        self.save(folder)
