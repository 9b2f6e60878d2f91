"""Commands about bundles: verify, show, predict.

python -m studperf.bundle predict runs/FOLDER rows.csv
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from studperf.cli import make_console, read_keys, run_command, run_command_of
from studperf.errors import ConfigError, DataError

if TYPE_CHECKING:
    from studperf.bundle import Prediction

_USAGE = """Commands about bundles. PATH is a bundle, or a run folder that holds one.

  python -m studperf.bundle verify  PATH                      each file against the manifest; exit code 2 if one was changed
  python -m studperf.bundle show    PATH                      what it predicts, from which columns, how well
  python -m studperf.bundle predict PATH rows.csv [out=FILE]  predictions with their interval, as CSV; needs no torch

rows.csv may be packed by gzip, and parted by commas, semicolons, tabs or bars; encoding=latin-1 names another encoding than UTF-8.
A bundle is made by: python -m studperf.export run=runs/FOLDER. Flags: --debug shows tracebacks."""

_KEYS = ("out", "encoding")
_DELIMITERS = (",", ";", "\t", "|")
_GZIP_MAGIC = b"\x1f\x8b"


def verify(words: Sequence[str]) -> None:
    """Holds every file against the manifest.

    Raises:
        BundleError: lists every file that is not what was written.
    """
    from studperf.bundle import manifest as seals

    folder = seals.find_bundle(_one_path(words, "verify"))
    manifest = seals.verify(folder)
    size = sum(file.bytes for file in manifest.files.values())
    text = f"Good: {folder} is as it was written: {len(manifest.files)} files, {size / 1e6:.2f} MB, of run {manifest.run}."
    make_console().print(text, style="green", soft_wrap=True, markup=False)


def show(words: Sequence[str]) -> None:
    """Says what the bundle predicts, from which columns, and how well it did."""
    from rich.table import Table

    from studperf.bundle import manifest as seals
    from studperf.bundle.schema import Schema

    console = make_console()
    folder = seals.find_bundle(_one_path(words, "show"))
    manifest = seals.verify(folder)
    schema = Schema.model_validate_json(seals.read_sealed(folder, manifest, seals.SCHEMA))
    metrics = json.loads(seals.read_sealed(folder, manifest, seals.METRICS))
    source = "SIMULATED data" if manifest.is_simulated else f"data md5 {manifest.data_md5}"
    unit = f" in {schema.target.unit}" if schema.target.unit else ""
    console.print(
        f"{manifest.model} of run {manifest.run} ({source}), written by studperf {manifest.studperf}",
        soft_wrap=True,
        markup=False,
    )
    console.print(
        f"Predicts {schema.target.column}{unit}. {metrics['verdict']['line']}",
        soft_wrap=True,
        markup=False,
    )
    if metrics["conformal"]:
        band = f"±{float(metrics['conformal']['half_width']):.2f}{unit.replace(' in ', ' ')}"
        console.print(
            f"{metrics['conformal']['level']:.0%} interval: prediction {band}{_promise(metrics)}",
            markup=False,
        )
    table = Table(title=f"{len(schema.columns)} columns to give, raw", title_justify="left")
    for heading in (
        "column",
        "kind",
        "unit",
        "seen in training, or levels",
        "missing value",
        "unknown level",
    ):
        table.add_column(heading, overflow="fold")
    for c in schema.columns:
        seen = f"{c.seen[0]:g} to {c.seen[1]:g}" if c.seen else ", ".join(c.levels or ("0", "1"))
        missing = "refused" if c.fill is None else f"read as {c.fill}"
        unseen = (
            "" if c.kind != "category" else "refused" if c.unseen is None else f"read as {c.unseen}"
        )
        table.add_row(c.name, c.kind, c.unit or "", seen, missing, unseen)
    console.print(table)


def _promise(metrics: dict[str, Any]) -> str:
    """Return how many new rows the interval holds, as far as the run's val rows can promise; older bundles say nothing of it."""
    likely = metrics["conformal"].get("likely")
    if likely is None:
        return ""
    low, high = (float(share) for share in likely)
    return f", which holds {low:.0%} to {high:.0%} of new rows"


def predict(words: Sequence[str]) -> None:
    """Predicts the rows of a CSV.

    Raises:
        BundleError: the bundle was changed.
        DataError: lists every cell that the model was not made for.
    """
    from studperf.bundle import Bundle, find_bundle

    settings = [word for word in words if word.partition("=")[0] in _KEYS]
    own = read_keys(settings, _KEYS)
    paths = [word for word in words if word not in settings]
    if len(paths) != 2:  # noqa: PLR2004 - the bundle and the rows
        raise ConfigError(
            f"say: python -m studperf.bundle predict PATH rows.csv [out=FILE]{_got(words)}"
        )
    bundle = Bundle.open(find_bundle(Path(paths[0])))
    names = {column.name for column in bundle.schema.columns}
    prediction = bundle.predict(_read_csv(Path(paths[1]), names, own.get("encoding", "utf-8")))
    for warning in prediction.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    with _writer(own.get("out")) as file:
        _write_csv(file, prediction)
    if "out" in own:
        make_console().print(
            f"Wrote {len(prediction.predicted)} predictions to {own['out']}",
            soft_wrap=True,
            markup=False,
        )


def _read_csv(path: Path, names: set[str], encoding: str) -> dict[str, list[str]]:
    """Columns of text; the delimiter is the one by which the header holds the most of these names."""
    try:
        text = _unpack(path).decode(encoding).removeprefix("\ufeff")
        headers = {
            mark: next(csv.reader(io.StringIO(text, newline=""), delimiter=mark), [])
            for mark in _DELIMITERS
        }
        delimiter = max(_DELIMITERS, key=lambda mark: len(names & set(headers[mark])))
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) or [[]]
    except LookupError as error:
        raise ConfigError(f"encoding={encoding}: Python knows no such encoding") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is no text in {encoding}: {error}. Name its encoding, for example encoding=latin-1"
        ) from error
    except csv.Error as error:
        raise DataError(f"{path}: is no CSV: {error}") from error
    rows = [row for row in rows if row]  # the csv module reads an empty line as a row without cells
    if not header:
        raise DataError(f"{path}: is empty; its first line must name the columns")
    if strange := [i for i, row in enumerate(rows, start=1) if len(row) != len(header)]:
        raise DataError(
            f"{path}: row {strange[0]} has {len(rows[strange[0] - 1])} cells, the header names {len(header)}"
        )
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def _unpack(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(_GZIP_MAGIC) else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is a damaged gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error


@contextmanager
def _writer(out: str | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    try:
        with Path(out).open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise ConfigError(f"out={out}: can't be written: {error.strerror}") from error


def _write_csv(file: TextIO, prediction: Prediction) -> None:
    writer = csv.writer(file, lineterminator="\n")
    has_band = prediction.low is not None and prediction.high is not None
    writer.writerow(["row", "predicted", *(["low", "high"] if has_band else [])])
    columns = [
        prediction.predicted,
        *(side for side in (prediction.low, prediction.high) if side is not None),
    ]
    for i, values in enumerate(zip(*columns, strict=True), start=1):
        writer.writerow([i, *(f"{value:.6g}" for value in values)])


def _one_path(words: Sequence[str], command: str) -> Path:
    if len(words) != 1:
        raise ConfigError(f"say: python -m studperf.bundle {command} PATH{_got(words)}")
    return Path(words[0])


def _got(words: Sequence[str]) -> str:
    return f"; got {' '.join(words)}" if words else ""


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "verify": verify,
    "show": show,
    "predict": predict,
}


def main() -> None:
    """The command."""
    run_command_of(_COMMANDS, _USAGE)


if __name__ == "__main__":
    run_command(main)
