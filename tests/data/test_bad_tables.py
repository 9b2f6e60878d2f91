"""Every bad table that people bring is refused in words: what was found, where, what was expected, and the way out."""

import gzip
import io
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from kit.plain_rows import read_source
from studperf.config.dataset import Dataset
from studperf.config.load import load_overrides
from studperf.data.guard.leaks import Leak, guard
from studperf.data.rows import guard_sample, open_good_rows
from studperf.data.schema import check_table
from studperf.data.split import split_rows, split_table
from studperf.errors import DataError
from studperf.train.run import run

Write = Callable[[Path, pd.DataFrame], Path]


@dataclass(frozen=True)
class Bad:
    """How a bad table is made, what its message says, and what the dataset says about it."""

    write: Write
    says: tuple[str, ...]
    dataset: dict[str, Any] = field(default_factory=dict)


def csv(change: Callable[[pd.DataFrame], pd.DataFrame], **options: Any) -> Write:
    def write(folder: Path, good: pd.DataFrame) -> Path:
        path = folder / "table.csv"
        change(good.copy()).to_csv(path, index=False, **options)
        return path

    return write


def cells(column: str, *values: object) -> Write:
    """The rows from 3 on hold these values in this column."""

    def change(good: pd.DataFrame) -> pd.DataFrame:
        return good.assign(
            **{column: [*good[column][:2], *map(str, values), *good[column][2 + len(values) :]]}
        )

    return csv(change)


def raw(change: Callable[[bytes], bytes], name: str = "table.csv") -> Write:
    def write(folder: Path, good: pd.DataFrame) -> Path:
        path = folder / name
        path.write_bytes(change(good.to_csv(index=False, lineterminator="\n").encode()))
        return path

    return write


def lines(change: Callable[[list[str]], list[str]]) -> Write:
    return raw(lambda content: "\n".join(change(content.decode().splitlines())).encode())


def parquet(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    cut: Callable[[bytes], bytes] = bytes,
    name: str = "table.parquet",
) -> Write:
    def write(folder: Path, good: pd.DataFrame) -> Path:
        buffer = io.BytesIO()
        numbers = {name: pd.to_numeric(good[name]) for name in good.columns if name not in _TEXTS}
        change(good.assign(**numbers)).to_parquet(buffer)
        (folder / name).write_bytes(cut(buffer.getvalue()))
        return folder / name

    return write


def tracked_by(dvc: str) -> Write:
    """A good table below a `data.dvc`."""

    def write(folder: Path, good: pd.DataFrame) -> Path:
        (folder / "data.dvc").write_text(dvc, encoding="utf-8")
        return csv(lambda good: good)(folder, good)

    return write


def same(good: pd.DataFrame) -> pd.DataFrame:
    return good


_TEXTS = (
    "gender",
    "grade_level",
    "ai_tools_used",
    "ai_usage_purpose",
    "passed",
    "performance_category",
)
_KIND = {"columns": {"student_id": {"kind": "category"}}}

BAD = {
    # the columns
    "a column is missing": Bad(
        csv(lambda t: t.drop(columns="age")),
        ("age: the column is missing", "the file has 25 columns"),
    ),
    "the target is missing": Bad(
        csv(lambda t: t.drop(columns="final_score")), ("final_score: the column is missing",)
    ),
    "a column is misspelt": Bad(
        csv(lambda t: t.rename(columns={"last_exam_score": "last_exam_scor"})),
        ("last_exam_score: the column is missing", "closest in the file: 'last_exam_scor'"),
    ),
    "a column's case differs": Bad(
        csv(lambda t: t.rename(columns={"sleep_hours": "Sleep_Hours"})),
        ("sleep_hours: the column is missing", "'Sleep_Hours'"),
    ),
    "a number column too many": Bad(
        csv(lambda t: t.assign(shoe_size="41")),
        ("shoe_size: the dataset does not name", "`shoe_size: {kind: number}"),
    ),
    "a text column too many": Bad(
        csv(lambda t: t.assign(town="Bonn")), ("`town: {kind: category}", "id, leak, unused")
    ),
    "two columns of one name": Bad(
        lines(lambda ls: [ls[0].replace("gender", "age"), *ls[1:]]),
        ("header names 'age' more than once", "rename"),
    ),
    # numbers
    "text in a number": Bad(
        cells("age", "17y"), ("age: ", "not a number: '17y' (row 3)", "data.source.missing")
    ),
    "a decimal comma": Bad(cells("sleep_hours", "7,5"), ("sleep_hours: ", "'7,5' (row 3)")),
    "nan as a number": Bad(cells("age", "nan"), ("age: ", "'nan' (row 3)", "data.source.missing")),
    "a number out of range": Bad(
        cells("age", 200),
        ("age: ", "outside of 5 to 100 years", "200 (row 3)", "the range in the dataset"),
    ),
    "many numbers out of range": Bad(
        cells("sleep_hours", 25, 26, 27, 28, 29),
        ("5 values are outside of 0 to 24 hours", "27 (row 5) and 2 more"),
    ),
    "an infinite number": Bad(cells("age", "inf"), ("age: ", "infinite (row 3)")),
    "a number too large for a float": Bad(cells("age", "-1e400"), ("age: ", "infinite (row 3)")),
    "a missing number": Bad(
        cells("age", ""), ("age: ", "missing value (row 3)", "data.columns.age.fill=median")
    ),
    "a number column all empty": Bad(
        csv(lambda t: t.assign(age="")),
        ("age: no row has a value",),
        {"columns": {"age": {"fill": "median"}}},
    ),
    # categories and flags
    "an unseen level": Bad(
        cells("gender", "M", "W"),
        ("gender: ", "'M' (row 3), 'W' (row 4)", "known: Female, Male, Other", "unseen: other"),
    ),
    "a level with a blank": Bad(
        cells("gender", "Female "), ("gender: ", "'Female ' (row 3)", "known: Female, Male, Other")
    ),
    "a missing category": Bad(
        cells("gender", ""), ("gender: ", "missing value (row 3)", "data.columns.gender.fill=mode")
    ),
    "a missing category with a level None": Bad(
        cells("ai_tools_used", ""), ("ai_tools_used: ", "(row 3)", "'None' is one of its levels")
    ),
    "a category column all empty": Bad(
        csv(lambda t: t.assign(gender="")),
        ("gender: no row has a value", "rows 1, 2, 3 and 197 more"),
    ),
    "a filled category column all empty": Bad(
        csv(lambda t: t.assign(gender="")),
        ("gender: no row has a value",),
        {"columns": {"gender": {"fill": "mode"}}},
    ),
    "a bad flag": Bad(
        cells("uses_ai", "maybe"),
        ("uses_ai: a flag is 0/1, true/false or yes/no", "'maybe' (row 3)"),
    ),
    "a flag of 2": Bad(
        cells("uses_ai", "2"), ("uses_ai: a flag is 0/1, true/false or yes/no", "'2' (row 3)")
    ),
    "a missing flag": Bad(
        cells("uses_ai", ""),
        ("uses_ai: ", "missing value (row 3)", "data.columns.uses_ai.fill=mode"),
    ),
    "an identifier as a category": Bad(
        csv(same), ("student_id: has 200 different values in 200 rows", "kind id or unused"), _KIND
    ),
    "an id twice": Bad(
        cells("student_id", "1"), ("student_id: an id names one row", "'1' (row 1), '1' (row 3)")
    ),
    # the target
    "an empty target": Bad(
        cells("final_score", ""),
        ("final_score: ", "without a target (row 3)", "data.drop_missing_target=true"),
    ),
    "a target of nan": Bad(
        cells("final_score", "nan"), ("final_score: ", "'nan' (row 3)", "data.source.missing")
    ),
    "an infinite target": Bad(
        cells("final_score", "inf", "-inf"), ("final_score: 2 targets are infinite (rows 3, 4)",)
    ),
    "a text target": Bad(
        cells("final_score", "good"), ("final_score: ", "not a number: 'good' (row 3)")
    ),
    "a target out of range": Bad(
        cells("final_score", 101.5),
        ("final_score: ", "outside of 0 to 100 points", "101.5 (row 3)"),
    ),
    "a constant target": Bad(
        csv(lambda t: t.assign(final_score="50")),
        ("final_score: every row has the target 50", "nothing to learn"),
    ),
    # rows
    "an empty file": Bad(
        raw(lambda _: b""), ("table.csv: is empty", "a header, and rows below it")
    ),
    "lines as on old Macs": Bad(
        raw(lambda text: text.replace(b"\n", b"\r")),
        ("table.csv: its lines end in a carriage return", "tr "),
    ),
    "a file of blank lines": Bad(raw(lambda _: b"\n \n\n"), ("table.csv: is empty",)),
    "a header only": Bad(csv(lambda t: t[:0]), ("table: has a header but no rows",)),
    "a single row": Bad(
        csv(lambda t: t[:1]), ("1 rows are too few", "each part needs at least 10")
    ),
    "too few rows to split": Bad(
        csv(lambda t: t[:40]),
        ("40 rows are too few", "at least 10", "val 4, test 4", "change data.split"),
    ),
    "a row with a cell too many": Bad(
        lines(lambda ls: [*ls[:3], ls[3] + ",9", *ls[4:]]),
        ("not a regular table", "line 4", "26 cells"),
    ),
    "the first row with a cell too many": Bad(
        lines(lambda ls: [ls[0], ls[1] + ",9", *ls[2:]]), ("more cells than the header", "26")
    ),
    "all rows with a cell too many": Bad(
        lines(lambda ls: [ls[0], *(line + ",9" for line in ls[1:])]),
        ("more cells than the header", "26"),
    ),
    "a last row cut off": Bad(
        lines(lambda ls: [*ls[:-1], ls[-1][:30]]),
        ("not a regular table", "row 200 has", "needs 26 cells"),
    ),
    "a row without its last cell": Bad(
        lines(lambda ls: [*ls[:9], ls[9].rpartition(",")[0], *ls[10:]]),
        ("row 9 has 25 cells", "26"),
    ),
    "rows of one cell": Bad(
        lines(lambda ls: [*ls[:150], "1", "2", *ls[150:]]),
        ("row 150 has 1 cell. Every row needs 26 cells",),
    ),
    "a cell of many characters": Bad(
        csv(lambda t: t.assign(age=["x" * 9999, *t["age"][1:]])),
        ("age: ", "... (9,999 characters)"),
    ),
    "a quote that never ends": Bad(
        lines(lambda ls: [*ls[:9], '"' + ls[9], *ls[10:]]),
        ("table.csv: is not a regular table", "string"),
    ),
    "a header quote that never ends": Bad(
        lines(lambda ls: ['"' + ls[0], *ls[1:]]),
        ("table.csv: column 1 has a name of", "does a quote never end?"),
    ),
    "a comment above the header": Bad(
        lines(lambda ls: ["# exported", *ls]),
        ("table.csv: ", "more cells than the header has names (1)"),
    ),
    # the file's form
    "parted by semicolons": Bad(
        csv(same, sep=";"),
        ("table.csv: is parted by semicolons, not by ','", "data.source.delimiter="),
    ),
    "parted by tabs": Bad(
        csv(same, sep="\t"), ("table.csv: is parted by tabs, not by ','", "data.source.delimiter=")
    ),
    "parted by commas and not by semicolons": Bad(
        csv(same),
        ("table.csv: is parted by commas, not by ';'", "data.source.delimiter="),
        {"source": {"delimiter": ";"}},
    ),
    "a delimiter of two characters": Bad(
        csv(same),
        ("data.source.delimiter: must be one character, got ';;'",),
        {"source": {"delimiter": ";;"}},
    ),
    "another encoding": Bad(
        raw(lambda b: b.replace(b"Female", "Fémale".encode("latin-1"))),
        ("is not utf-8 at line", "(byte 0xe9)", "data.source.encoding=latin-1"),
    ),
    "utf-16": Bad(
        raw(lambda b: b.decode().encode("utf-16")),
        ("holds NUL bytes", "data.source.encoding=utf-16"),
    ),
    "NUL bytes": Bad(
        raw(lambda b: b.replace(b"Female", b"\x00emale")),
        ("table.csv: holds NUL bytes", "not text"),
    ),
    "a truncated gzip file": Bad(
        raw(lambda b: gzip.compress(b)[:-2000], "table.csv.gz"),
        ("table.csv.gz: the gzip file is cut off or damaged", "fetch it again"),
    ),
    "a damaged gzip file": Bad(
        raw(lambda b: gzip.compress(b)[:-8] + b"\x00" * 8, "table.csv.gz"),
        ("table.csv.gz: the gzip file is cut off or damaged",),
    ),
    "an Excel file": Bad(
        raw(lambda _: b"PK\x03\x04\x14\x00", "table.xlsx"),
        ("table.xlsx: is a zip or Excel file", "as CSV or Parquet"),
    ),
    "an endless header cell": Bad(raw(lambda b: b"x" * 200_000 + b"," + b), ("table.csv: ",)),
    "a login page": Bad(
        raw(lambda _: b"<!DOCTYPE html><p>Sign in</p>"),
        ("age: the column is missing", "<!DOCTYPE html>"),
    ),
    "a folder": Bad(
        lambda folder, _: folder, ("is a folder", "name the CSV or Parquet file in it")
    ),
    "no file": Bad(
        lambda folder, _: folder / "gone.csv",
        ("gone.csv: no such file", "data.source.path=FILE"),
        {"source": {"otherwise": "fail"}},
    ),
    "a file name too long": Bad(
        lambda folder, _: folder / ("x" * 300), ("x" * 300,), {"source": {"otherwise": "fail"}}
    ),
    # Parquet
    "a cut Parquet file": Bad(
        parquet(same, lambda b: b[:-100]), ("table.parquet: is not a table that can be read",)
    ),
    "an empty Parquet file": Bad(
        parquet(same, lambda _: b""), ("table.parquet: is empty; a table has a header",)
    ),
    "Parquet named csv": Bad(
        parquet(same, name="table.csv"), ("table.csv: is a Parquet file", "the ending .parquet")
    ),
    "CSV named Parquet": Bad(
        raw(bytes, "table.parquet"),
        ("table.parquet: is not a table that can be read", "not a parquet file"),
    ),
    "Parquet with None read as missing": Bad(
        parquet(lambda t: t.assign(ai_tools_used=t["ai_tools_used"].replace("None", np.nan))),
        (
            "ai_tools_used: ",
            "missing values",
            "'None' is one of its levels",
            "reads 'None' as missing",
        ),
    ),
    "Parquet with a list in each cell": Bad(
        parquet(lambda t: t.assign(age=[[1]] * len(t))),
        ("age: 200 values are not numbers", "(row 1)"),
    ),
    "Parquet with an infinite target": Bad(
        parquet(lambda t: t.assign(final_score=t["final_score"].where(t.index != 4, np.inf))),
        ("final_score: 1 target", "(row 5)"),
    ),
    # versions and leaks
    "another version than data.dvc names": Bad(
        tracked_by("outs:\n- md5: 0123456789abcdef0123456789abcdef\n  path: table.csv\n"),
        (
            "has md5 ",
            "data.dvc expects 0123456789abcdef0123456789abcdef",
            "fetch force=true",
            "dvc commit data.dvc",
        ),
    ),
    "a data.dvc with a merge conflict": Bad(
        tracked_by(
            "outs:\n<<<<<<< HEAD\n- md5: a\n=======\n- md5: b\n>>>>>>> other\n  path: table.csv\n"
        ),
        ("data.dvc",),
    ),
    "a leak switched on": Bad(
        csv(same),
        (
            "'final_score' away",
            "passed: ",
            "exact",
            "Give it kind leak: `passed: {kind: leak}`",
            "allow_leaks=[passed]",
        ),
        {"columns": {"passed": {"kind": "flag"}}},
    ),
}
"""Name of the case -> the table, and what has to be said about it."""


@pytest.fixture(scope="module")
def good(students_raw: pd.DataFrame) -> pd.DataFrame:
    """A good table as text, as it stands in a CSV."""
    return students_raw.astype(str)


def changed(dataset: Dataset, changes: dict[str, Any]) -> Dataset:
    def merge(old: Any, new: Any) -> Any:
        return (
            {**old, **{key: merge(old.get(key), value) for key, value in new.items()}}
            if isinstance(new, dict)
            else new
        )

    return Dataset.model_validate(merge(dataset.model_dump(exclude_unset=True), changes))


def enter(dataset: Dataset) -> tuple[Leak, ...]:
    """The calls by which a table enters `train.run`, in its order."""
    frame, _ = read_source(dataset)
    table = check_table(frame, dataset)
    return guard(split_rows(table, split_table(table))["train"])


def refuse(dataset: Dataset) -> str:
    with pytest.raises(DataError) as caught:
        enter(dataset)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "table.csv.gz"])
def test_good_table_enters(
    name: str, tmp_path: Path, good: pd.DataFrame, students: Dataset
) -> None:
    write = {
        "table.csv": csv(same),
        "table.parquet": parquet(same),
        "table.csv.gz": raw(gzip.compress, name),
    }[name]
    path = write(tmp_path, good)
    assert enter(changed(students, {"source": {"path": str(path)}})) == ()


@pytest.mark.parametrize("case", BAD)
def test_bad_table_is_refused_in_words(
    case: str, tmp_path: Path, good: pd.DataFrame, students: Dataset
) -> None:
    bad = BAD[case]
    path = bad.write(tmp_path, good)
    message = refuse(changed(changed(students, {"source": {"path": str(path)}}), bad.dataset))
    for words in bad.says:
        assert words in message
    assert "Traceback" not in message


# Pandas, Python and Arrow each have words of their own for these; and no real header is longer than the 4 MB that are read first.
WORDED_OTHERWISE = (
    "a cut Parquet file",
    "an empty Parquet file",
    "CSV named Parquet",
    "a damaged gzip file",
    "an endless header cell",
    "a header quote that never ends",
)


def enter_in_chunks(dataset: Dataset) -> tuple[Leak, ...]:
    """As `enter`, for a table that is too large to lie in memory."""
    with open_good_rows(dataset.model_copy(update={"memory": "disk"})) as rows:
        return guard_sample(rows)


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studperf.data.large.chunks.N_BYTES", 4000)
    monkeypatch.setattr("studperf.data.large.arrow.N_ROWS", 37)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("case", BAD)
def test_large_table_is_refused_in_the_words_of_a_small_one(
    case: str, tmp_path: Path, good: pd.DataFrame, students: Dataset
) -> None:
    bad = BAD[case]
    dataset = changed(
        changed(students, {"source": {"path": str(bad.write(tmp_path, good))}}), bad.dataset
    )
    with pytest.raises(DataError) as caught:
        enter_in_chunks(dataset)
    if case in WORDED_OTHERWISE:
        assert all(words in str(caught.value) for words in bad.says)
    else:
        assert str(caught.value) == refuse(dataset)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "table.csv.gz"])
def test_good_large_table_enters(
    name: str, tmp_path: Path, good: pd.DataFrame, students: Dataset
) -> None:
    write = {
        "table.csv": csv(same),
        "table.parquet": parquet(same),
        "table.csv.gz": raw(gzip.compress, name),
    }[name]
    assert (
        enter_in_chunks(changed(students, {"source": {"path": str(write(tmp_path, good))}})) == ()
    )


def test_all_faults_are_told_at_once(tmp_path: Path, good: pd.DataFrame, students: Dataset) -> None:
    table = good.drop(columns="age").assign(
        shoe_size="41",
        gender=["M", *good["gender"][1:]],
        final_score=["", *good["final_score"][1:]],
    )
    path = csv(lambda _: table)(tmp_path, good)
    message = refuse(changed(students, {"source": {"path": str(path)}}))
    assert "(4 faults)" in message
    assert [line.split(":")[0] for line in message.splitlines()[1:]] == [
        "  - age",
        "  - shoe_size",
        "  - gender",
        "  - final_score",
    ]


def test_students_who_are_all_alike_are_not_called_too_few(
    tmp_path: Path, good: pd.DataFrame, students: Dataset
) -> None:
    alike = good.assign(**{name: good[name][0] for name in students.feature_names})
    path = csv(lambda _: alike)(tmp_path, good)
    message = refuse(changed(students, {"source": {"path": str(path)}}))
    assert re.search("equal|alike|same|constant|one value", message)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_unreadable_file_is_refused_in_words(
    name: str,
    tmp_path: Path,
    good: pd.DataFrame,
    students: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deny(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    path = (csv(same) if name == "table.csv" else parquet(same))(tmp_path, good)
    # Root reads everything, so that chmod proves nothing.
    monkeypatch.setattr(Path, "open", deny)
    monkeypatch.setattr(pq, "ParquetFile", deny)
    message = refuse(changed(students, {"source": {"path": str(path)}}))
    assert f"{path}: can't be read, permission denied" in message
    assert f"chmod +r {path}" in message


def test_gzip_file_cut_anywhere_is_refused(
    tmp_path: Path, good: pd.DataFrame, students: Dataset
) -> None:
    whole = gzip.compress(good[:100].to_csv(index=False).encode())
    path = tmp_path / "table.csv.gz"
    dataset = changed(students, {"source": {"path": str(path)}})
    for n_bytes in [*range(2, 20), len(whole) // 2, *range(len(whole) - 9, len(whole))]:
        path.write_bytes(whole[:n_bytes])
        assert "cut off or damaged" in refuse(dataset), n_bytes


_WORD = re.compile(
    r"""'\+*data\.[^']+'|"\+*data\.[^"]+"|\+*data\.[\w.]+=(?:'[^']*'|"[^"]*"|\[[^\]]*\]|[^\s,;]+)"""
)

WAYS_OUT = {
    "a missing number": cells("age", ""),
    "a missing category": cells("gender", ""),
    "a missing flag": cells("uses_ai", ""),
    "an empty target": cells("final_score", ""),
    "parted by semicolons": csv(same, sep=";"),
    "parted by tabs": csv(same, sep="\t"),
    "parted by bars": csv(same, sep="|"),
    "another encoding": raw(lambda content: content.replace(b"\n7,", "\n7é,".encode("latin-1"))),
    "utf-16": raw(lambda content: content.decode().encode("utf-16")),
    "a leak switched on": csv(same),
}


@pytest.mark.parametrize("case", WAYS_OUT)
def test_way_out_in_a_message_works_as_typed(
    case: str, tmp_path: Path, good: pd.DataFrame, students: Dataset
) -> None:
    path = WAYS_OUT[case](tmp_path, good)
    # A few features, because the search for leaks takes most of the time here.
    features = ["passed", "age"] if "leak" in case else ["age", "gender", "uses_ai"]
    changes = {
        "source": {"path": str(path)},
        "features": features,
        "columns": {"passed": {"kind": "flag"}},
    }
    message = refuse(changed(students, changes))
    ways_out = [word for found in _WORD.findall(message) for word in shlex.split(found.rstrip("."))]
    assert ways_out
    words = [
        f"data.source.path={path}",
        f"data.features=[{','.join(features)}]",
        "data.columns.passed.kind=flag",
        *ways_out,
    ]
    enter(load_overrides(words).data)


@pytest.mark.parametrize(
    "case", ["a column is missing", "an empty file", "too few rows to split", "a cut Parquet file"]
)
def test_run_leaves_no_folder_for_a_bad_table(
    case: str, tmp_path: Path, good: pd.DataFrame
) -> None:
    path = BAD[case].write(tmp_path, good)
    config = load_overrides([f"data.source.path={path}", f"runs={tmp_path / 'runs'}"])
    with pytest.raises(DataError) as caught:
        run(config)
    assert all(words in str(caught.value) for words in BAD[case].says)
    assert not (tmp_path / "runs").exists()


def test_run_leaves_no_folder_for_a_leak(tmp_path: Path, good: pd.DataFrame) -> None:
    path = csv(same)(tmp_path, good)
    config = load_overrides(
        [f"data.source.path={path}", f"runs={tmp_path / 'runs'}", "data.columns.passed.kind=flag"]
    )
    with pytest.raises(DataError, match="passed: it is an exact step function"):
        run(config)
    assert not (tmp_path / "runs").exists()
