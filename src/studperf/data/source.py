"""Where the table comes from: a CSV or Parquet file whose md5 is known, or the simulator."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from studperf.config import find_file
from studperf.config.dataset import DELIMITERS, Dataset, Source
from studperf.data.simulate import simulate
from studperf.errors import DataError

_CHUNK = 1 << 20
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class Provenance:
    """What is known of a table's origin, for the record."""

    name: str
    path: str | None
    md5: str | None
    is_simulated: bool
    is_tracked: bool
    """A `.dvc` file names this md5."""

    @property
    def line(self) -> str:
        """The first line of output."""
        if self.is_simulated:
            return f"Data: SIMULATED, drawn from the law of dataset {self.name!r}"
        return f"Data: {self.path} (md5 {self.md5}{', as data.dvc says' if self.is_tracked else ''})"


def read_source(dataset: Dataset) -> tuple[pd.DataFrame, Provenance]:
    """The dataset's raw table: every cell of a CSV is text, a Parquet file keeps its types.

    Raises:
        DataError: the file can't be read, or is not the version that `data.dvc` names.
    """
    source = dataset.source
    try:
        path = find_file(source.path) if source.path is not None else None
        is_there = path is not None and path.exists()
    except OSError as error:
        raise DataError(f"{source.path}: can't be looked for: {error.strerror}. Set data.source.path=FILE.") from error
    if path is None or not is_there:
        if source.otherwise == "fail" or source.simulate is None:
            raise DataError(f"{source.path}: no such file, and data.source.otherwise=fail. Set data.source.path=FILE.")
        return simulate(dataset), Provenance(dataset.name, None, None, is_simulated=True, is_tracked=False)
    frame = read_file(path, source)
    md5 = md5_of(path)
    return frame, Provenance(dataset.name, str(source.path), md5, is_simulated=False, is_tracked=_matches_dvc(path, md5))


def read_file(path: Path, source: Source) -> pd.DataFrame:
    """A CSV (plain or gzip) with every cell as text, or a Parquet file with its types.

    Raises:
        DataError: says what the file is instead, and the way out.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name the CSV or Parquet file in it")
    try:
        if path.suffix in _PARQUET:
            return pd.read_parquet(path)
        return _read_csv(_read_text(path, source.encoding), path, source)
    except PermissionError as error:
        raise DataError(f"{path}: can't be read, permission denied. Give yourself the right: chmod +r {path}") from error
    except OSError as error:  # pyarrow's errors of a broken file are among these
        raise DataError(f"{path}: can't be read: {_first_line(error)}") from error
    except ValueError as error:
        if isinstance(error, DataError | UnicodeDecodeError):
            raise
        raise DataError(f"{path}: is not a table that can be read: {_first_line(error)}") from error


def _read_text(path: Path, encoding: str) -> str:
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: the gzip file is cut off or damaged ({_first_line(error)}); fetch it again") from error
    if raw[:4] == b"PK\x03\x04":
        raise DataError(f"{path}: is a zip or Excel file; export the sheet as CSV or Parquet")
    if raw[:4] == b"PAR1":
        raise DataError(f"{path}: is a Parquet file; give it the ending .parquet")
    if b"\x00" in raw[:_CHUNK] and not encoding.lower().startswith("utf-16"):
        raise DataError(f"{path}: holds NUL bytes, so it is not text; give a CSV, or set data.source.encoding=utf-16")
    try:
        return raw.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except LookupError as error:
        raise DataError(f"data.source.encoding: Python knows no encoding {encoding!r}") from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}: is not {encoding} at line {line} (byte 0x{raw[error.start]:02x}). Save it as UTF-8, or name its encoding, "
            "for example data.source.encoding=latin-1"
        ) from error


def _read_csv(text: str, path: Path, source: Source) -> pd.DataFrame:
    if not text.strip():
        raise DataError(f"{path}: is empty; a table has a header and a row for each student")
    if len(source.delimiter) != 1:
        raise DataError(f"data.source.delimiter: must be one character, got {source.delimiter!r}")
    try:
        header = next(csv.reader(io.StringIO(text), delimiter=source.delimiter))
    except csv.Error as error:
        raise DataError(f"{path}: its header can't be read: {_first_line(error)}. Is it a CSV?") from error
    if len(header) == 1:
        for word, other in DELIMITERS.items():
            if other in header[0] and other != source.delimiter:
                raise DataError(f"{path}: is parted by {word}s, not by {source.delimiter!r}. Set data.source.delimiter={word}")
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise DataError(f"{path}: the header names {', '.join(map(repr, repeated))} more than once; rename one of them")
    try:
        # Literal "None" and "NA" are levels of students' answers; only what the dataset says is missing is missing.
        frame = pd.read_csv(io.StringIO(text), sep=source.delimiter, dtype=str, keep_default_na=False, na_values=[])
    except pd.errors.ParserError as error:
        raise DataError(f"{path}: is not a regular table: {_first_line(error)}. Every row needs {len(header)} cells.") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise DataError(f"{path}: rows have more cells than the header has names ({len(header)})")
    return frame


def md5_of(path: Path) -> str:
    """The md5 by which DVC knows a file."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _matches_dvc(path: Path, md5: str) -> bool:
    """Whether a `.dvc` file tracks this file; refuses a file that is not the tracked version."""
    path = path.resolve()
    for folder in path.parents:
        for dvc_file in (path.with_name(path.name + ".dvc"), folder / "data.dvc"):
            if not dvc_file.is_file():
                continue
            try:
                outs = (yaml.safe_load(dvc_file.read_text(encoding="utf-8")) or {}).get("outs", [])
            except (yaml.YAMLError, AttributeError) as error:
                raise DataError(f"{dvc_file}: is not a file that DVC wrote: {_first_line(error)}. Bring it back with git.") from error
            for out in outs:
                if (dvc_file.parent / out["path"]).resolve() != path:
                    continue
                if out["md5"] != md5:
                    raise DataError(
                        f"{path}: has md5 {md5}, but {dvc_file.name} expects {out['md5']}. Bring the tracked version back with "
                        f"'dvc checkout {dvc_file.name}', or accept the change with 'dvc commit {dvc_file.name}'."
                    )
                return True
    return False


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
