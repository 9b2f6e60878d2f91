import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studperf.config.dataset import Dataset, Source
from studperf.config.paths import project_root
from studperf.data.dvc.tracked import md5_of
from studperf.data.rows import open_rows
from studperf.data.schema import Table
from studperf.data.source import find_origin, read_file
from studperf.errors import DataError

MakeDataset = Callable[..., Dataset]
CSV = "name,answer,y\nZoë,None,1\nBob,NA,2\n,,3\n"


def source(path: Path | str | None, **keys: object) -> Source:
    return Source.model_validate({"path": str(path), "otherwise": "fail"} | keys)


def read_text(tmp_path: Path, content: bytes, **keys: object) -> pd.DataFrame:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    return read_file(path, source(path, **keys))


def dataset_of(make_dataset: MakeDataset, path: Path, otherwise: str = "fail") -> Dataset:
    plan = {"rows": 20, "seed": 0, "noise_sd": 1.0, "intercept": 0.0, "law": {}}
    return make_dataset(
        {"x": {"kind": "number"}},
        source={"path": str(path), "otherwise": otherwise, "simulate": plan},
    )


def test_every_cell_of_a_csv_is_text(tmp_path: Path) -> None:
    frame = read_text(tmp_path, CSV.encode())
    assert frame.to_numpy().tolist() == [["Zoë", "None", "1"], ["Bob", "NA", "2"], ["", "", "3"]]


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        pytest.param(gzip.compress(CSV.encode()), {}, id="gzip, whatever its name"),
        pytest.param(CSV.encode("utf-8-sig"), {}, id="UTF-8 with a byte order mark"),
        pytest.param(CSV.encode("utf-8-sig"), {"encoding": "UTF8"}, id="UTF-8 spelt otherwise"),
        pytest.param(CSV.encode("latin-1"), {"encoding": "latin-1"}, id="Latin-1"),
        pytest.param(CSV.encode("utf-16"), {"encoding": "utf-16"}, id="UTF-16"),
        pytest.param(CSV.replace(",", ";").encode(), {"delimiter": ";"}, id="semicolons"),
        pytest.param(CSV.replace(",", "\t").encode(), {"delimiter": "\t"}, id="tabs"),
        pytest.param(CSV.replace("\n", "\r\n").encode(), {}, id="Windows line ends"),
        pytest.param(CSV.rstrip().encode(), {}, id="no line end at the end"),
        pytest.param(CSV.replace("Bob", '"Bob"').encode(), {}, id="quotes"),
    ],
)
def test_form_of_a_csv_makes_no_difference(
    content: bytes, keys: dict[str, str], tmp_path: Path
) -> None:
    pd.testing.assert_frame_equal(
        read_text(tmp_path, content, **keys), read_text(tmp_path, CSV.encode())
    )


def test_quoted_cell_may_hold_delimiters_and_line_ends(tmp_path: Path) -> None:
    frame = read_text(tmp_path, b'a,b\n"1,\n2","say ""hi"""\n')
    assert frame.to_numpy().tolist() == [["1,\n2", 'say "hi"']]


def test_byte_order_mark_belongs_to_no_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names 'a' more than once"):
        read_text(tmp_path, "a,b,a\n1,2,3\n".encode("utf-8-sig"))


def test_csv_of_one_column_is_read(tmp_path: Path) -> None:
    assert read_text(tmp_path, b"a\n1\n2\n")["a"].tolist() == ["1", "2"]


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"n": [1, 2], "x": [0.5, 1.5], "level": ["None", "b"], "flag": [True, False]}
    )
    path = tmp_path / "table.parquet"
    table.to_parquet(path)
    pd.testing.assert_frame_equal(read_file(path, source(path)), table)


def test_md5_is_that_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 10_000)
    assert md5_of(path) == hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_provenance_names_path_and_md5(tmp_path: Path, make_dataset: MakeDataset) -> None:
    path = tmp_path / "table.csv"
    path.write_text("x,y\n1,2\n")
    origin = find_origin(dataset_of(make_dataset, path))
    assert (origin.path, origin.md5, origin.is_simulated, origin.is_tracked) == (
        str(path),
        md5_of(path),
        False,
        False,
    )
    assert origin.line == f"Data: {path} (md5 {md5_of(path)})"


def test_file_that_is_not_there_is_simulated_and_says_so(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    dataset = dataset_of(make_dataset, tmp_path / "gone.csv", otherwise="simulate")
    with open_rows(dataset) as rows:
        assert len(rows) == 20
        origin = rows.origin
    assert origin == find_origin(dataset)
    assert (origin.path, origin.md5, origin.is_simulated) == (None, None, True)
    assert "SIMULATED" in origin.line


def test_file_that_is_there_is_read_though_it_might_be_simulated(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("x,y\n1,2\n")
    assert not find_origin(dataset_of(make_dataset, path, otherwise="simulate")).is_simulated


def test_dataset_without_a_path_is_simulated(make_dataset: MakeDataset) -> None:
    assert find_origin(make_dataset({"x": {"kind": "number"}})).is_simulated


def test_relative_path_is_found_from_the_working_folder(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table.csv").write_text("x,y\n1,2\n")
    monkeypatch.chdir(tmp_path)
    assert find_origin(dataset_of(make_dataset, Path("table.csv"))).path == "table.csv"


def test_relative_path_is_found_below_the_project_from_any_folder(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source_of_project = {"path": "uv.lock", "otherwise": "fail"}
    if not (project_root() / "uv.lock").is_file():
        pytest.skip("needs a checkout: an installed package has no uv.lock")
    dataset = make_dataset({"x": {"kind": "number"}}, source=source_of_project)
    with pytest.raises(DataError, match=r"uv\.lock: (?!no such file)"), open_rows(dataset):
        pass


@pytest.mark.parametrize("name", ["data.dvc", "table.csv.dvc"])
def test_file_that_dvc_tracks_is_known_as_such(
    name: str, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("x,y\n1,2\n")
    (tmp_path / name).write_text(f"outs:\n- md5: {md5_of(path)}\n  size: 8\n  path: table.csv\n")
    origin = find_origin(dataset_of(make_dataset, path))
    assert origin.is_tracked
    assert origin.line.endswith(", as data.dvc says)")


def test_file_in_a_folder_below_data_dvc_is_known_as_tracked(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "table.csv"
    path.write_text("x,y\n1,2\n")
    (tmp_path / "data.dvc").write_text(f"outs:\n- md5: {md5_of(path)}\n  path: data/table.csv\n")
    assert find_origin(dataset_of(make_dataset, path)).is_tracked


@pytest.mark.parametrize(
    "content",
    ["", "outs: []\n", "outs:\n- md5: 1234\n  path: other.csv\n"],
    ids=["empty", "no outs", "another file"],
)
def test_data_dvc_of_other_files_says_nothing(
    content: str, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("x,y\n1,2\n")
    (tmp_path / "data.dvc").write_text(content)
    assert not find_origin(dataset_of(make_dataset, path)).is_tracked


def test_real_table_keeps_none_as_an_answer(real_table: Table) -> None:
    # Counted in the file with grep: pandas' defaults would read these cells as missing.
    assert len(real_table) == 8000
    assert (real_table.frame["ai_tools_used"] == "None").sum() == 1362
    assert (real_table.frame["ai_usage_purpose"] == "None").sum() == 1346
    assert real_table.warnings == ()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_pipe, "is a pipe, and only files are read"),
        (make_device, "is a device, and only files are read"),
        (Path.mkdir, "is a folder"),
        (Path.touch, "is empty"),
        (lambda path: path.symlink_to("/proc/self/mem"), "is empty"),
    ],
)
def test_only_files_of_a_known_size_are_read(
    make: Callable[[Path], None],
    message: str,
    name: str,
    tmp_path: Path,
    make_dataset: MakeDataset,
) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / name, source(tmp_path / name))
    with (
        pytest.raises(DataError, match=message),
        open_rows(dataset_of(make_dataset, tmp_path / name)),
    ):
        pass


def test_gzip_file_that_unpacks_to_very_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studperf.data.source.LARGEST_UNPACKED", 1 << 20)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"x,y\n" + b"1,2\n" * 500_000))
    with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
        read_file(tmp_path / "t.csv.gz", source(tmp_path / "t.csv.gz"))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("a,a", "names 'a' more than once"),
        ("a,,b,", "columns 2, 4 have no name"),
        ('"a\nb",c', r"column 1 has a line end or another control character in its name, 'a\\nb'"),
        ("a\u2028b,c", r"'a\\u2028b'; rename it"),
        ("\x1b[31ma,c", r"'\\x1b\[31ma'; rename it"),
        ("n" * 2000 + ",c", r"a name of more than 200 characters, 'n{60}'\.\.\."),
    ],
)
def test_names_that_can_not_be_used_are_refused(header: str, message: str, tmp_path: Path) -> None:
    row = ",".join("1" * (header.count(",") + 1))
    with pytest.raises(DataError, match=message):
        read_text(tmp_path, f"{header}\n{row}\n".encode())


def test_column_without_a_name_keeps_it(tmp_path: Path) -> None:
    assert list(read_text(tmp_path, b",a\n1,2\n").columns) == ["", "a"]


def test_parquet_with_damaged_notes_of_pandas_is_read(tmp_path: Path) -> None:
    for i, notes in enumerate((b"{", b"[]", b'{"index_columns": [1, "nope"], "columns": [3]}')):
        path = tmp_path / f"{i}.parquet"
        table = pa.table({"x": [1, 2], "y": [3.0, 4.0]}).replace_schema_metadata({b"pandas": notes})
        pq.write_table(table, path)
        assert read_file(path, source(path)).to_dict("list") == {"x": [1, 2], "y": [3.0, 4.0]}
