import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from studperf.config.secrets import mask
from studperf.data.__main__ import main
from studperf.errors import ConfigError, DataError, LeakError

SIMULATED = ("data=simulated", "data.source.simulate.rows=300")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # noqa: ANN201
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["studperf.data", *words])
        main()
        return capsys.readouterr().out

    return call


def test_check_says_what_is_good(command) -> None:  # noqa: ANN001
    assert "300 rows, 22 features, no fault and no leak" in command("check", *SIMULATED)


def test_check_refuses_leaks(command) -> None:  # noqa: ANN001
    with pytest.raises(LeakError, match="passed"):
        command("check", *SIMULATED, "data.columns.passed.kind=flag")
    assert "allowed leak: passed" in command(
        "check", *SIMULATED, "data.columns.passed.kind=flag", "data.allow_leaks=[passed]"
    )


def test_check_lists_all_faults(command, tmp_path: Path) -> None:  # noqa: ANN001
    command("simulate", "rows=50", "out=t.csv")
    table = pd.read_csv("t.csv", keep_default_na=False)
    table.loc[2, "age"], table.loc[4, "gender"] = 400, "M"
    table.to_csv("t.csv", index=False)
    with pytest.raises(DataError, match=r"2 faults") as error:
        command("check", "data.source.path=t.csv")
    assert "age: 1 value is outside of 5 to 100 years: 400 (row 3)" in str(error.value)
    assert "gender: unknown level in 1 row: 'M' (row 5)" in str(error.value)


def test_check_of_a_large_table_says_the_same(
    command,  # noqa: ANN001 - a fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command("simulate", "rows=300", "out=t.csv")
    small = command("check", "data.source.path=t.csv")
    monkeypatch.setattr(
        "studperf.data.large.progress._PATIENCE_S", 1000
    )  # a busy machine tells how long it took
    monkeypatch.setattr("studperf.data.rows.LARGE_CSV_BYTES", 10)
    monkeypatch.setattr("studperf.data.large.chunks.N_BYTES", 5000)
    assert command("check", "data.source.path=t.csv") == small
    monkeypatch.setattr("studperf.data.rows.N_SAMPLED", 100)
    assert (
        "300 rows, 22 features, no fault and no leak in a sample of 100 training rows"
        in command("check", "data.source.path=t.csv")
    )
    with pytest.raises(LeakError, match="passed"):
        command("check", "data.source.path=t.csv", "data.columns.passed.kind=flag")


def test_report_writes_two_pages_that_ask_no_other_site(command, tmp_path: Path) -> None:  # noqa: ANN001
    command("report", *SIMULATED, "out=page")
    page = (tmp_path / "page" / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    for title in (
        "Overview",
        "Leaks",
        "Target",
        "Balance of the split",
        "Missing values",
        "Correlations",
        "Numbers",
    ):
        assert f">{title}</h2>" in page
    assert page.count("data:image/png;base64") == 4
    text = (tmp_path / "page" / "report.md").read_text()
    assert "| passed | marked as leak | exact |" in text
    pictures = [
        line.split("(")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")
    ]
    assert all((tmp_path / "page" / name).stat().st_size > 5000 for name in pictures)


def test_report_tells_of_columns_left_out_and_of_missing_values(command, tmp_path: Path) -> None:  # noqa: ANN001
    command("simulate", "rows=300", "out=t.csv")
    table = pd.read_csv("t.csv", keep_default_na=False)
    table["age"] = table["age"].astype(object)
    table.loc[:29, "age"] = ""
    table.to_csv("t.csv", index=False)
    words = (
        "data.source.path=t.csv",
        "data.columns.age.fill=median",
        "data.columns.last_exam_score.kind=unused",
    )
    command("report", *words, "out=page")
    text = (tmp_path / "page" / "report.md").read_text()
    assert "| age | 30 | 10.0% | filled with median |" in text
    assert "Left out though they carry signal: last_exam_score" in text


def test_check_names_a_left_out_column_that_explains_the_target(command) -> None:  # noqa: ANN001
    command("simulate", "rows=300", "out=t.csv")
    words = ("data.source.path=t.csv", "data.columns.last_exam_score.kind=unused")
    output = command("check", *words)
    assert "last_exam_score: is left out, though it explains" in " ".join(output.split())


def test_infer_then_check_then_no_overwriting(command, tmp_path: Path) -> None:  # noqa: ANN001
    command("simulate", "rows=200", "out=t.parquet")
    output = command("infer", "t.parquet", "target=final_score", "out=conf/data/mine.yaml")
    assert "check data=mine" in output
    assert (
        yaml.safe_load(Path("conf/data/mine.yaml").read_text())["columns"]["passed"]["kind"]
        == "leak"
    )
    assert "no fault and no leak" in command("check", "data=mine")
    with pytest.raises(DataError, match="is there already; force=true"):
        command("infer", "t.parquet", "target=final_score", "out=conf/data/mine.yaml")
    command("infer", "t.parquet", "target=final_score", "out=conf/data/mine.yaml", "force=true")


@pytest.mark.parametrize("name", ["2020", "größe"])
def test_dataset_of_any_name_that_infer_takes_is_found(
    name: str,
    command,  # noqa: ANN001 - a fixture
) -> None:
    command("simulate", "rows=200", "out=t.csv")
    assert f"check data={name}" in command("infer", "t.csv", "target=final_score", f"name={name}")
    assert "no fault and no leak" in command("check", f"data={name}")


def test_blank_lines_above_the_header_are_skipped(command) -> None:  # noqa: ANN001
    command("simulate", "rows=200", "out=t.csv")
    Path("u.csv").write_text(f"\n  \n\n{Path('t.csv').read_text()}")
    command("infer", "u.csv", "target=final_score")
    assert "200 rows, 22 features" in command("check", "data=u")


def test_user_of_an_address_is_masked_though_a_path_lost_a_slash(command) -> None:  # noqa: ANN001
    password = "hunter22222"  # noqa: S105 - nobody's
    with pytest.raises(DataError, match="is an address, and only files are read") as caught:
        command("infer", f"https://me:{password}@example.com/t.csv", "target=y")
    assert password not in mask(str(caught.value))


def test_simulate_is_the_same_for_a_seed(command) -> None:  # noqa: ANN001
    command("simulate", "rows=40", "seed=3", "out=a.csv")
    command("simulate", "rows=40", "seed=3", "out=b.csv")
    command("simulate", "rows=40", "seed=4", "out=c.csv")
    a, b, c = (Path(f"{name}.csv").read_text() for name in "abc")
    assert a == b != c
    with pytest.raises(DataError, match="is there already"):
        command("simulate", "out=a.csv")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a command"),
        (["chek"], "nearest valid name is 'check'"),
        (["simulate"], "say where to"),
        (["simulate", "out=x.csv", "rows=0"], "greater than 0"),
        (["infer", "x.csv"], "target=COLUMN"),
        (["infer", "x.csv", "target=y", "delimiter=tab"], "delimiter=tab: unknown; valid: force"),
        (["infer", "x.csv", "target=y", "name=../x"], "data=NAME could not choose it"),
        (["infer", "x.csv", "target=y", "name=my table"], "data=NAME could not choose it"),
        (["infer", "x.csv", "target=y", "out=."], "out=.: is a folder; name a file in it"),
        (["simulate", "out="], "out: has no value"),
        (["simulate", "out=x.csv", "force=yes"], "force: must be true or false"),
        (["report", "against="], "against: has no value"),
        (["report", "remote=store"], "remote: is for --against"),
        (["fetch", "remote"], "remote: has no value"),
        (["check", "data=student"], "nearest valid name is 'students'"),
    ],
)
def test_wrong_words_are_refused(command, words: list[str], message: str) -> None:  # noqa: ANN001
    with pytest.raises(ConfigError, match=message):
        command(*words)


def test_help_is_shown(command) -> None:  # noqa: ANN001
    assert "infer    FILE target=COLUMN" in command("--help")


def test_infer_asks_and_check_warns_until_it_is_answered(command, tmp_path: Path) -> None:  # noqa: ANN001
    rng = np.random.default_rng(0)
    plant = rng.choice(np.arange(100, 900, 20), 1200)
    effect = {code: (-1) ** i for i, code in enumerate(np.unique(plant))}
    x = rng.normal(size=1200)
    y = x + np.array([effect[code] for code in plant]) + rng.normal(size=1200)
    pd.DataFrame({"x": x, "plant": plant, "y": y}).to_csv("t.csv", index=False)
    shown = command("infer", "t.csv", "target=y", "out=conf/data/mine.yaml")
    assert "asks: plant: codes? It has 40 different whole numbers" in shown
    assert "plant: {kind: number, typical: [100, 880], step: 1}" in shown
    assert "warning" not in command("check", "data=mine")
    answered = Path("conf/data/mine.yaml").read_text().splitlines()
    place = next(i for i, line in enumerate(answered) if line.startswith("  plant:"))
    answered[place] = "  plant: {kind: number}"
    Path("conf/data/mine.yaml").write_text("\n".join(answered))
    assert "warning: plant: codes?" in command("check", "data=mine")
    answered[place] = "  plant: {kind: number, why: an amount}"
    Path("conf/data/mine.yaml").write_text("\n".join(answered))
    assert "warning" not in command("check", "data=mine")


def test_a_draft_lies_where_one_works(command, tmp_path: Path) -> None:  # noqa: ANN001 - a fixture
    command("simulate", "rows=100", "out=mine.csv")
    output = command("infer", "mine.csv", "target=final_score")
    assert (tmp_path / "conf" / "data" / "mine.yaml").is_file()
    assert "check data=mine" in output
    assert "100 rows" in command("check", "data=mine")
