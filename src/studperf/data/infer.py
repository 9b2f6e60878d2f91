"""Writes the first version of a dataset's YAML from a file, with ids, constants and leaks marked."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from studperf.config.dataset import Dataset, Source
from studperf.config.document import read_dataset, write_inline, write_key
from studperf.data.leaks import MAX_LEVELS, find_leaks
from studperf.data.schema import as_levels, inspect_table
from studperf.data.source import read_file
from studperf.errors import ConfigError, DataError

# Text that stands for "no value" in a column of numbers. `None` is not among them: in a category it is an answer like any other.
_MISSING_WORDS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "?", "-", "#N/A")
_FLAG_WORDS = ({"0", "1"}, {"false", "true"}, {"no", "yes"}, {"n", "y"})
_DELIMITERS = (",", ";", "\t", "|")
_MOSTLY = 0.8
_MIN_ID_ROWS = 20
_DATE = r"\d{4}-\d\d-\d\d(?:[T ].*)?|\d{1,2}[./]\d{1,2}[./](?:\d{2}|\d{4})"
_ZERO_FIRST = r"0\d+"
_MIN_WORDS = 3  # of a cell of free text, on average


@dataclass
class Draft:
    """A dataset in the making."""

    name: str
    source: dict[str, Any]
    target: str
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    drop_missing_target: bool = False

    def as_plain(self) -> dict[str, Any]:
        """What the YAML says."""
        plain: dict[str, Any] = {
            "name": self.name,
            "source": self.source,
            "target": {"column": self.target, "unit": ""},
            "columns": self.columns,
            "split": {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 42},
        }
        if self.drop_missing_target:
            plain["drop_missing_target"] = True
        return plain


def infer(path: Path, target: str, *, name: str | None = None) -> Draft:
    """A draft from the file's own values.

    Raises:
        DataError: the file can't be read, or has no such target column of numbers.
    """
    source, raw = _read(path)
    if target not in raw:
        raise DataError(
            f"target={target}: {path} has no such column; it has {', '.join(map(str, raw.columns))}"
        )
    missing = {"", *(_missing_words(raw))}
    if len(missing) > 1:
        source["missing"] = sorted(missing)
    draft = Draft(name or _stem(path), source, target)
    values = {str(n): raw[n].mask(raw[n].isin(missing)) for n in raw.columns}
    numbers = pd.to_numeric(values[target], errors="coerce")
    if numbers.notna().sum() < _MOSTLY * values[target].notna().sum() or not numbers.notna().any():
        raise DataError(
            f"target={target}: is not a column of numbers, so there is nothing to regress on (decimal points are read, not commas)"
        )
    draft.drop_missing_target = bool(values[target].isna().any())
    draft.columns = {n: _describe(n, column) for n, column in values.items() if n != target}
    _mark_leaks(draft, raw)
    if not any(
        column["kind"] in ("number", "category", "flag") for column in draft.columns.values()
    ):
        raise DataError(
            f"{path}: no column could be a feature; every one is an id, a constant or a leak"
        )
    return draft


def to_yaml(draft: Draft) -> str:
    """The draft as YAML: a line a column, checked to load."""
    plain = draft.as_plain()
    Dataset.model_validate(plain)
    head = (
        f"# Drafted from {write_inline(draft.source['path'])} by `python -m studperf.data infer`. Read every line: units, ranges and kinds are guesses.\n"
        "# `typical` and `step` matter to a simulation alone.\n"
    )
    lines = [f"name: {write_inline(plain['name'])}", "source:"]
    lines += [f"  {key}: {write_inline(value)}" for key, value in plain["source"].items()]
    lines += [f"target: {write_inline(plain['target'])}", "columns:"]
    lines += [
        f"  {write_key(name, indent='  ')}: {write_inline(column)}"
        for name, column in draft.columns.items()
    ]
    lines += [f"split: {write_inline(plain['split'])}"]
    if draft.drop_missing_target:
        lines.append("drop_missing_target: true   # some rows have no target")
    text = head + "\n".join(lines) + "\n"
    try:
        is_same = read_dataset(text) == plain
    except (ConfigError, yaml.YAMLError):
        is_same = False
    if not is_same:
        raise DataError(
            "the draft does not survive being written as YAML; a column's name is too strange, rename it"
        )
    return text


def _read(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """The file's table, with the delimiter and encoding that it takes."""
    # From above this folder, another folder would read it as another file.
    plain: dict[str, Any] = {
        "path": str(path.resolve() if ".." in path.parts else path),
        "otherwise": "fail",
    }
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if path.is_file() and path.suffix not in (".parquet", ".pq"):
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            plain["encoding"] = "latin-1"
        header = content.splitlines()[0].decode("latin-1") if content.splitlines() else ""
        delimiter = max(_DELIMITERS, key=header.count)
        if delimiter != "," and header.count(delimiter):
            plain["delimiter"] = delimiter
    source = Source.model_validate(plain)
    return plain, read_file(path, source)


def _missing_words(raw: pd.DataFrame) -> set[str]:
    """Words that stand for a missing value, seen in columns that otherwise hold numbers."""
    words: set[str] = set()
    for name in raw.columns:
        text = raw[name].dropna().astype(str)
        known = text[~text.isin(["", *_MISSING_WORDS])]
        if len(known) and pd.to_numeric(known, errors="coerce").notna().mean() >= _MOSTLY:
            words |= set(text[text.isin(_MISSING_WORDS)].unique())
    return words


def _describe(name: str, values: pd.Series) -> dict[str, Any]:
    known = values.dropna()
    n_levels = known.nunique()
    if n_levels <= 1:
        return {"kind": "unused", "why": "constant" if len(known) else "no values"}
    numbers = pd.to_numeric(known, errors="coerce")
    text = known.astype(str)
    if (what := _no_levels(text)) is not None:
        return {"kind": "unused", "why": what}
    is_code = bool(
        numbers.notna().all()
        and text.str.fullmatch(r"\d+").all()
        and text.str.fullmatch(_ZERO_FIRST).any()
    )
    is_number = bool(numbers.notna().all()) and not is_code
    is_whole = is_number and bool((numbers == numbers.round()).all())
    levels = sorted(as_levels(known).unique())
    fill = (
        {"fill": "median" if is_number and n_levels > 2 else "mode"} if values.isna().any() else {}  # noqa: PLR2004 - not a flag
    )
    if (
        n_levels == len(known) >= _MIN_ID_ROWS
        and (is_whole or not is_number)
        and not values.isna().any()
    ):
        is_counting = is_whole and numbers.max() - numbers.min() + 1 == len(known)
        if not is_number or is_counting or re.search(r"(^|_)(id|key|no|nr|index)$", name.lower()):
            return {"kind": "id"}
    if n_levels == 2 and {level.lower() for level in levels} in _FLAG_WORDS:  # noqa: PLR2004 - a flag
        return {"kind": "flag", **fill}
    if is_number:
        return {
            "kind": "number",
            "typical": [_tidy(numbers.min()), _tidy(numbers.max())],
            **({"step": 1} if is_whole else {}),
            **fill,
        }
    if not is_code and numbers.notna().mean() >= _MOSTLY:
        return {
            "kind": "unused",
            "why": f"numbers mixed with text such as {known[numbers.isna()].iloc[0]!r}; clean it, or name the text in missing",
        }
    if n_levels > MAX_LEVELS or n_levels > len(known) / 2:
        return {
            "kind": "unused",
            "why": f"{n_levels} different {'codes' if is_code else 'texts'} in {len(known)} rows",
        }
    return {"kind": "category", "levels": levels, **fill}


def _no_levels(text: pd.Series) -> str | None:
    """What texts are that can be no levels."""
    if text.str.fullmatch(_DATE).mean() >= _MOSTLY:
        return "dates; a number made of them, such as days since the first, can be a feature"
    if text.is_unique and text.str.count(r"\S+").mean() >= _MIN_WORDS:
        return "free text, different in each row"
    return None


def _tidy(value: float) -> float | int:
    return int(value) if value == int(value) else float(value)


def _mark_leaks(draft: Draft, raw: pd.DataFrame) -> None:
    plain = draft.as_plain()
    if not any(
        column["kind"] in ("number", "category", "flag") for column in draft.columns.values()
    ):
        return
    table, _ = inspect_table(raw, Dataset.model_validate(plain))
    for leak in find_leaks(table):
        draft.columns[leak.column] = {"kind": "leak", "why": leak.evidence}


def _stem(path: Path) -> str:
    name = path.name.split(".")[0].lower()
    return re.sub(r"[^a-z0-9_]+", "_", name).strip("_") or "table"
