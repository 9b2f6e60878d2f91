"""Score a finished run again, on its own rows or on another file.

On its own rows it must find the recorded numbers.

python -m studperf.evaluate run=runs/FOLDER
python -m studperf.evaluate run=runs/FOLDER data.source.path=new.csv
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studperf.cli.command import read_keys, read_words
from studperf.cli.process import end_at_once, importing, make_console, run_command
from studperf.config.console import warn
from studperf.errors import ConfigError, RunError
from studperf.train.finished import FinishedRun

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from rich.console import Console

    from studperf.config.dataset import Dataset, Source
    from studperf.data.rows import Rows
    from studperf.data.schema import Table
    from studperf.record.shape import Scores
    from studperf.scoring.metrics import FloatArray

_USAGE = """Scores a finished run again: on its own test rows, where it must find the recorded numbers, or on another file.

  python -m studperf.evaluate run=runs/FOLDER
  python -m studperf.evaluate run=runs/FOLDER data.source.path=new.csv

A file without the target column is predicted only. Predictions go to runs/FOLDER/evaluations/; their column `row` counts the rows
of the file from 1, below its header. A CSV's delimiter is found by its header where it is another than the run's own table has.
Keys: run, data.source.path, data.source.delimiter (or delimiter), data.source.encoding (or encoding),
data.source.decimal (or decimal), data.source.thousands (or thousands).
Flags: --debug shows tracebacks."""
_SHORT = {key: f"data.source.{key}" for key in ("delimiter", "encoding", "decimal", "thousands")}
_KEYS = ("run", "data.source.path", *_SHORT.values(), *_SHORT)
_NOT_THE_SAME = 1


def evaluate(run: FinishedRun, changes: dict[str, str], console: Console) -> bool:
    """Score a run again, and show and save the result.

    Returns:
        False if the run's own rows don't give the recorded numbers.

    Raises:
        DataError: the file can't be used as the dataset describes it.
    """
    from studperf.data.rows import open_good_rows
    from studperf.data.source import find_origin

    source = _change(run.config.data.source, changes)
    if "data.source.path" in changes and "data.source.delimiter" not in changes:
        source = _with_found_delimiter(source, run.config.data)
    dataset = run.config.data.model_copy(update={"source": source})

    facts, origin = run.record.data, find_origin(dataset)
    is_own = origin.md5 == facts.md5 and origin.is_simulated == facts.is_simulated
    with open_good_rows(dataset, console, for_training=is_own) as rows:
        if is_own:
            return _score_own_rows(run, rows, console)
        _score_other_rows(run, rows, console)
    if "data.source.path" not in changes:
        text = (
            "These are not the rows that the run was recorded with: its table has changed since, "
            "or another one lies in its place."
        )
        warn(console, text)
    return True


def _with_found_delimiter(source: Source, dataset: Dataset) -> Source:
    """Return the source of another file, with the delimiter that its header shows."""
    from studperf.bundle.table import find_delimiter, read_header
    from studperf.config.paths import find_file
    from studperf.schema.files import PARQUET_ENDINGS

    path = find_file(str(source.path))
    if path.suffix in PARQUET_ENDINGS or not path.is_file():
        return source
    names = {*dataset.columns, dataset.target.column}
    header = read_header(path, source.encoding)
    delimiter = find_delimiter(header, names, first=source.delimiter)
    return source.model_copy(update={"delimiter": delimiter})


def _change(source: Source, changes: dict[str, str]) -> Source:
    """Return the source of the rows, with the changes of the command line.

    Raises:
        ConfigError: a change is not possible.
    """
    if not changes:
        return source
    from pydantic import ValidationError

    given: dict[str, str | None] = {}
    for key, value in changes.items():
        given[key.rsplit(".", 1)[-1]] = value
    if given.get("thousands") in ("null", "none"):  # as YAML would read it
        given["thousands"] = None
    try:
        return source.model_validate(source.model_dump() | given | {"otherwise": "fail"})
    except ValidationError as error:
        said = [str(fault["msg"]).removeprefix("Value error, ") for fault in error.errors()]
        raise ConfigError(f"data.source: {'; '.join(said)}") from error


def _warn_of_seen_rows(run: FinishedRun, rows: Rows, console: Console) -> None:
    import numpy as np
    import pandas as pd

    from studperf.record.files import SEEN_ROWS

    if not (run.folder / SEEN_ROWS).is_file():
        return
    hashes = rows.hashes(np.arange(len(rows)))
    seen = pd.read_parquet(run.folder / SEEN_ROWS)["hash"].to_numpy()
    n_seen = int(np.isin(hashes, seen).sum())
    if n_seen:
        what = (
            f"{n_seen} of {len(hashes)} rows were in the run's train or val split, "
            "so a score on them says little about new rows"
        )
        warn(console, what)


def _score_own_rows(run: FinishedRun, rows: Rows, console: Console) -> bool:
    import numpy as np

    from studperf.judge.judge import BLOCK, score

    judgement = run.record.judgement
    if judgement is None:
        return False
    if rows.split.sha256 != run.record.data.split_sha256:
        raise RunError(
            f"{run.folder}: these rows split differently than when the run was recorded "
            f"({rows.split.sha256})"
        )

    part = vars(rows.split)[judgement.scored_on]
    predicted = []
    for start in range(0, len(part), BLOCK):
        table = rows.table(part[start : start + BLOCK])
        predicted.append(run.predict(table))
    scores = score(np.concatenate(predicted), rows.target(part))
    _show(
        run,
        {f"{run.record.model}, now": scores, "as recorded": judgement.scores},
        f"{judgement.scored_on} split, {len(part)} rows",
        console,
    )
    is_same = scores == judgement.scores
    if is_same:
        console.print("IDENTICAL to the recorded scores.", style="bold green")
    else:
        console.print(
            "NOT the recorded scores: another machine, another version of torch, "
            "or a changed file.",
            style="bold red",
        )
    return is_same


def _score_other_rows(run: FinishedRun, rows: Rows, console: Console) -> None:
    import numpy as np
    import pandas as pd

    from studperf.judge.judge import score

    for warning in (*rows.findings, *run.encoder.extrapolated(rows.blocks())):
        warn(console, str(warning))
    _warn_of_seen_rows(run, rows, console)
    predicted = np.concatenate([run.predict(table) for table in rows.blocks()])
    actual = np.concatenate([_targets_of(table) for table in rows.blocks()])
    name = Path(str(rows.origin.path)).stem

    numbers = np.arange(1, len(predicted) + 1)
    frame = pd.DataFrame({"row": numbers, "predicted": predicted})
    judgement = run.record.judgement
    if judgement is not None and judgement.conformal is not None:
        half_width = judgement.conformal.half_width
        frame["low"] = predicted - half_width
        frame["high"] = predicted + half_width

    known = np.isfinite(actual)
    if known.sum() > 1:
        frame["actual"] = actual
        scores = {run.record.model: score(predicted[known], actual[known])}
        if judgement is not None:
            scores["when it was trained"] = judgement.scores
        _show(run, scores, f"{name}, {int(known.sum())} rows with a target", console)
        if "low" in frame:
            is_held = (frame["actual"] >= frame["low"]) & (frame["actual"] <= frame["high"])
            share = is_held[known].mean()
            console.print(f"The 90 % band holds {share:.1%} of these rows.")
    else:
        why = "the file has no target to score by"
        if known.any():
            why = "one row with a target is too few to score"
        console.print(f"Rows predicted: {len(predicted)}; {why}.")
    console.print(f"Predictions in {_save(run, frame, name)}", soft_wrap=True)


def _targets_of(table: Table) -> FloatArray:
    """Return a table's targets, (N,), or NaN if it has none."""
    import numpy as np

    if table.has_target:
        return table.target
    return np.full(len(table), np.nan)


def _save(run: FinishedRun, frame: pd.DataFrame, name: str) -> Path:
    folder = run.folder / "evaluations"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.parquet"
    frame.to_parquet(path, index=False)
    return path


def _show(run: FinishedRun, rows: dict[str, Scores], title: str, console: Console) -> None:
    from studperf.report import score_table

    unit = run.record.data.unit
    console.print(score_table(rows, title=f"{title}, 95 % intervals", unit=unit))


def _read_given(words: Iterable[str]) -> dict[str, str]:
    """Return the keys of the command line, short ones under their long names.

    Raises:
        ConfigError: a key is not known, or given twice.
    """
    from studperf.bundle.table import as_delimiter

    given = read_keys(words, _KEYS)
    for short, long in _SHORT.items():
        if short in given and long in given:
            raise ConfigError(f"{short} and {long} are the same key; give one of them")
        if short in given:
            given[long] = given.pop(short)
    if "data.source.delimiter" in given:
        given["data.source.delimiter"] = as_delimiter(given["data.source.delimiter"])
    return given


def _check_encoding(name: str) -> None:
    from studperf.config.types import check_encoding

    try:
        check_encoding(name)
    except ValueError as error:
        raise ConfigError(f"data.source.encoding: {error}") from error


def main() -> int | None:
    """Run the command."""
    if (words := read_words(_USAGE)) is None:
        return None
    given = _read_given(words)
    if "run" not in given:
        raise ConfigError(f"name the run: run=runs/FOLDER\n\n{_USAGE}")
    if "data.source.encoding" in given:
        _check_encoding(given["data.source.encoding"])
    with importing():
        run = FinishedRun.load(Path(given.pop("run")))
    return None if evaluate(run, given, make_console()) else _NOT_THE_SAME


if __name__ == "__main__":
    end_at_once()
    run_command(main)
