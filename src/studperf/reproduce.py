"""Run a finished run again and print IDENTICAL, or what differs first.

python -m studperf.reproduce run=runs/FOLDER
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf.cli.command import is_on, read_keys, read_words
from studperf.cli.process import check_output, make_console, run_command
from studperf.config.console import print_line
from studperf.config.load import load
from studperf.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.config.run import RunConfig
    from studperf.record.record import RunRecord

_USAGE = """Runs a finished run again and says IDENTICAL, or what differs first.

  python -m studperf.reproduce run=runs/FOLDER
  python -m studperf.reproduce run=runs/FOLDER force=true    although the code, a package or the data are others (not data that data.dvc refuses)
  python -m studperf.reproduce run=runs/FOLDER runs=DIR      keeps the new run, below DIR

Exit codes: 0 identical, 1 something differs: what the run began with, and then it is not run again, or what came out; 2 it could not be tried. Flags: --debug shows tracebacks."""
_KEYS = ("run", "force", "runs")
_DIFFERENT = 1


@dataclass(frozen=True)
class Difference:
    """A value that is not as it was recorded."""

    what: str
    recorded: object
    now: object
    way_back: str = ""

    def __str__(self) -> str:
        """Return the difference as a line."""
        line = f"{self.what}: recorded {self.recorded}, now {self.now}"
        return f"{line} ({self.way_back})" if self.way_back else line


def reproduce(
    folder: Path, console: Console, *, is_forced: bool = False, runs: Path | None = None
) -> bool:
    """Run a finished run again and return True if everything is the same.

    What the run begins with is compared first, then what came out.

    Args:
        folder: of a finished run.
        console: shows each difference.
        is_forced: run although code, packages or data differ.
        runs: where to keep the new run; it is thrown away by default.

    Raises:
        RunError: the folder holds no finished run.
    """
    from studperf.record.record import RunRecord

    record = RunRecord.load(folder)
    if record.status != "finished" or record.judgement is None:
        raise RunError(f"{folder}: is {record.status}; only a finished run can be reproduced")
    config = _config_of(record)
    causes = [*code_differences(record), *data_differences(record, config)]
    for cause in causes:
        print_line(console, str(cause), style="bold yellow")
    for note in surroundings(record):
        print_line(console, f"note: {note}")
    if causes and not is_forced:
        console.print(
            "NOT run again: it would be another run. force=true runs it all the same.",
            style="bold red",
        )
        return False
    with (
        tempfile.TemporaryDirectory()
        if runs is None
        else contextlib.nullcontext(str(runs)) as place
    ):
        again, again_folder = _run_again(config, record, Path(place))
        difference = next(outcome_differences(record, folder, again, again_folder), None)
    if difference is None:
        console.print(
            f"IDENTICAL: weights {str(record.weights_sha256)[:12]}, history, "
            "predictions and scores.",
            style="bold green",
        )
        return not causes
    print_line(console, f"DIFFERENT, first in {difference}", style="bold red")
    return False


def code_differences(record: RunRecord) -> Iterator[Difference]:
    """Yield the differences in commit, lock file and versions."""
    from studperf.record.surroundings import read_git, read_lock_hash, read_versions

    git = read_git()
    then = record.git.commit if record.git else None
    now = git.commit if git else None
    if then != now:
        yield Difference("commit", then, now, f"git checkout {then}" if then else "")

    lock = read_lock_hash()
    if record.lock_sha256 != lock:
        yield Difference(
            "packages in uv.lock", record.lock_sha256, lock, "the commit's uv.lock has them"
        )
    versions = read_versions()
    for package, version in record.versions.items():
        if versions.get(package) != version:
            yield Difference(f"version of {package}", version, versions.get(package), "uv sync")


def data_differences(record: RunRecord, config: RunConfig) -> Iterator[Difference]:
    """Yield a difference if the table's md5 changed, or a simulated table took its place."""
    from studperf.data.source import find_origin

    try:
        origin = find_origin(config.data)
    except DataError as error:  # the file is gone, or not the one that data.dvc names
        yield Difference("data", record.data.md5 or "simulated", str(error))
        return
    if record.data.is_simulated != origin.is_simulated:
        kinds = {True: "a simulated table", False: "a table from a file"}
        yield Difference(
            "data",
            kinds[record.data.is_simulated],
            kinds[origin.is_simulated],
            str(record.data.path or ""),
        )
    elif record.data.md5 != origin.md5:
        yield Difference("data md5", record.data.md5, origin.md5, str(origin.path))


def surroundings(record: RunRecord) -> Iterator[str]:
    """Yield notes on what may change a result, or hide a change.

    Nothing here can be put right from this command.
    """
    from studperf.record.surroundings import read_git, read_hardware

    git = read_git()
    if record.git is not None and record.git.is_dirty:
        yield "the run's code had changes that were not committed; what they were is not recorded"
    if git is not None and git.is_dirty:
        yield "the code has changes that are not committed"
    if (then := record.hardware) is not None:
        now = read_hardware(then.accelerator, then.n_threads)
        for name in ("platform", "cpu", "n_cores"):
            if getattr(then, name) != getattr(now, name):
                yield str(Difference(f"hardware, {name}", getattr(then, name), getattr(now, name)))


def outcome_differences(
    record: RunRecord, folder: Path, again: RunRecord, again_folder: Path
) -> Iterator[Difference]:
    """Yield the differences in the results, in the order in which a run makes them."""
    yield from _unequal("split sha256", record.data.split_sha256, again.data.split_sha256)
    for before, after in zip(record.history, again.history, strict=False):
        for name in before:
            if name != "seconds":
                yield from _unequal(
                    f"history, epoch {before['epoch']}, {name}", before[name], after.get(name)
                )
    yield from _unequal("number of epochs", len(record.history), len(again.history))
    yield from _unequal("best epoch", record.best_epoch, again.best_epoch)
    yield from _unequal("weights sha256", record.weights_sha256, again.weights_sha256)
    leaves_rows_out = bool(record.config["data"].get("drop_missing_target"))
    yield from _prediction_differences(folder, again_folder, leaves_rows_out=leaves_rows_out)

    then = record.judgement.model_dump(mode="json") if record.judgement else {}
    now = again.judgement.model_dump(mode="json") if again.judgement else {}
    for name in then:
        yield from _unequal(name, then[name], now.get(name))


def _prediction_differences(
    folder: Path, again_folder: Path, *, leaves_rows_out: bool
) -> Iterator[Difference]:
    from studperf.record.files import read_predictions

    then = read_predictions(folder)
    now = read_predictions(again_folder)
    if leaves_rows_out and list(then["actual"]) == list(now["actual"]):
        # Earlier versions numbered the rows that were kept, not those of the file.
        then["row"] = now["row"]
    yield from _unequal(
        "rows predicted",
        list(zip(then["split"], then["row"], strict=True)),
        list(zip(now["split"], now["row"], strict=True)),
    )
    for name in then.columns:
        is_there = name in now
        changed = then[name] != now[name] if is_there else then[name].notna()
        if changed.any():
            at = int(changed.to_numpy().argmax())
            now_value = now[name].iloc[at] if is_there else None
            yield Difference(
                f"predictions, {name}, row {then['row'].iloc[at]}", then[name].iloc[at], now_value
            )


def _unequal(what: str, then: Any, now: Any) -> Iterator[Difference]:  # noqa: ANN401 - any value
    # A score that is no number is not equal to itself, but is the same.
    if then != now and not (then != then and now != now):  # noqa: PLR0124 - NaN
        yield Difference(what, then, now)


def _config_of(record: RunRecord) -> RunConfig:
    """Return the run's configuration, tracked nowhere and with the threads that it had.

    A sum's last bits depend on the number of threads.
    """
    plain = {**record.config, "resume": None}
    tracking = plain["tracking"]
    wandb = {**tracking["wandb"], "mode": "disabled"}
    plain["tracking"] = {**tracking, "wandb": wandb}
    if record.hardware is not None:
        plain["threads"] = record.hardware.n_threads
    return load(plain, is_trusted=False)


def _run_again(config: RunConfig, record: RunRecord, runs: Path) -> tuple[RunRecord, Path]:
    from studperf.train.run import run

    moved = config.model_copy(update={"runs": str(runs)})
    again = run(moved, overrides=record.overrides)
    return again, runs / again.name


def main() -> int | None:
    """Run the command."""
    if (words := read_words(_USAGE)) is None:
        return None
    given = read_keys(words, _KEYS)
    if "run" not in given:
        raise ConfigError(f"name the run: run=runs/FOLDER\n\n{_USAGE}")
    runs = Path(given["runs"]) if "runs" in given else None
    if runs is not None:
        check_output("runs", runs)
    folder = Path(given["run"])
    is_same = reproduce(folder, make_console(), is_forced=is_on(given, "force"), runs=runs)
    return None if is_same else _DIFFERENT


if __name__ == "__main__":
    run_command(main)
