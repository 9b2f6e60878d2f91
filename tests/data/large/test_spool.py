import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from studperf.data.large import spool
from studperf.data.large.spool import Spool, scratch_dir
from studperf.errors import DataError

SCHEMA = pa.schema([("number", pa.float64()), ("code", pa.int8()), ("text", pa.string())])


@pytest.fixture(params=["in memory", "by number", "in turns"])
def filled(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Spool:
    """A hundred rows in blocks of seven: few, or too many on a system that opens a file by its number, and on one that does not."""
    monkeypatch.setattr(spool, "HELD_BYTES", 10_000 if request.param == "in memory" else 300)
    if request.param == "in turns":
        monkeypatch.setattr(spool, "_OPEN_FILES", tmp_path)
    made = Spool(SCHEMA)
    for start in range(0, 100, 7):
        n = np.arange(start, min(start + 7, 100))
        made.append(
            {
                "number": n / 2,
                "code": n.astype(np.int8),
                "text": pa.array([None if i % 3 else str(i) for i in n], pa.string()),
            }
        )
    made.seal()
    return made


def test_column_comes_back_whole(filled: Spool) -> None:
    assert filled.n_rows == 100
    np.testing.assert_array_equal(filled.column("number"), np.arange(100) / 2)
    assert filled.column("code").dtype == np.int8
    filled.close()


def test_rows_come_back_in_the_order_asked_for(filled: Spool) -> None:
    rows = filled.rows(["text", "number"], np.array([99, 0, 50, 50, 6, 7]))
    assert rows.column_names == ["number", "text"]
    assert rows.column("number").to_pylist() == [49.5, 0.0, 25.0, 25.0, 3.0, 3.5]
    assert rows.column("text").to_pylist() == ["99", "0", None, None, "6", None]
    assert filled.rows(["code"], np.array([], dtype=np.int64)).num_rows == 0
    filled.close()


def test_blocks_hold_the_columns_asked_for(filled: Spool) -> None:
    blocks = list(filled.blocks(["code"]))
    assert [block.num_rows for block in blocks] == [*[7] * 14, 2]
    assert all(block.schema.names == ["code"] for block in blocks)
    filled.close()


def test_threads_read_at_the_same_time(filled: Spool) -> None:
    names = ["number", "code"] * 20
    with ThreadPoolExecutor(4) as pool:
        columns = list(pool.map(filled.column, names))
    assert all(
        (column == (np.arange(100) / 2 if name == "number" else np.arange(100))).all()
        for name, column in zip(names, columns, strict=True)
    )
    filled.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_disk_that_is_full_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    full = io.FileIO("/dev/full", "r+")
    monkeypatch.setattr(spool, "HELD_BYTES", 0)
    monkeypatch.setattr(spool, "open_scratch", lambda: full)
    made = Spool(SCHEMA)
    with pytest.raises(
        DataError, match=r"can't hold the typed columns: .*No space left.* TMPDIR=FOLDER"
    ):
        made.append({"number": np.zeros(1), "code": np.zeros(1, np.int8), "text": pa.array(["a"])})
    made.close()


def test_scratch_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert scratch_dir() == tmp_path
    monkeypatch.delenv("TMPDIR")
    assert scratch_dir() != tmp_path
