import csv
import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kit.small_run import SMALL
from studperf.bundle.__main__ import main
from studperf.bundle.manifest import read_manifest, seal
from studperf.bundle.table import find_delimiter
from studperf.config.load import load_overrides
from studperf.data.simulate import simulate
from studperf.errors import BundleError, ConfigError, DataError
from studperf.train.run import run

EXPORTED = (*SMALL, "model=linear", "export=true")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = load_overrides([*EXPORTED, f"runs={tmp_path_factory.mktemp('runs')}"])
    run(config)
    (folder,) = Path(config.runs).iterdir()
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    simulate(load_overrides(["data.source.simulate.rows=5"]).data).drop(
        columns=["final_score"]
    ).to_csv(path, index=False)
    return path


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["bundle", *map(str, words)])
    main()


def test_a_good_bundle_is_called_good(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, "verify", run_folder)
    assert "Good:" in capsys.readouterr().out


def test_show_tells_what_to_give_and_how_good_it_is(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, "show", run_folder / "bundle")
    shown = capsys.readouterr().out
    metrics = json.loads((run_folder / "bundle" / "metrics.json").read_text())
    assert "Predicts final_score in points" in shown
    assert f"±{metrics['conformal']['half_width']:.2f} points" in shown
    assert all(
        text in shown for text in ("22 columns", "sleep_hours", "Female, Male, Other", "SIMULATED")
    )


def test_show_chooses_digits_by_the_size_of_the_errors(
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(run_folder / "bundle", folder)
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["scores"]["rmse"]["value"] = 0.0123
    metrics["conformal"]["half_width"] = 0.02041
    path.write_text(json.dumps(metrics))
    seal(folder, **read_manifest(folder).model_dump(exclude={"format", "files"}))

    call(monkeypatch, "show", folder)
    assert "±0.0204 points" in capsys.readouterr().out


def test_rows_are_predicted_with_their_interval(
    run_folder: Path,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call(monkeypatch, "predict", run_folder, rows)
    captured = capsys.readouterr()
    lines = list(csv.DictReader(captured.out.splitlines()))
    assert [line["row"] for line in lines] == ["1", "2", "3", "4", "5"]
    assert all(
        float(line["low"]) < float(line["predicted"]) < float(line["high"]) for line in lines
    )
    assert (
        captured.err == "warning: student_id, passed, performance_category: not used by the model\n"
    )


def packed(text: str) -> bytes:
    return gzip.compress(
        text.encode(), mtime=0
    )  # the same bytes in each process, for they name a test


FORMS: dict[str, Callable[[str], bytes]] = {
    "packed": packed,
    "parted by semicolons": lambda text: text.replace(",", ";").encode(),
    "parted by tabs, with a byte order mark": lambda text: text.replace(",", "\t").encode(
        "utf-8-sig"
    ),
    "lines of Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "another encoding": lambda text: text.replace("student_id", "Schüler").encode("latin-1"),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_read_in_every_form_that_training_reads(
    run_folder: Path,
    rows: Path,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call(monkeypatch, "predict", run_folder, rows)
    plain = capsys.readouterr().out
    rows.write_bytes(FORMS[form](rows.read_text(encoding="utf-8")))
    call(
        monkeypatch,
        "predict",
        run_folder,
        rows,
        *(["encoding=latin-1"] if form == "another encoding" else []),
    )
    assert capsys.readouterr().out == plain


@pytest.mark.parametrize("ending", [".parquet", ".table"])
def test_a_parquet_file_is_predicted_as_the_same_rows_in_a_csv(
    ending: str,
    run_folder: Path,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call(monkeypatch, "predict", run_folder, rows)
    plain = capsys.readouterr().out
    frame = pd.read_csv(rows, keep_default_na=False)
    frame["gender"] = frame["gender"].astype("category")
    frame["age"] = frame["age"].astype("Int64")
    frame["passed"] = frame["passed"].astype(bool)
    path = tmp_path / f"rows{ending}"
    frame.to_parquet(path)
    call(monkeypatch, "predict", run_folder, path)
    assert capsys.readouterr().out == plain


def test_a_missing_value_of_a_parquet_file_is_told_as_one(
    run_folder: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.read_csv(rows, keep_default_na=False)
    frame["age"] = frame["age"].astype("Int64").where(frame.index != 2)
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"age: 1 missing value \(row 3\)"):
        call(monkeypatch, "predict", run_folder, tmp_path / "rows.parquet")


def test_a_parquet_file_without_pyarrow_says_what_reads_it(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        DataError, match=r"is a Parquet file, and pyarrow.* or give the rows as CSV"
    ):
        call(monkeypatch, "predict", run_folder, tmp_path / "rows.parquet")


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"PAR1 and no more", "rows.parquet", "can't be read as Parquet"),
        (b"a,b\n1,2\n", "rows.parquet", "can't be read as Parquet"),
        (b"PK\x03\x04 sheet", "rows.xlsx", "is a zip or Excel file"),
        (b"\xff\x00\x80", "rows.csv", "holds NUL bytes"),
    ],
)
def test_a_file_of_another_format_is_not_called_text_of_another_encoding(
    content: bytes,
    name: str,
    message: str,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        call(monkeypatch, "predict", run_folder, tmp_path / name)
    assert "latin-1" not in str(caught.value)


@pytest.mark.parametrize("given", ["bar", "|"])
def test_a_delimiter_may_be_named(
    given: str,
    run_folder: Path,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call(monkeypatch, "predict", run_folder, rows)
    plain = capsys.readouterr().out
    rows.write_text(rows.read_text().replace(",", "|"))
    call(monkeypatch, "predict", run_folder, rows, f"delimiter={given}")
    assert capsys.readouterr().out == plain
    with pytest.raises(ConfigError, match="delimiter=bars: must be one character, or one of comma"):
        call(monkeypatch, "predict", run_folder, rows, "delimiter=bars")


def test_the_delimiter_is_the_one_by_which_the_header_holds_the_columns() -> None:
    names = {"age, years", "height", "town"}
    assert find_delimiter('"age, years";height;town\n1;2;3', names) == ";"
    assert find_delimiter("age\theight\ttown", names) == "\t"
    assert find_delimiter("height", names, first=";") == ";"
    assert find_delimiter("", names) == ","


def test_predictions_go_to_a_file_when_asked(
    run_folder: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(monkeypatch, "predict", run_folder, rows, f"out={tmp_path / 'out.csv'}")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n", "the column is missing|is empty"),
        ("a,b\n1\n", "row 1 has 1 cells, the header names 2"),
        ("age\n17\n", "the column is missing"),
        (b"\xff\xfe", "is no text in utf-8: .* encoding=latin-1"),
        (packed("age\n17\n")[:-9], "is a damaged gzip file"),
        (None, "no such file"),
    ],
)
def test_a_file_that_holds_no_such_rows_is_refused(
    run_folder: Path,
    tmp_path: Path,
    text: str | bytes | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "rows.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        call(monkeypatch, "predict", run_folder, path)


def test_a_changed_bundle_predicts_nothing(
    run_folder: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = run_folder / "bundle" / "schema.json"
    genuine = schema.read_bytes()
    try:
        schema.write_bytes(
            genuine.replace(b"[\n    0.0,\n    24.0\n   ]", b"[\n    0.0,\n    99.0\n   ]", 1)
        )
        with pytest.raises(BundleError, match=r"schema\.json: was changed"):
            call(monkeypatch, "predict", run_folder, rows)
    finally:
        schema.write_bytes(genuine)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prdict", "x"], "nearest valid name is 'predict'"),
        (["verify"], r"say: python -m studperf\.bundle verify PATH"),
        (["verify", "x", "y"], r"bundle verify PATH; got x y"),
        (["predict", "x"], r"predict PATH rows\.csv \[out=FILE\]; got x"),
        (["predict", "x", "y", "out="], "out: has no value"),
        (["predict", "x", "y", "encoding="], "encoding: has no value"),
        ([], "name a command"),
    ],
)
def test_a_wrong_command_is_refused(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=message):
        call(monkeypatch, *words)


def test_a_folder_without_a_bundle_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match="holds no bundle"):
        call(monkeypatch, "verify", tmp_path)
    with pytest.raises(BundleError, match="nowhere: there is no such folder"):
        call(monkeypatch, "verify", tmp_path / "nowhere")


def test_help_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call(monkeypatch, "--help")
    assert "needs no torch" in capsys.readouterr().out


def test_rows_with_decimal_commas_are_predicted_alike(
    run_folder: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rows.open(newline="", encoding="utf-8") as file:
        cells = list(csv.reader(file))
    european = tmp_path / "european.csv"
    with european.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows(
            [cell.replace(".", ",") for cell in row] for row in cells
        )
    call(monkeypatch, "predict", run_folder, rows, f"out={tmp_path / 'a.csv'}")
    call(monkeypatch, "predict", run_folder, european, f"out={tmp_path / 'b.csv'}", "decimal=comma")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    with pytest.raises(DataError, match="no number"):
        call(monkeypatch, "predict", run_folder, european)
    with pytest.raises(ConfigError, match="decimal: point or comma"):
        call(monkeypatch, "predict", run_folder, european, "decimal=dot")


def test_only_files_are_read(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="is a device, and only files are read"):
        call(monkeypatch, "predict", run_folder, "/dev/zero")
