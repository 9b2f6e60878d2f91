"""What the README shows works as it is printed."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import studperf
from studperf.data.infer import infer, to_yaml

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(n_rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    hours = rng.uniform(0, 10, n_rows)
    school = rng.choice(["north", "south"], n_rows)
    grade = 3 * hours + (school == "north") * 5 + rng.normal(0, 2, n_rows)
    return pd.DataFrame({"hours": hours, "school": school, "grade": grade}).round(3)


@pytest.mark.slow
def test_the_lines_of_python_train_and_predict_a_table_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table(400).to_csv("my.csv", index=False)
    folder = tmp_path / "conf" / "data"
    folder.mkdir(parents=True)
    draft = infer(Path("my.csv"), "grade")
    (folder / "my.yaml").write_text(to_yaml(draft), encoding="utf-8")

    (code,) = re.findall(r"```python\n(import studperf\n.*?)```", README, flags=re.DOTALL)
    names = {"frame": table(10).drop(columns="grade")}
    exec(code, names)  # noqa: S102 - the README's own lines

    run = names["run"]
    assert isinstance(run, studperf.Run)
    assert run.folder.is_dir()
    assert "grade" not in run.predict(names["frame"]).columns


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []
    assert len(links) > 10
