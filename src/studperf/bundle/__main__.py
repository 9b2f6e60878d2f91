"""The commands about bundles: verify, show, predict.

python -m studperf.bundle predict runs/FOLDER rows.csv
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from studperf.cli.command import quote_words, read_keys, run_command_of
from studperf.cli.process import check_output, make_console, print_warning, run_command
from studperf.config.console import print_line
from studperf.config.files import check_file
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from studperf.bundle import Prediction
    from studperf.bundle.content import Metrics
    from studperf.bundle.schema import InputColumn, Schema

_USAGE = """Commands about bundles. PATH is a bundle, or a run folder that holds one.

  python -m studperf.bundle verify  PATH                      each file against the manifest; exit code 2 if one was changed
  python -m studperf.bundle show    PATH                      what it predicts, from which columns, how well
  python -m studperf.bundle predict PATH rows.csv [out=FILE]  predictions with their interval, as CSV; needs no torch

rows.csv may be packed by gzip, and parted by commas, semicolons, tabs or bars, which is found by its header; delimiter=semicolon says it,
encoding=latin-1 names another encoding than UTF-8. A Parquet file is read too, where pyarrow is installed.
Its numbers are written as in the table that the model was trained on; decimal=comma, decimal=point and
thousands=point|comma|space|apostrophe|none say otherwise.
The column `row` of the predictions counts the rows of the file from 1, below its header.
A bundle is made by: python -m studperf.export run=runs/FOLDER. Flags: --debug shows tracebacks."""

_KEYS = ("out", "encoding", "delimiter", "decimal", "thousands")


def verify(words: Sequence[str]) -> None:
    """Check every file against the manifest, and its content against its form.

    Raises:
        BundleError: lists every file that is not what was written, or asks for too much.
    """
    from studperf.bundle import manifest as seals
    from studperf.bundle.content import read_content

    folder = seals.find_bundle(_one_path(words, "verify"))
    manifest = seals.verify(folder)
    read_content(folder, manifest)
    size = sum(file.bytes for file in manifest.files.values())
    text = (
        f"Good: {folder} is as it was written: "
        f"{len(manifest.files)} files, {size / 1e6:.2f} MB, of run {manifest.run}."
    )
    print_line(make_console(), text, style="green")


def show(words: Sequence[str]) -> None:
    """Print what the bundle predicts, from which columns, and how well it did."""
    from rich.table import Table

    from studperf.bundle import manifest as seals
    from studperf.bundle.content import read_content

    console = make_console()
    folder = seals.find_bundle(_one_path(words, "show"))
    manifest = seals.verify(folder)
    content = read_content(folder, manifest)
    schema, metrics = content.schema, content.metrics
    source = "SIMULATED data" if manifest.is_simulated else f"data md5 {manifest.data_md5}"
    unit = f" in {schema.target.unit}" if schema.target.unit else ""
    print_line(
        console,
        f"{manifest.model} of run {manifest.run} ({source}), "
        f"written by studperf {manifest.studperf}",
    )
    print_line(console, f"Predicts {schema.target.column}{unit}. {metrics.verdict.line}")
    if metrics.conformal:
        print_line(console, _describe_band(metrics.conformal, metrics.size, schema.target.unit))
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
    for column in schema.columns:
        table.add_row(*_column_cells(column))
    console.print(table)


def _column_cells(column: InputColumn) -> list[str]:
    """Return a column's row in the table of `show`."""
    seen = ", ".join(column.levels or ("0", "1"))
    if column.seen:
        low, high = column.seen
        seen = f"{low:g} to {high:g}"
    unseen = ""
    if column.kind == "category":
        unseen = _describe_rule(column.unseen)
    missing = _describe_rule(column.fill)
    return [column.name, column.kind, column.unit or "", seen, missing, unseen]


def _describe_rule(reading: float | str | None) -> str:
    """Return in words what a missing value or an unknown level is read as."""
    return "refused" if reading is None else f"read as {reading}"


def _describe_band(band: Metrics.Conformal, size: float, unit: str) -> str:
    """Return the line about the interval, with the share of new rows that it likely holds.

    Args:
        band: as learnt on val; in bundles of older versions without that share.
        size: of the model's errors, by which the number of digits is chosen.
        unit: of the target.
    """
    from studperf.scoring.numbers import Digits

    width = Digits.of(size, unit).with_unit(band.half_width)
    line = f"{band.level:.0%} interval: prediction ±{width}"
    if band.likely is None:
        return line
    low, high = band.likely
    return f"{line}, which holds {low:.0%} to {high:.0%} of new rows"


def predict(words: Sequence[str]) -> None:
    """Predict the rows of a CSV or a Parquet file.

    Raises:
        BundleError: the bundle was changed.
        DataError: lists every cell that the model was not made for.
    """
    from studperf.bundle import Bundle, find_bundle
    from studperf.bundle.rows import with_points
    from studperf.bundle.table import read_table

    settings = [word for word in words if word.partition("=")[0] in _KEYS]
    own = read_keys(settings, _KEYS)
    paths = [word for word in words if word not in settings]
    if len(paths) != 2:  # noqa: PLR2004 - the bundle and the rows
        raise ConfigError(
            f"say: python -m studperf.bundle predict PATH rows.csv [out=FILE]{quote_words(words)}"
        )
    if "out" in own:
        check_output("out", Path(own["out"]), is_file=True)
    bundle = Bundle.open(find_bundle(Path(paths[0])))
    names = {column.name for column in bundle.schema.columns}
    table = Path(paths[1])
    check_file(table)
    cells = read_table(
        table,
        names,
        encoding=own.get("encoding", "utf-8"),
        delimiter=own.get("delimiter"),
    )
    decimal, thousands = _number_marks(own, bundle.schema)
    prediction = bundle.predict(with_points(cells, bundle.schema, decimal, thousands))
    for warning in prediction.warnings:
        print_warning(warning)
    with _writer(own.get("out")) as file:
        _write_csv(file, prediction)
    if "out" in own:
        print_line(make_console(), f"Wrote {len(prediction.predicted)} predictions to {own['out']}")


def _number_marks(
    own: Mapping[str, str],
    schema: Schema,
) -> tuple[str, str | None]:
    """Return the decimal mark and the mark between thousands.

    Raises:
        ConfigError: a mark is not known, or both are one.
    """
    from studperf.schema.files import MARKS

    decimals = {"point": ".", "comma": ",", ".": ".", ",": ","}
    between_thousands: dict[str, str | None] = {"none": None, **MARKS}
    allowed = {"decimal": list(decimals), "thousands": list(between_thousands)}
    for key, known in allowed.items():
        if key in own and own[key] not in known:
            raise ConfigError(f"{key}: {' or '.join(known)}, got {own[key]!r}")
    decimal, thousands = schema.decimal, schema.thousands
    if "decimal" in own:
        decimal = decimals[own["decimal"]]
        # The training table's mark between thousands may be this very decimal mark.
        thousands = None
    if "thousands" in own:
        thousands = between_thousands[own["thousands"]]
    if thousands == decimal:
        raise ConfigError(f"decimal and thousands are both {decimal!r}; they must differ")
    return decimal, thousands


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
    # The csv module would end lines as on Windows, on every system.
    writer = csv.writer(file, lineterminator="\n")
    header = ["row", "predicted"]
    columns = [prediction.predicted]
    if prediction.low is not None and prediction.high is not None:
        header += ["low", "high"]
        columns += [prediction.low, prediction.high]
    writer.writerow(header)
    for i, values in enumerate(zip(*columns, strict=True), start=1):
        writer.writerow([i, *(f"{value:.6g}" for value in values)])


def _one_path(words: Sequence[str], command: str) -> Path:
    if len(words) != 1:
        raise ConfigError(f"say: python -m studperf.bundle {command} PATH{quote_words(words)}")
    return Path(words[0])


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "verify": verify,
    "show": show,
    "predict": predict,
}


def main() -> None:
    """Run the command."""
    run_command_of(_COMMANDS, _USAGE)


if __name__ == "__main__":
    run_command(main)
