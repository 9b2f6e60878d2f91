"""Draft a dataset's YAML from a file, with ids, constants and leaks marked."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from studperf.config.dataset import Dataset, Source
from studperf.config.document import read_dataset, write_inline, write_key
from studperf.config.files import check_file
from studperf.data.codes import MIN_ROWS, Suspicion, find_suspicion, names_rows
from studperf.data.guard.leaks import MAX_LEVELS, Leak, find_leaks
from studperf.data.numbers import find_marks, is_ambiguous, read_numbers
from studperf.data.schema import as_levels, inspect_table
from studperf.data.source import parse_bytes, read_first_bytes, read_head
from studperf.errors import ConfigError, DataError, as_shown
from studperf.schema.files import DELIMITERS, PARQUET_ENDINGS
from studperf.schema.findings import show
from studperf.schema.numbers import LARGEST, Marks
from studperf.scoring.metrics import FloatArray

# Text that stands for "no value" in a column of numbers. `None` is not among them: in a category it
# is an answer like any other.
_MISSING_WORDS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "?", "-", "#N/A")
_FLAG_WORDS = (
    {"0", "1"},
    {"false", "true"},
    {"no", "yes"},
    {"n", "y"},
)
_FEATURES = ("number", "category", "flag")
_MOSTLY = 0.8
_TIME = (
    r"(?:[T ,]+\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?(?: ?[AaPp]\.?[Mm]\.?)?"
    r"(?: ?(?:Z|UTC|GMT|[A-Z]{3,4}|[+-]\d\d:?\d\d))?)?"
)
_MONTH = r"[^\W\d_]{3,10}\.?"
_DATE_FORMS = "|".join(
    day + _TIME
    for day in (
        r"\d{4}([-/.])\d{1,2}\1\d{1,2}",
        r"\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d\d)",
        rf"(?:{_MONTH},? )?\d{{1,2}}(?:st|nd|rd|th|\.)?[ -]{_MONTH},?[ -]\d{{2,4}}",
        rf"(?:{_MONTH},? )?{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}",
    )
)
# `$5`, `EUR 5`, `5 %`, `5 kg`; letters that touch the number, as in `T5` and `5B`, make a code.
_SIGN = "[$\u20ac\u00a3\u00a5%\u00b0\u2030]"
# Before a number stands a currency; any other word there makes a name of it, as in `Lot 95`.
_CURRENCY = (
    "(?:EUR|USD|GBP|CHF|JPY|CNY|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|INR|BRL|ZAR|MXN|Rs|Kr|Fr)"
)
_UNIT_FORM = (
    rf"(?:{_SIGN}|(?i:{_CURRENCY})\.?\s?)?\s*[+-]?\d[\d.,']*(?:\s?{_SIGN}|\s[^\W\d_]{{1,3}})?"
)
_DATE, _WITH_UNIT = re.compile(_DATE_FORMS), re.compile(_UNIT_FORM)
_LONGEST_DATE = 60
_LONG_CODE = 16  # digits, more than float64 keeps
_MIN_WORDS = 3  # of a cell of free text, on average
_LONGEST_LEVEL = 500  # characters; text beyond it names nothing
_MIN_RARE = (5, 3)
_MAX_KEPT = 200
_TRAIN_SHARE = 0.8
_FEW_LEVELS = 20
"""Numbers of so few values, with a word among them, are levels: 4, 6, 8 cylinders, or a rotary engine."""
_MIN_KEPT_SHARE = 0.2
_TESTED_AT_ONCE = 20
_N_TESTED_ROWS = 20_000
_N_NAMED = 100
_LEAK_TESTS_S = 6.0
# Of a large file a draft sees so much; `check` reads all of it.
_N_READ_BYTES = 32 << 20
_N_READ_ROWS = 100_000
# Decimal digits that every float keeps.
_EXACT_DIGITS = 15
_DATES = "dates; a number made of them, such as days since the first, can be a feature"


@dataclass(frozen=True)
class Question:
    """A question about a column, with the entry to write if the guess is wrong."""

    column: str
    text: str
    otherwise: dict[str, Any]


@dataclass
class Draft:
    """A draft of a dataset.

    Args:
        questions: by column, where the draft's entry is a guess.
        notes: limits of the draft, such as tests that were left out, with the reason.
    """

    name: str
    source: dict[str, Any]
    target: str
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    drop_missing_target: bool = False
    questions: dict[str, Question] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_plain(self) -> dict[str, Any]:
        """Return the draft as the plain values of its YAML."""
        plain: dict[str, Any] = {
            "name": self.name,
            "source": self.source,
            "target": {"column": self.target, "unit": ""},
            "columns": self.columns,
            "split": {"train": _TRAIN_SHARE, "val": 0.1, "test": 0.1, "seed": 42},
        }
        if self.drop_missing_target:
            plain["drop_missing_target"] = True
        return plain

    @property
    def has_features(self) -> bool:
        """True if at least one column can be a feature."""
        return any(column["kind"] in _FEATURES for column in self.columns.values())


@dataclass(frozen=True)
class _Guess:
    """A column's entry in the draft, and the question that it leaves open."""

    column: dict[str, Any]
    question: str | None = None
    otherwise: dict[str, Any] | None = None


def infer(path: Path, target: str, *, name: str | None = None) -> Draft:
    """Return a draft made from the file's own values.

    Raises:
        DataError: the file can't be read, or has no such target column of numbers.
    """
    source, raw, note = _read(path)
    if target not in raw:
        names = ", ".join(map(str, raw.columns[:_N_NAMED]))
        raise DataError(f"target={target}: {path} has no such column; it has {names}")
    marks = _find_marks(raw, source)
    missing = {"", *(_missing_words(raw, marks))}
    if len(missing) > 1:
        source["missing"] = sorted(missing)
    draft = Draft(name or _stem(path), source, target)
    if note is not None:
        draft.notes.append(note)

    values = {}
    for column in raw.columns:
        is_missing = raw[column].isin(missing)
        values[str(column)] = raw[column].mask(is_missing)
    numbers = _read_target(target, values[target], marks)
    draft.drop_missing_target = bool(values[target].isna().any())
    reader = _Reader(marks, numbers)
    for column, cells in values.items():
        if column == target:
            continue
        guess = reader.describe(column, cells)
        draft.columns[column] = guess.column
        if guess.question is not None and guess.otherwise is not None:
            draft.questions[column] = Question(column, guess.question, guess.otherwise)

    _mark_leaks(draft, raw)
    if not draft.has_features:
        raise DataError(
            f"{path}: no column could be a feature; every one is an id, a constant or a leak"
        )
    return draft


def _find_marks(raw: pd.DataFrame, source: dict[str, Any]) -> Marks:
    """Return how the file writes numbers, and put marks other than a plain point into `source`."""
    columns = []
    for name in raw.columns:
        if _is_text(raw[name]):
            text = raw[name].dropna().astype(str)
            columns.append(text[~text.isin(("", *_MISSING_WORDS))])
    filled = (text for text in columns if len(text))
    marks = find_marks(filled, source.get("delimiter", ","))
    if marks.decimal != ".":
        source["decimal"] = marks.decimal
    if marks.thousands is not None:
        source["thousands"] = marks.thousands
    return marks


def _is_text(values: pd.Series) -> bool:
    return pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)


def _read_target(target: str, values: pd.Series, marks: Marks) -> FloatArray:
    """Return the target (N,), NaN where there is none.

    Raises:
        DataError: it is no column of finite numbers.
    """
    numbers = read_numbers(values, marks).to_numpy()
    known = numbers[~np.isnan(numbers)]
    if len(known) < _MOSTLY * values.notna().sum() or not len(known):
        example = f", as {show(values.dropna().iloc[0])}" if values.notna().any() else ""
        raise DataError(
            f"target={target}: is not a column of numbers{example}, "
            "so there is nothing to regress on"
        )
    if not np.isfinite(known).all():
        row = int(np.flatnonzero(np.isinf(numbers))[0]) + 1
        raise DataError(
            f"target={target}: {np.isinf(known).sum()} values are infinite, "
            f"or larger than any number can be (row {row}); correct them, or leave the rows out"
        )
    return numbers


def to_yaml(draft: Draft) -> str:
    """Return the draft as YAML, one line a column, checked to load as it was written."""
    plain = draft.as_plain()
    Dataset.model_validate(plain)
    path = write_inline(draft.source["path"])
    head = (
        f"# Drafted from {path} by `python -m studperf.data infer`. "
        "Read every line: units, ranges and kinds are guesses.\n"
        "# `typical` and `step` matter to a simulation alone.\n"
    )

    lines = [f"name: {write_inline(plain['name'])}", "source:"]
    lines += [f"  {key}: {write_inline(value)}" for key, value in plain["source"].items()]
    lines += [f"target: {write_inline(plain['target'])}", "columns:"]
    lines += [_column_line(draft, name) for name in draft.columns]
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
            "the draft does not survive being written as YAML; "
            "a column's name is too strange, rename it"
        )
    return text


def _column_line(draft: Draft, name: str) -> str:
    line = f"  {write_key(name, indent='  ')}: {write_inline(draft.columns[name])}"
    question = draft.questions.get(name)
    if question is None:
        return line
    otherwise = _write_comment(write_inline(question.otherwise))
    return f"{line}   # a guess: {_write_comment(question.text)}; else write {otherwise}"


def _write_comment(text: str) -> str:
    """Return a text on one line, as a YAML comment needs it."""
    return as_shown(text).replace("\n", "\\n")


def alternative_line(question: Question) -> str:
    """Return the YAML line to write if a guess is wrong."""
    return f"{write_key(question.column)}: {write_inline(question.otherwise)}"


def _read(
    path: Path,
) -> tuple[dict[str, Any], pd.DataFrame, str | None]:
    """Return the `source` entry of a file, its table, and a note if these are the first rows alone.

    The entry names the delimiter and the encoding where they differ from the default.
    """
    # Read from another folder, a relative path upwards would be another file.
    lasting = path.resolve() if ".." in path.parts else path
    plain: dict[str, Any] = {"path": str(lasting), "otherwise": "fail"}
    check_file(path)
    if path.suffix in PARQUET_ENDINGS:
        raw, is_whole = read_head(path, _N_READ_ROWS)
    else:
        head, is_whole = read_first_bytes(path, _N_READ_BYTES, _N_READ_ROWS)
        try:
            head.decode("utf-8")
        except UnicodeDecodeError:
            plain["encoding"] = "latin-1"
        header = head[: head.find(b"\n")].decode("latin-1")
        delimiter = max(",", *DELIMITERS.values(), key=header.count)
        if delimiter != "," and header.count(delimiter):
            plain["delimiter"] = delimiter
        raw = parse_bytes(head, path, Source.model_validate(plain))
    if is_whole:
        return plain, raw, None
    return plain, raw, f"drafted from the first {len(raw):,} rows; `check` reads all"


def _missing_words(raw: pd.DataFrame, marks: Marks) -> set[str]:
    """Return the words for a missing value that occur in columns of numbers."""
    words: set[str] = set()
    for name in raw.columns:
        if not _is_text(raw[name]):
            continue
        text = raw[name].dropna().astype(str)
        is_word = text.isin(_MISSING_WORDS)
        if not is_word.any():
            continue
        known = text[~is_word & (text != "")]
        if len(known) and read_numbers(known, marks).notna().mean() >= _MOSTLY:
            words |= set(text[is_word].unique())
    return words


class _Reader:
    """Guess the kinds of a file's columns from their values.

    Args:
        marks: how the file writes numbers.
        target: (N,) NaN where there is none.
    """

    def __init__(self, marks: Marks, target: FloatArray) -> None:
        self.marks, self.target = marks, target

    def describe(self, name: str, values: pd.Series) -> _Guess:
        """Return the guessed entry of one column."""
        known = values.dropna()
        why = _why_without_use(known)
        if why is not None:
            return _unused(why)

        numbers = read_numbers(known, self.marks)
        text = known.astype(str)
        n_levels = known.nunique()
        are_numbers = bool(numbers.notna().all())
        is_code = are_numbers and _is_code(text)
        if are_numbers and not is_code:
            return self._describe_numbers(name, values, numbers, n_levels)

        why = _why_not_levels(text)
        if why is not None:
            return _unused(why)
        is_of_numbers = not is_code and numbers.notna().mean() >= _MOSTLY
        is_mixed = is_of_numbers and n_levels > min(_FEW_LEVELS, len(known) / 2)
        if is_mixed:
            return _unused(_describe_mixed(known, numbers))
        has_gaps = bool(values.isna().any())
        if n_levels == len(known) >= MIN_ROWS and not has_gaps:
            return _Guess({"kind": "id"})

        levels = sorted(as_levels(known).unique())
        fill = {"fill": "mode"} if has_gaps else {}
        if len(levels) == 2 and {level.lower() for level in levels} in _FLAG_WORDS:  # noqa: PLR2004 - a flag
            return _Guess({"kind": "flag", **fill})
        has_units = n_levels > MAX_LEVELS and _measure_share(text, _WITH_UNIT) >= _MOSTLY
        if has_units and not is_code:
            example = show(str(known.iloc[0]))
            return _unused(
                f"numbers with a sign or a unit, such as {example}; "
                "leave the numbers alone in the file"
            )
        return _describe_levels(text, levels, fill, is_code=is_code)

    def _describe_numbers(
        self, name: str, values: pd.Series, numbers: pd.Series, n_levels: int
    ) -> _Guess:
        has_gaps = bool(values.isna().any())
        finite = numbers[np.isfinite(numbers)]
        if len(finite) < len(numbers):
            row = int(numbers.index[np.isinf(numbers)][0]) + 1
            return _unused(
                f"{len(numbers) - len(finite)} values are infinite, "
                f"or larger than any number can be (row {row}); "
                "correct them, or name their text in missing"
            )

        low, high = float(numbers.min()), float(numbers.max())
        if max(abs(low), abs(high)) > LARGEST:
            return _unused(f"numbers beyond {LARGEST:g}; give them in a larger unit")
        if low == high:
            return _unused("constant, as far as a number keeps its digits")

        fill = {}
        if has_gaps:
            fill["fill"] = "median" if n_levels > 2 else "mode"  # noqa: PLR2004 - not a flag
        if {f"{level:g}" for level in numbers.unique()[:3]} == {"0", "1"}:
            return _Guess({"kind": "flag", **fill})
        is_whole = bool((numbers == numbers.round()).all())
        typical = [_tidy(low), _tidy(high)]
        number: dict[str, Any] = {"kind": "number", "typical": typical}
        if is_whole:
            number["step"] = 1
        number |= fill

        full = np.full(len(values), np.nan)
        full[values.notna().to_numpy()] = numbers.to_numpy()
        suspicion = find_suspicion(name, full, self.target)
        if suspicion is not None:
            return _guess_code(suspicion, number, values, n_levels)
        if is_whole and n_levels == len(values) >= MIN_ROWS and names_rows(name):
            asked = "its values are all different, and its name is that of an id"
            return _Guess({"kind": "id"}, asked, number)
        may_be_thousands = self.marks.decimal == "," and _is_text(values)
        if may_be_thousands and is_ambiguous(values.dropna(), self.marks):
            asked = f"{show(str(values.dropna().iloc[0]))} is read with a decimal comma"
            otherwise = {"kind": "unused", "why": "thousands; write them without commas"}
            return _Guess(number, asked, otherwise)
        return _Guess(number)


def _is_code(text: pd.Series) -> bool:
    """Return True if digits are a code: one starts with 0 or is longer than a number's digits."""
    has_code = False
    for cell in text:
        if not (cell.isascii() and cell.isdigit()):
            return False
        has_code |= len(cell) >= _LONG_CODE or (cell[0] == "0" and len(cell) > 1)
    return has_code


def _measure_share(text: pd.Series, pattern: re.Pattern[str]) -> float:
    """Return the share of texts that match a pattern as a whole."""
    # pandas would compile the pattern anew for each column.
    return sum(pattern.fullmatch(cell) is not None for cell in text) / len(text)


def _guess_code(
    suspicion: Suspicion, number: dict[str, Any], values: pd.Series, n_levels: int
) -> _Guess:
    """Return the guess for whole numbers that may be names: an id, a category or a number."""
    has_gaps = bool(values.isna().any())
    if suspicion.what == "rows":
        asked = f"row numbers? It has {suspicion.evidence}"
        rows = {"kind": "unused", "why": "row numbers"}
        if n_levels == len(values):
            rows = {"kind": "id"}
        low, high = number["typical"]
        if suspicion.is_ordered:  # a rank, or a year: it may be worth something
            return _Guess(number, f"{asked}, and the target follows them", rows)
        is_plain = low in (0, 1) and high - low + 1 == n_levels == len(values)
        return _Guess(rows, None if is_plain else asked, number)

    asked = f"codes? It has {suspicion.evidence}"
    if n_levels == len(values):
        return _Guess({"kind": "id"}, asked, number)
    fill = {"fill": "mode"} if has_gaps else {}
    text = as_levels(values.dropna()).astype(str)
    coded = _describe_levels(text, sorted(text.unique()), fill, is_code=True).column
    if suspicion.is_ordered:
        return _Guess(number, asked, coded)
    return _Guess(coded, asked, number)


def _describe_levels(
    text: pd.Series,
    levels: list[str],
    fill: dict[str, Any],
    *,
    is_code: bool,
) -> _Guess:
    """Return the guess for a category.

    Few levels are named one by one; of many, those that are frequent enough to be learnt are kept.
    """
    if len(levels) <= min(MAX_LEVELS, len(text) / 2):
        return _Guess({"kind": "category", "levels": levels, **fill})
    counts = text.value_counts().to_numpy()
    most = 0
    if len(counts) >= _MAX_KEPT:
        # `rare` counts training rows, not those of the whole file.
        most = int(_TRAIN_SHARE * counts[_MAX_KEPT - 1])
    for least in _MIN_RARE:
        rare = max(least, most)
        if counts[counts >= rare].sum() >= _MIN_KEPT_SHARE * len(text):
            return _Guess({"kind": "category", "unseen": "other", "rare": rare, **fill})
    noun = "codes" if is_code else "texts"
    return _unused(f"{len(levels)} different {noun} in {len(text)} rows")


def _unused(why: str) -> _Guess:
    return _Guess({"kind": "unused", "why": why})


def _why_without_use(known: pd.Series) -> str | None:
    """Return why a column is unused that is empty, constant or of dates; None for other columns."""
    if not len(known):
        return "no values"
    if pd.api.types.is_datetime64_any_dtype(known):
        return _DATES
    if pd.api.types.is_timedelta64_dtype(known):
        return "durations; a number made of them, such as hours, can be a feature"
    if known.nunique() == 1:
        return "constant"
    return None


def _why_not_levels(text: pd.Series) -> str | None:
    """Return why texts can't be levels of a category; None if they can."""
    n_characters = text.str.len()
    if n_characters.max() > _LONGEST_LEVEL:
        return f"long texts, of up to {n_characters.max():,} characters"
    if _measure_share(text.str.slice(0, _LONGEST_DATE), _DATE) >= _MOSTLY:
        return _DATES
    if text.is_unique and text.str.count(r"\S+").mean() >= _MIN_WORDS:
        return "free text, different in each row"
    return None


def _describe_mixed(known: pd.Series, numbers: pd.Series) -> str:
    example = show(str(known[numbers.isna()].iloc[0]))
    return f"numbers mixed with text such as {example}; clean it, or name the text in missing"


def _tidy(value: float) -> float | int:
    """Return a number as people write it: as a whole one where a float keeps all of its digits."""
    if value == int(value) and abs(value) < 10**_EXACT_DIGITS:
        return int(value)
    return float(value)


def _mark_leaks(draft: Draft, raw: pd.DataFrame) -> None:
    """Mark the columns that give the target away.

    Of very many columns only those are tested that a few seconds allow; a note says so.

    Raises:
        DataError: the target can't be learnt.
    """
    if len(raw) > _N_TESTED_ROWS:
        draft.notes.append(f"leaks were looked for in {_N_TESTED_ROWS:,} rows; `check` looks again")
        raw = raw.sample(_N_TESTED_ROWS, random_state=0).sort_index()
    names = [name for name, column in draft.columns.items() if column["kind"] in _FEATURES]
    begun = time.monotonic()
    for start in range(0, len(names), _TESTED_AT_ONCE):
        tested = names[start : start + _TESTED_AT_ONCE]
        if start and time.monotonic() - begun > _LEAK_TESTS_S:
            draft.notes.append(
                f"{len(names) - start:,} of {len(names):,} features were not tested for leaks, "
                "as that takes long here; `check` tests all"
            )
            return
        for leak in _find_leaks(draft, raw, tested):
            draft.columns[leak.column] = {"kind": "leak", "why": leak.evidence}
            draft.questions.pop(leak.column, None)


def _find_leaks(
    draft: Draft,
    raw: pd.DataFrame,
    names: list[str],
) -> list[Leak]:
    plain = draft.as_plain()
    plain["columns"] = {name: draft.columns[name] for name in names}
    table, findings = inspect_table(raw[[*names, draft.target]], Dataset.model_validate(plain))
    for finding in findings:
        if finding.level == "error" and finding.where == draft.target:
            raise DataError(f"target={draft.target}: {finding.what}")
    return find_leaks(table)


def _stem(path: Path) -> str:
    name = path.name.split(".")[0].lower()
    return re.sub(r"[^a-z0-9_]+", "_", name).strip("_") or "table"
