"""A table read in chunks ends as one that was read at once."""

import codecs
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kit.plain_rows import PlainRows
from studperf.config.dataset import Dataset
from studperf.config.run import Encode
from studperf.data.large.spool import scratch_dir
from studperf.data.rows import Rows, is_large, open_rows
from studperf.data.tensors import EncodedTable
from studperf.errors import DataError

MakeDataset = Callable[..., Dataset]
STANDARD = Encode(numbers="standard", categories="codes")
COLUMNS = {
    "id": {"kind": "id"},
    "age": {"kind": "number", "range": [0, 100]},
    "year": {"kind": "number"},
    "town": {"kind": "category"},
    "grade": {"kind": "category", "levels": [1, 2, 3]},
    "works": {"kind": "flag"},
    "note": {"kind": "unused"},
    "passed": {"kind": "leak"},
}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studperf.data.large.chunks.N_BYTES", 1500)
    monkeypatch.setattr("studperf.data.large.arrow.N_ROWS", 37)
    monkeypatch.setattr("studperf.data.large.spool.HELD_BYTES", 10_000)


def good(n_rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age = rng.integers(5, 95, n_rows)
    return pd.DataFrame(
        {
            "id": [f"student-{i}" for i in range(n_rows)],
            "age": age,
            "year": 2020 + rng.uniform(0, 1e-3, n_rows),
            "town": rng.choice(["Bonn", "Köln", "None", "a,b", 'the "old" one'], n_rows),
            "grade": rng.integers(1, 4, n_rows),
            "works": rng.integers(0, 2, n_rows),
            "note": rng.choice(["x", "y", ""], n_rows),
            "passed": age > 40,
            "y": np.round(age + rng.normal(0, 5, n_rows), 3),
        }
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_faulty_chunk_of_many_rows_may_hold_text_that_is_kept(
    end: str, tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studperf.data.large.chunks.N_BYTES", 32 << 20)
    table = good(140_000).assign(
        note="a text\nof two lines"
    )  # more than 2 ** 20 cells, which pandas reads in several pieces
    path = tmp_path / "table.csv"
    cells("age", "17y", start=30_000)(table).to_csv(path, index=False, lineterminator=end)
    dataset = make_dataset(COLUMNS, memory="disk")
    dataset = dataset.model_copy(
        update={"source": dataset.source.model_copy(update={"path": str(path)})}
    )
    with open_rows(dataset) as rows:
        (fault,) = [str(finding) for finding in rows.findings if finding.level == "error"]
    assert fault.startswith("age: 1 value is not a number: '17y' (row 30001)")


def cells(column: str, *values: object, start: int = 150) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        old = table[column].astype(object).tolist()
        old[start : start + len(values)] = values
        return table.assign(**{column: old})

    return change


def doubled(table: pd.DataFrame) -> pd.DataFrame:
    """A quarter of the rows again, under ids of their own."""
    again = table.sample(frac=0.25, random_state=1).assign(id=lambda part: "again-" + part["id"])
    return pd.concat([table, again], ignore_index=True).sample(
        frac=1, random_state=2, ignore_index=True
    )


@dataclass(frozen=True)
class Case:
    """What is done to a good table, what the dataset says, and how it is written."""

    change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    blocks: dict[str, Any] = field(default_factory=dict)
    encode: Encode = STANDARD
    csv: dict[str, Any] = field(default_factory=dict)
    encoding: str = "utf-8"


def filled(column: str, fill: object) -> dict[str, dict[str, Any]]:
    return {column: {**COLUMNS[column], "fill": fill}}


CASES = {
    "a good table": Case(),
    "missing numbers, filled by the median": Case(
        cells("age", "", "", ""), filled("age", "median")
    ),
    "missing numbers, filled by the mode": Case(cells("age", ""), filled("age", "mode")),
    "missing numbers, filled by a number": Case(cells("age", ""), filled("age", 7)),
    "missing categories": Case(cells("town", "", ""), filled("town", "mode")),
    "missing flags": Case(cells("works", "", "", start=0), filled("works", "mode")),
    "words for missing": Case(
        cells("age", "-", "NA"),
        filled("age", "median") | filled("town", "mode"),
        {"missing": ["", "-", "NA", "None"]},
    ),
    "unseen levels as other": Case(
        cells("grade", "9", "8"), {"grade": {**COLUMNS["grade"], "unseen": "other"}}
    ),
    "rare levels together": Case(
        cells("town", "Ulm", "Hof", "Hof", "Selb"),
        {"town": {"kind": "category", "unseen": "other", "rare": 20}},
    ),
    "a number below what squares keep": Case(
        lambda t: t.assign(year=[f"{i % 9}e-200" for i in range(len(t))])
    ),
    "decimal commas": Case(
        lambda t: t.assign(
            year=[f"{i % 97},5" for i in range(len(t))], y=[f"{i},25" for i in range(len(t))]
        ),
        blocks={"decimal": ","},
    ),
    "decimal commas and points between thousands": Case(
        lambda t: t.assign(
            year=[f"{1 + i % 9}.{i % 900 + 100},25" for i in range(len(t))],
            y=[f"{i},25" for i in range(len(t))],
        ),
        blocks={"decimal": ",", "thousands": "."},
    ),
    "commas between thousands": Case(
        lambda t: t.assign(year=[f"{1 + i % 9},{i % 900 + 100}" for i in range(len(t))]),
        blocks={"thousands": ","},
    ),
    "levels as other that training never saw": Case(
        cells("town", "Ulm"),
        {"town": {"kind": "category", "levels": ["Bonn", "Köln", "None"], "unseen": "other"}},
    ),
    "flags as yes and no": Case(lambda t: t.assign(works=t["works"].map({0: "no", 1: " YES"}))),
    "rows without a target left out": Case(
        cells("y", "", "", ""), blocks={"drop_missing_target": True}
    ),
    "a chunk of rows without a target": Case(
        cells("y", *[""] * 120), blocks={"drop_missing_target": True}
    ),
    "equal rows": Case(doubled),
    "quantiles": Case(encode=Encode(numbers="quantile", categories="codes")),
    "quantiles of repeated numbers": Case(
        lambda t: t.assign(year=np.round(t["year"] * 5000) / 5000),
        encode=Encode(numbers="quantile", categories="codes"),
    ),
    "one-hot": Case(
        cells("town", ""),
        filled("town", "mode"),
        encode=Encode(numbers="standard", categories="onehot"),
    ),
    "blanks around numbers": Case(cells("age", " 7", "8 ")),
    "a number with a plus sign": Case(cells("age", "+7")),
    "a constant": Case(lambda t: t.assign(age=3)),
    "a constant flag and a constant level": Case(lambda t: t.assign(works=1, town="Bonn")),
    "features narrowed": Case(blocks={"features": ["age", "town"]}),
    "line ends of Windows": Case(csv={"lineterminator": "\r\n"}),
    "semicolons": Case(csv={"sep": ";"}, blocks={"delimiter": ";"}),
    "a line end within quotes": Case(
        cells("note", "one\ntwo", "three\n\nfour", *["five\nsix"] * 40)
    ),
    "every cell in quotes": Case(csv={"quoting": 1}),
    "blank lines": Case(csv={"lineterminator": "\n\n"}),
    "latin-1": Case(encoding="latin-1"),
    "utf-16": Case(encoding="utf-16"),
    "a byte order mark": Case(encoding="utf-8-sig", blocks={"encoding": "utf-8"}),
}
FAULTS = {
    "numbers at fault in many chunks": Case(
        lambda t: t.assign(age=["x" if i % 45 == 30 else age for i, age in enumerate(t["age"])])
    ),
    "a number out of range": Case(cells("age", 101, 250, -3, 101, 5, start=300)),
    "a number beyond what can be computed with": Case(cells("year", "1e31", start=250)),
    "a point where a comma is due": Case(
        lambda t: cells("year", "1.5", start=250)(
            t.assign(year=[f"{i % 97},5" for i in range(len(t))], y=range(len(t)))
        ),
        blocks={"decimal": ","},
    ),
    "targets too near to one another": Case(
        lambda t: t.assign(y=[f"{1_000_000_000 + i / 1000}" for i in range(len(t))])
    ),
    "infinite numbers": Case(cells("year", "inf", "-inf", start=250)),
    "the text nan": Case(cells("year", "nan", start=250)),
    "missing values without a fill": Case(cells("town", "", "", "", "", "", start=370)),
    "a column without a value": Case(lambda t: t.assign(age=""), filled("age", "median")),
    "unseen levels": Case(cells("grade", "4", "5", "6", "7", start=199)),
    "no flag": Case(cells("works", "perhaps", "2", start=222)),
    "an id twice, far apart": Case(lambda t: cells("id", t["id"][3], start=333)(t)),
    "ids four times": Case(cells("id", "a", "b", "a", "b", "a", "b", "a", "b", start=90)),
    "missing ids, which are no repetition": Case(cells("id", "", "", "")),
    "targets at fault": Case(cells("y", "", "", "good", "inf", start=111)),
    "a constant target": Case(lambda t: t.assign(y=5)),
    "every level once": Case(lambda t: t.assign(town=t["id"])),
    "many faults in one table": Case(
        lambda t: cells("works", "?")(
            cells("grade", "4", start=7)(
                cells("age", 999, start=399)(t.drop(columns="year").assign(shoe=41))
            )
        )
    ),
    "a table without a header": Case(
        lambda t: t.set_axis([f"cell {i}" for i in range(t.shape[1])], axis="columns")
    ),
    "a table of copies that lacks a column": Case(lambda t: doubled(t.drop(columns="age"))),
    "all features alike": Case(lambda t: t.assign(age=1, year=1, town="Bonn", grade=2, works=0)),
}


def write(case: Case, folder: Path, kind: str, dataset: Dataset) -> Dataset:
    """Writes the table; the dataset that names it."""
    table = case.change(good())
    path = folder / f"table.{kind}"
    if kind == "parquet":
        # A column of numbers with gaps, as pandas writes it; what can't be one is written as text.
        for name in ("age", "year", "works", "grade", "y"):
            if name in table:
                numbers = pd.to_numeric(table[name].replace("", None), errors="coerce")
                fits = numbers.notna().sum() == (table[name].astype(str) != "").sum()
                table[name] = numbers if fits else table[name].astype(str)
        table.to_parquet(path)
    else:
        raw = table.to_csv(index=False, **({"lineterminator": "\n"} | case.csv)).encode(
            case.encoding
        )
        path.write_bytes(gzip.compress(raw) if kind == "csv.gz" else raw)
    source = dataset.source.model_copy(update={"path": str(path), "otherwise": "fail"})
    return dataset.model_copy(update={"source": source})


def describe(case: Case, make_dataset: MakeDataset) -> Dataset:
    plain = make_dataset(COLUMNS | case.columns)
    in_source = {
        key: tuple(v) if isinstance(v, list) else v
        for key, v in case.blocks.items()
        if key in ("missing", "delimiter", "encoding", "decimal", "thousands")
    }
    own = {
        key: tuple(v) if isinstance(v, list) else v
        for key, v in case.blocks.items()
        if key not in in_source
    }
    if case.encoding != "utf-8" and "encoding" not in in_source:
        in_source["encoding"] = case.encoding
    return plain.model_copy(update={**own, "source": plain.source.model_copy(update=in_source)})


def both(dataset: Dataset) -> Iterator[PlainRows | Rows]:
    yield PlainRows(dataset)
    with open_rows(dataset.model_copy(update={"memory": "disk"})) as rows:
        yield rows


KINDS = ("csv", "parquet", "csv.gz")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_chunks_give_the_same_split_encoder_and_tensors(
    case: str, kind: str, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    dataset = write(CASES[case], tmp_path, kind, describe(CASES[case], make_dataset))
    seen = []
    for rows in both(dataset):
        encoder = rows.fit(CASES[case].encode)
        table = rows.encode(encoder)
        parts = {name: table.part(name) for name in ("train", "val", "test")}
        index = np.concatenate([rows.split.train, rows.split.val])
        seen.append(
            (
                rows.origin,
                rows.findings,
                rows.split,
                encoder.model_dump(),
                parts,
                rows.hashes(index),
            )
        )
    small, large = seen
    assert small[:2] == large[:2]
    assert small[2].sha256 == large[2].sha256
    assert large[3] == approximately(small[3])
    for name, tensors in small[4].items():
        for one, other in zip(tensors, large[4][name], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(small[5], large[5])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_a_small_table_is_encoded_as_if_it_were_read_at_once_to_the_last_bit(
    case: str, kind: str, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    dataset = write(CASES[case], tmp_path, kind, describe(CASES[case], make_dataset))
    plain = PlainRows(dataset)
    with open_rows(dataset) as rows:
        encoder = rows.fit(CASES[case].encode)
        assert encoder == plain.fit(CASES[case].encode)
        assert encoder.model_dump_json() == plain.fit(CASES[case].encode).model_dump_json()
        tables = plain.encode(encoder), rows.encode(encoder)
        for name in ("train", "val", "test"):
            for one, other in zip(*(table.part(name) for table in tables), strict=True):
                assert torch.equal(one, other)


def without_targets(*rows: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        is_lacking = table.index.isin(rows)
        return table.assign(y=table["y"].astype(object).where(~is_lacking, ""))

    return change


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_numbered_as_in_the_file_where_some_lack_a_target(
    kind: str, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    lacking = [0, 1, 36, 37, 38, 150, *range(222, 300), 399]

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[310] = table.loc[308].where(table.columns != "id", "a copy")
        return without_targets(*lacking)(table)

    case = Case(change, blocks={"drop_missing_target": True})
    dataset = write(case, tmp_path, kind, describe(case, make_dataset))
    file = change(good())
    warnings = []
    for rows in both(dataset):
        assert len(rows) == len(file) - len(lacking)
        for part in vars(rows.split).values():
            in_file = file.iloc[rows.numbers(part) - 1]
            np.testing.assert_array_equal(in_file["y"].astype(float), rows.target(part))
            np.testing.assert_array_equal(rows.table(part).frame.index + 1, rows.numbers(part))
        warnings.append([str(finding) for finding in rows.findings])
    assert warnings[0] == warnings[1]
    assert "1 row equals one above (row 311)" in " ".join(warnings[0])


@pytest.mark.parametrize("kind", KINDS)
def test_faults_below_rows_without_a_target_are_told_by_the_rows_of_the_file(
    kind: str, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        faulty = cells("id", "student-290", start=300)(cells("age", 200, start=90)(table))
        return without_targets(3, 100, 101)(faulty)

    case = Case(change, blocks={"drop_missing_target": True})
    dataset = write(case, tmp_path, kind, describe(case, make_dataset))
    for rows in both(dataset):
        found = " ".join(str(finding) for finding in rows.findings)
        assert "200 (row 91)" in found
        assert "'student-290' (row 291), 'student-290' (row 301)" in found


def approximately(value: Any) -> Any:
    """The same to 1e-6 in all numbers, however deep they lie."""
    if isinstance(value, dict):
        return {key: approximately(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(approximately(one) for one in value)
    return pytest.approx(value, rel=1e-6, abs=1e-6) if isinstance(value, float) else value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", FAULTS)
def test_chunks_give_the_same_findings(
    case: str, kind: str, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    dataset = write(FAULTS[case], tmp_path, kind, describe(FAULTS[case], make_dataset))
    expected = PlainRows(dataset).findings
    with open_rows(dataset.model_copy(update={"memory": "disk"})) as rows:
        assert list(map(str, rows.findings)) == list(map(str, expected))
        assert rows.findings == expected
        assert expected or case.startswith("missing ids")


TYPES: dict[str, tuple[str, Callable[[pd.Series], Any]]] = {
    "numbers of 8 bits": ("age", lambda v: v.astype("int8")),
    "numbers with gaps in a type of their own": (
        "age",
        lambda v: v.astype("Int64").where(v.index != 55),
    ),
    "short floats": ("age", lambda v: v.astype("float32") / 3),
    "truth values as numbers": ("age", lambda v: v > 40),
    "text as numbers": ("age", lambda v: v.astype(str)),
    "decimals as numbers": ("age", lambda v: [Decimal(int(one)) / 4 for one in v]),
    "truth values as flags": ("works", lambda v: v.astype(bool)),
    "floats with gaps as flags": ("works", lambda v: v.astype(float).where(v.index != 120)),
    "whole floats as levels": (
        "town",
        lambda v: pd.Series(np.arange(len(v)) % 5, dtype=float).where(v.index != 3),
    ),
    "floats that break in a late chunk as levels": (
        "town",
        lambda v: pd.Series([1.0, 2.0] * 199 + [2.5, np.nan]),
    ),
    "truth values as levels": ("town", lambda v: v == "Bonn"),
    "dates as levels": (
        "town",
        lambda v: pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(len(v)) % 3, unit="D"),
    ),
    "categories as levels": ("town", lambda v: v.astype("category")),
    "numbers as ids": ("id", lambda v: np.arange(len(v))),
    "dates in an unused column": ("note", lambda v: pd.date_range("2026-01-01", periods=len(v))),
    "nothing in an unused column": ("note", lambda v: [None] * len(v)),
    "whole targets": ("y", lambda v: v.round().astype("int16")),
}


@pytest.mark.parametrize("case", TYPES)
def test_chunks_of_any_type_give_the_same(
    case: str, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    name, cast = TYPES[case]
    table = good()
    table.assign(**{name: cast(table[name])}).to_parquet(tmp_path / "table.parquet")
    fills = filled("age", "median") | filled("works", "mode") | filled("town", "mode")
    dataset = make_dataset(
        COLUMNS | fills, source={"path": str(tmp_path / "table.parquet"), "otherwise": "fail"}
    )
    small, large = (
        (
            rows.findings,
            rows.split.sha256,
            rows.fit(STANDARD).model_dump(),
            rows.hashes(rows.split.val),
            rows.table(rows.split.val).frame,
        )
        for rows in both(dataset)
    )
    assert small[:2] == large[:2]
    assert large[2] == approximately(small[2])
    np.testing.assert_array_equal(small[3], large[3])
    features = ["age", "year", "town", "grade", "works", "y"]
    pd.testing.assert_frame_equal(large[4][features], small[4][features])


def test_last_line_may_end_without_a_line_end(tmp_path: Path, make_dataset: MakeDataset) -> None:
    lines = [f'{i},{i % 7},"plain"' for i in range(200)]
    (tmp_path / "table.csv").write_text(
        "\n".join(["y,age,note", *lines, '200,4,"two\nlines"']), encoding="utf-8"
    )
    columns = {"age": {"kind": "number"}, "note": {"kind": "unused"}}
    dataset = make_dataset(
        columns, source={"path": str(tmp_path / "table.csv"), "otherwise": "fail"}
    )
    notes = [rows.table(np.array([199, 200])).frame["note"].tolist() for rows in both(dataset)]
    assert notes == [["plain", "two\nlines"]] * 2


def test_rows_come_back_as_they_were(tmp_path: Path, make_dataset: MakeDataset) -> None:
    case = Case(cells("town", "", ""), filled("town", "mode"))
    small, large = (
        rows.table(np.array([399, 0, 150, 151, 7, 36, 37])).frame
        for rows in both(write(case, tmp_path, "csv", describe(case, make_dataset)))
    )
    pd.testing.assert_frame_equal(large, small)


def test_hashes_are_those_by_which_small_tables_are_known(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    dataset = write(Case(), tmp_path, "parquet", describe(Case(), make_dataset))
    small, large = (rows.hashes(np.arange(len(rows))) for rows in both(dataset))
    np.testing.assert_array_equal(small, large)


def test_level_that_no_training_row_has_is_refused_in_the_same_words(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    dataset = write(Case(), tmp_path, "csv", describe(Case(), make_dataset))
    for rows in both(dataset):
        place = int(rows.split.test[0])
    dataset = write(Case(cells("town", "Ulm", start=place)), tmp_path, "csv", dataset)
    messages = []
    for rows in both(dataset):
        encoder = rows.fit(STANDARD)
        with pytest.raises(
            DataError, match=r"town: levels that no training row has: Ulm\."
        ) as caught:
            rows.encode(encoder)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("n_levels", [2, 256, 257])
def test_codes_take_the_smallest_type_that_holds_them(
    n_levels: int, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    levels = [f"level {i}" for i in range(n_levels)]
    table = pd.DataFrame({"level": levels * 6, "y": np.arange(6.0 * n_levels)})
    if len(table) < 200:
        table = pd.concat([table] * 20, ignore_index=True).assign(y=np.arange(20.0 * len(table)))
    table.to_csv(tmp_path / "table.csv", index=False)
    dataset = make_dataset(
        {"level": {"kind": "category", "levels": levels}},
        source={"path": str(tmp_path / "table.csv"), "otherwise": "fail"},
    )
    with open_rows(dataset.model_copy(update={"memory": "disk"})) as rows:
        encoded = rows.encode(rows.fit(STANDARD))
    assert encoded.x_cat.dtype == (torch.uint8 if n_levels <= 256 else torch.int16)
    expected = [levels.index(level) for level in table["level"]]
    assert encoded.x_cat.long().flatten().tolist() == expected


def encoded_rows(dataset: Dataset) -> EncodedTable:
    with open_rows(dataset) as rows:
        return rows.encode(rows.fit(STANDARD))


def test_tensors_on_disk_are_those_in_memory(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write(Case(), tmp_path, "csv", describe(Case(), make_dataset))
    on_disk = encoded_rows(dataset.model_copy(update={"memory": "disk"}))
    monkeypatch.setattr("studperf.data.rows.LARGE_CSV_BYTES", 100)
    in_memory = encoded_rows(dataset.model_copy(update={"memory": "ram"}))
    assert (on_disk.on_disk, in_memory.on_disk) == (True, False)
    for one, other in zip(on_disk.tensors, in_memory.tensors, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype


HEADERS = {
    "a header that is not UTF-8": ("größe,y\n1,2\n".encode("latin-1"), "utf-8", "at line 1 "),
    "a row that is not UTF-8": ("x,y\n1,2\nü,3\n".encode("latin-1"), "utf-8", "at line 3 "),
    "an odd number of bytes": (b"x,y\n1,2\n3", "utf-16", "is not utf-16 at line"),
    "a workbook": (b"PK\x03\x04 and more", "utf-16", "is a zip or Excel file"),
}


@pytest.mark.parametrize(("raw", "encoding", "says"), HEADERS.values(), ids=HEADERS.keys())
def test_file_of_another_encoding_is_refused_before_its_header_is_believed(
    raw: bytes, encoding: str, says: str, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    (tmp_path / "t.csv").write_bytes(raw)
    source = {"path": str(tmp_path / "t.csv"), "otherwise": "fail", "encoding": encoding}
    dataset = make_dataset({"x": {"kind": "number"}}, source=source)
    with pytest.raises(DataError, match=says):
        PlainRows(dataset)
    with pytest.raises(DataError, match=says), open_rows(dataset):
        pass


def test_text_in_two_bytes_may_lack_its_byte_order_mark(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    case = Case(encoding="utf-16")
    dataset = write(case, tmp_path, "csv", describe(case, make_dataset))
    path = Path(str(dataset.source.path))
    path.write_bytes(path.read_bytes().removeprefix(codecs.BOM_UTF16))
    small, large = (rows.target(np.arange(400)) for rows in both(dataset))
    np.testing.assert_array_equal(small, large)


def test_nothing_is_left_in_the_scratch_folder(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert scratch_dir() == scratch
    dataset = write(Case(), tmp_path, "csv", describe(Case(), make_dataset)).model_copy(
        update={"memory": "disk"}
    )
    with open_rows(dataset) as rows:
        tensors = rows.encode(rows.fit(STANDARD))
        assert tensors.on_disk
        assert not list(scratch.iterdir())  # the files have no name: a kill leaves nothing either


def test_file_is_large_by_its_size(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, limit in (
        ("csv", "LARGE_CSV_BYTES"),
        ("csv.gz", "LARGE_GZIP_BYTES"),
        ("parquet", "LARGE_N_ROWS"),
    ):
        dataset = write(Case(), tmp_path, kind, describe(Case(), make_dataset))
        with open_rows(dataset) as rows:
            assert not rows.is_large
        with monkeypatch.context() as patch:
            patch.setattr(f"studperf.data.rows.{limit}", 399)
            with open_rows(dataset) as rows:
                assert rows.is_large


def test_gzip_file_is_large_by_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"x,y\n" + b"1,2\n" * 9_000_000))
    assert path.stat().st_size < 1 << 20
    assert is_large(path)


def test_leak_tests_and_baselines_see_a_sample_of_training_rows(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write(Case(), tmp_path, "csv", describe(Case(), make_dataset)).model_copy(
        update={"memory": "disk"}
    )
    with open_rows(dataset) as rows:
        assert rows.n_sampled is None
        np.testing.assert_array_equal(rows.sample, rows.split.train)
    monkeypatch.setattr("studperf.data.rows.N_SAMPLED", 50)
    samples = []
    for _ in range(2):
        with open_rows(dataset) as rows:
            assert rows.n_sampled == 50
            assert (
                str(rows.warnings[-1])
                == "table: leak tests and baselines saw 50 of 320 training rows"
            )
            assert len(set(rows.sample)) == 50
            assert set(rows.sample) <= set(rows.split.train)
            samples.append(rows.sample)
            sampled = rows.encode(rows.fit(STANDARD)).part("sample")
            np.testing.assert_array_equal(
                sampled[2].numpy(), rows.target(rows.sample).astype(np.float32)
            )
    np.testing.assert_array_equal(*samples)


def test_quote_that_is_never_closed_does_not_fill_the_memory(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write(Case(), tmp_path, "csv", describe(Case(), make_dataset)).model_copy(
        update={"memory": "disk"}
    )
    path = Path(str(dataset.source.path))
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:50], '"' + lines[50], *lines[51:]]), encoding="utf-8")
    monkeypatch.setattr("studperf.data.large.chunks.MAX_QUOTED", 4000)
    with (
        pytest.raises(
            DataError,
            match=r"table\.csv: is not a regular table: a quote below line \d+ is not closed within .* 9 cells",
        ),
        open_rows(dataset),
    ):
        pass
