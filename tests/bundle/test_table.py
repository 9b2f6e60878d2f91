from pathlib import Path

from studperf.bundle.table import read_table


def test_blank_lines_above_the_header_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n\r\n\nage;city\n3;Ulm\n", newline="")
    assert read_table(path, ["age", "city"]) == {"age": ["3"], "city": ["Ulm"]}
