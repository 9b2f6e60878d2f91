"""All that a run knows about itself: one JSON file, true at any moment, complete without any server."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import platform
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studperf.config import project_root
from studperf.config.checkout import read_commit
from studperf.config.document import write_document
from studperf.config.secrets import mask
from studperf.config.shape import RunConfig
from studperf.data.encode import Encoder
from studperf.data.leaks import Leak
from studperf.data.left_out import left_out_signal
from studperf.data.schema import Table
from studperf.data.source import Provenance
from studperf.data.split import Split
from studperf.errors import PrunedError, RunError, as_shown
from studperf.metrics import Interval

if TYPE_CHECKING:
    from studperf.data.rows import Rows
    from studperf.module import ScoreModule  # brings torch, and reading a record needs none

RECORD = "record.json"
BEST = "checkpoints/best.ckpt"
LAST = "checkpoints/last.ckpt"
ENCODER = "encoder.json"
PREDICTIONS = "predictions.parquet"
SEEN_ROWS = "seen_rows.parquet"
HISTORY = "history.csv"
LOG_FILE = "log.txt"
COMMIT = "STUDPERF_COMMIT"
"""Set in an image by docker/train.Dockerfile."""
WANDB = "wandb"
STUDIES = "sweeps"
"""Below `runs`: a folder for each study."""
"""The folder that is W&B's own: it goes on changing after a run, so its files are not hashed."""
LOG = logging.getLogger("studperf")
_PACKAGES = (
    "studperf",
    "torch",
    "lightning",
    "hydra-core",
    "pandas",
    "numpy",
    "scikit-learn",
    "pyarrow",
    "pydantic",
    "tabm",
)

Status = Literal["running", "finished", "interrupted", "failed", "pruned"]
VerdictKind = Literal[
    "no better than the mean", "worse", "can't tell", "matches", "beats", "suspicious"
]


class Part(BaseModel):
    """A block of the record."""

    # JSON knows no NaN; as text it stays valid JSON and comes back as it was.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class Git(Part):
    """Where the code stood."""

    commit: str
    is_dirty: bool


class DataFacts(Part):
    """Which rows the run saw, and what was noticed about them."""

    name: str
    path: str | None
    md5: str | None
    is_simulated: bool
    n_rows: int
    n_train: int
    n_val: int
    n_test: int
    split_sha256: str
    target: str
    unit: str
    noise_floor: float | None
    features: list[str]
    left_out_signal: dict[str, float]
    """Columns that are no feature though they explain this share of the target's variance."""
    allowed_leaks: dict[str, str]
    """Features that give the target away and were allowed by name, with the evidence."""
    warnings: list[str]
    n_sampled: int | None = None
    """Training rows that leak tests and baselines saw of a large table; None: all of them."""


class Hardware(Part):
    """What the run ran on."""

    platform: str
    cpu: str
    n_cores: int
    accelerator: str
    n_threads: int


class Process(Part):
    """Who runs a run: by it a reader tells a run that goes on from one whose process was killed."""

    host: str
    pid: int
    started: str | None
    """When the process began, as the system says it; None where it can't be asked. A number may come back, with another start."""

    @classmethod
    def this(cls) -> Self:
        """The process that asks."""
        return cls(host=socket.gethostname(), pid=os.getpid(), started=_process_start(os.getpid()))

    @property
    def is_alive(self) -> bool | None:
        """None where it can't be known: the process ran on another machine, or the system does not say."""
        if self.started is None or self.host != socket.gethostname():
            return None
        return _process_start(self.pid) == self.started


class Tracked(Part):
    """Where W&B has the run. Never a key."""

    mode: Literal["online", "offline", "disabled"]
    """How the run was tracked in the end: a server that can't be reached makes it offline."""
    id: str
    project: str
    entity: str | None
    group: str | None
    url: str | None = None
    is_confirmed: bool = False
    """The server has taken all of it."""
    note: str | None = None


class Scores(Part):
    """Errors of one predictor on the scored split, with 95 % intervals."""

    rmse: Interval
    mae: Interval
    r2: Interval
    bias: Interval


class Slice(Part):
    """Errors among the rows with one level of one column."""

    column: str
    level: str
    n: int
    rmse: float
    mae: Interval
    bias: Interval


class Conformal(Part):
    """The band around a prediction that holds the truth with probability `level`, learnt on val, tried on the scored split."""

    level: float
    half_width: float
    coverage: float
    n_val: int | None = None
    likely: tuple[float, float] | None = None
    """Between which shares of new rows it holds, as far as so few val rows can promise."""


class Verdict(Part):
    """The run's judgement in words."""

    kind: VerdictKind
    line: str
    baseline: str | None = None
    """The baseline that the line speaks of; None where it speaks of none."""
    n_rows_needed: int | None = None
    """Scored rows that would tell, about, where these can't."""


class BaselineStanding(Part):
    """A baseline's error on training rows that were held out from it."""

    rmse: Interval
    behind: Interval | None
    """RMSE minus that of the strongest baseline, paired; None for the strongest itself."""
    is_tied: bool
    """The held-out rows can't part it from the strongest."""


class BaselineChoice(Part):
    """How the baselines did in cross-validation on the training rows, by which the strongest is chosen."""

    standings: dict[str, BaselineStanding]
    """The strongest first."""
    n_fits: int
    n_rows: int


class CutShort(Part):
    """Training that ended while val was still getting better, and not by early stopping."""

    metric: str
    best_epoch: int
    """Counted from 1, as people read it."""
    n_epochs: int
    gain: float
    """By how much the metric's error fell over the last epochs, as a share of what it was."""
    n_gained: int
    """The epochs over which it did."""
    way_out: str

    @property
    def line(self) -> str:
        """In words."""
        return (
            f"Training was cut short: epoch {self.best_epoch} of {self.n_epochs} was the best, and {self.metric} was still getting "
            f"better, by {100 * self.gain:.2g} % over the last {self.n_gained}; try {self.way_out}."
        )


class Judgement(Part):
    """What the scored split says."""

    scored_on: Literal["test", "val"]
    scores: Scores
    baselines: dict[str, Scores]
    best_baseline: str
    against_best: Interval
    """RMSE minus that of the best baseline, paired."""
    against_mean: Interval
    against: dict[str, Interval] = Field(default_factory=dict)
    """RMSE minus that of each baseline, paired."""
    choice: BaselineChoice | None = None
    """How the best baseline was chosen; None in records of versions that chose it on val."""
    skill: float
    """1 - RMSE / RMSE of the mean."""
    conformal: Conformal | None
    slices: list[Slice]
    verdict: Verdict


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
    allowed = {name: leak.evidence for leak in leaks if leak.is_refused for name in leak.columns}
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
    """The record of one run. `save` replaces the file in one step, so a killed run leaves a true one."""

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
    """Runs that were trained together as one stack, this one included; the seconds of `fit` are theirs together."""
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
        """The record of a run about to begin."""
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
        """Writes `record.json`, whole or not at all."""
        write_atomically(folder / RECORD, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads a run folder's record; a run that was going on when its process was killed is interrupted.

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
        if (
            record.status == "running"
            and record.process is not None
            and record.process.is_alive is False
        ):
            record.status, record.error = (
                "interrupted",
                f"killed: process {record.process.pid}, which ran it, is gone",
            )
        return record

    def finish(self, folder: Path) -> None:
        """Marks the run as finished and hashes what it left."""
        self.status, self.ended, self.error = "finished", now(), None
        left = (
            path.relative_to(folder)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != RECORD
        )
        self.files = {
            str(name): sha256_of(folder / name) for name in left if name.parts[0] != WANDB
        }
        self.save(folder)

    def leave(self, folder: Path, status: Status, error: str) -> None:
        """Marks the run as not finished, with the reason."""
        self.status, self.ended, self.error = status, now(), mask(error)
        self.save(folder)


def open_run(
    config: RunConfig,
    overrides: Sequence[str],
    rows: Rows,
    leaks: Sequence[Leak],
    encoder: Encoder,
    module: ScoreModule,
    folder: Path | None,
    *,
    is_kept: bool = True,
) -> tuple[RunRecord, Path]:
    """A record and its folder: a new one, or, where `folder` holds a run already, that run to go on with.

    Unless `is_kept` nothing is written: the record belongs to one of the further processes of a run.

    Raises:
        RunError: the folder can't be made, or its run began with other rows.
    """
    split, left_out = rows.split, dict(left_out_signal(rows.table(rows.sample), config.data))
    data = describe_data(
        rows, split, rows.origin, left_out=left_out, leaks=leaks, n_sampled=rows.n_sampled
    )
    n_parameters = sum(p.numel() for p in module.model.parameters())
    begun = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    name = folder.name if folder else f"{begun}_{config.model_name}_seed{config.seed}"
    record = RunRecord.start(name, config, overrides, data, n_parameters=n_parameters)
    if folder is not None and (folder / RECORD).is_file():
        record = reopen(folder, record, is_kept=is_kept)
    elif not is_kept:
        return record, Path(config.runs) / name
    else:
        # A folder without a record is what a run leaves that was killed as it began: it is begun there again.
        if folder is None or not folder.is_dir():
            folder = make_folder(folder.parent if folder else Path(config.runs), name)
        record.name = folder.name
        write_inputs(folder, config, record.overrides, encoder.model_dump_json(indent=1))
        seen = np.concatenate([split.train, split.val])
        pd.DataFrame({"hash": rows.hashes(seen)}).to_parquet(folder / SEEN_ROWS, index=False)
    if is_kept:
        record.save(folder)
    return record, folder


class _Formatter(logging.Formatter):
    """Lines of `log.txt`, which people read in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with no secret in it, and no character that would steer a terminal."""
        return as_shown(mask(super().format(record)))


@contextmanager
def recorded(record: RunRecord, folder: Path) -> Iterator[None]:
    """Whatever ends the work inside, the record says it: finished, interrupted, or failed with the reason; `log.txt` says more."""
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
    """The record of a run to go on with, once the rows are seen to be the same.

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
                f"{folder}: can't go on, the {what} was {old} and is now {new}. Bring the old rows back, or start a new run."
            )
    record.status, record.ended, record.error, record.process = "running", None, None, fresh.process
    if (folder / LAST).is_file():
        record.history = _kept_history(folder / LAST)
    else:  # begun in a stack, which keeps no checkpoint to go on from
        record.history, record.n_stacked = [], 1
    record.resumed_at.append(len(record.history))
    return record


def _kept_history(checkpoint: Path) -> list[dict[str, Any]]:
    """The epochs that a checkpoint knows: a run that was stopped after it has recorded later ones, which are trained again."""
    import torch

    states = torch.load(checkpoint, map_location="cpu", weights_only=True)["callbacks"].values()
    history: list[dict[str, Any]] = next(state["history"] for state in states if "history" in state)
    return history


@contextmanager
def timed(record: RunRecord, what: str) -> Iterator[None]:
    """Adds the seconds that the work inside took to the record; a resumed run's add up."""
    started = time.monotonic()
    try:
        yield
    finally:
        record.timings_s[what] = round(
            record.timings_s.get(what, 0.0) + time.monotonic() - started, 3
        )


def read_predictions(folder: Path) -> pd.DataFrame:
    """The rows of `predictions.parquet`: row, split, actual, predicted, and a column for each baseline.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        return pd.read_parquet(folder / PREDICTIONS)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{folder / PREDICTIONS}: can't be read, it is missing or damaged; train the run again"
        ) from error


def read_encoder(folder: Path) -> Encoder:
    """What the run's training rows taught.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        return Encoder.model_validate_json((folder / ENCODER).read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(
            f"{folder / ENCODER}: can't be read, it is missing or damaged; train the run again"
        ) from error


def make_folder(runs: Path, name: str) -> Path:
    """A new folder `runs/<name>`; a number is added when the name is taken.

    Raises:
        RunError: the folder can't be made there.
    """
    for i in range(1, 1000):
        folder = runs / (name if i == 1 else f"{name}-{i}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if runs.exists() and not runs.is_dir():
                raise RunError(f"runs={runs}: is a file; name a folder for the runs") from None
        except OSError as error:
            raise RunError(
                f"runs={runs}: no run folder can be made there: {error.strerror}"
            ) from error
        else:
            return folder
    raise RunError(f"{runs / name}: a thousand runs of this name")


def write_inputs(folder: Path, config: RunConfig, overrides: list[str], encoder_json: str) -> None:
    """`config.yaml`, `overrides.yaml` and `encoder.json`: with them alone the run can be repeated or resumed."""
    write_atomically(folder / "config.yaml", write_document(config.model_dump(mode="json")))
    write_atomically(folder / "overrides.yaml", yaml.safe_dump(overrides))
    write_atomically(folder / ENCODER, encoder_json)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file in one step: a reader, or a kill, sees the old text or the new one."""
    # One name, so that what a kill leaves behind is overwritten by the next write.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def sha256_of(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _process_start(pid: int) -> str | None:
    """When a process began, in the system's own words; None if there is no such process, or no way to ask."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").is_file():
        try:
            # The name in parentheses may hold spaces; the state comes first after it, the start time 19 fields later.
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    try:
        asked = subprocess.run(  # noqa: S603
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return asked.stdout.strip() or None


def read_git() -> Git | None:
    """The checkout's commit, or in an image the one that it was built for; None for an installed package or without git."""
    if (read := read_commit()) is not None:
        return Git(commit=read[0], is_dirty=read[1])
    built_for = os.environ.get(COMMIT, "")
    return (
        Git(commit=built_for, is_dirty=False) if re.fullmatch("[0-9a-f]{40}", built_for) else None
    )


def read_lock_hash() -> str | None:
    """sha256 of the names and versions in `uv.lock`; None for an installed package."""
    lock = project_root() / "uv.lock"
    if not lock.is_file():
        return None
    lines = lock.read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line.startswith(("name = ", "version = "))]
    return hashlib.sha256("\n".join(pins).encode()).hexdigest()


def read_versions() -> dict[str, str]:
    """Of Python and the packages that can change a result."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def read_hardware(accelerator: str, n_threads: int) -> Hardware:
    """What the run runs on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return Hardware(
        platform=platform.platform(),
        cpu=cpu,
        n_cores=os.cpu_count() or 1,
        accelerator=accelerator,
        n_threads=n_threads,
    )
