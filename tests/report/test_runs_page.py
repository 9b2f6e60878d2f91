import base64
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from studperf.errors import RunError
from studperf.judge.ranking import Standing, find_runs, rank_apart
from studperf.record.record import RunRecord
from studperf.report.charts.parallel import Axis
from studperf.report.charts.runs import upper_end
from studperf.report.charts.svg import cut
from studperf.report.pages.runs import render_runs
from studperf.report.views.runs import find_choices
from studperf.report.views.scores import digits_of

from .conftest import Page

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


def parse(folder: Path) -> Page:
    page = Page(render_runs(find_runs([folder]), folder))
    assert page.faults == []
    return page


@pytest.fixture
def copied(runs_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(runs_folder, tmp_path / "runs")
    return tmp_path / "runs"


def ranked(folder: Path) -> list[Standing]:
    (group,) = rank_apart(find_runs([folder])).groups
    return group.items


def change(folder: Path, **values: object) -> None:
    record = RunRecord.load(folder)
    for name, value in values.items():
        setattr(record, name, value)
    record.save(folder)


def rows_of(page: Page) -> list[dict[str, str | None]]:
    return [a for a in page.attributes("tr") if "data-run" in a]


def test_all_runs_are_ranked_those_of_a_multirun_too(runs_folder: Path) -> None:
    page = parse(runs_folder)
    standings = ranked(runs_folder)
    assert len(standings) == len(rows_of(page)) == 4
    show = digits_of(standings[0].record)
    scores = [show.number(s.judgement.scores.rmse.value, more=1) for s in standings]
    shown = [re.sub(r"<.*?>", "", cells[2]) for cells in table_of(runs_folder)]
    assert shown == scores == sorted(scores, key=float)
    assert "a_multirun/0_mlp_seed0" in page.text


def table_of(folder: Path) -> list[list[str]]:
    """The leaderboard's cells, as HTML."""
    source = render_runs(find_runs([folder]), folder)
    return [
        re.findall(r"<t[dh].*?</t[dh]>", row, flags=re.DOTALL)
        for row in re.findall(r"<tr data-run=.*?</tr>", source, flags=re.DOTALL)
    ]


def test_what_is_tied_with_the_best_is_what_compare_says(runs_folder: Path) -> None:
    standings = ranked(runs_folder)
    expected = [{"best": "best", "noise": "tied", "worse": "worse"}[s.place] for s in standings]
    assert [re.sub(r"<.*?>", "", cells[5]) for cells in table_of(runs_folder)] == expected
    text = parse(runs_folder).text
    n_tied = expected.count("tied")
    assert f"{standings[0].record.model} leads" in text
    assert (
        f"{n_tied} of 3 others are tied with it" if n_tied else "No other run is tied with it"
    ) in text


def test_runs_on_other_rows_are_ranked_apart_and_pooled_with_none(copied: Path) -> None:
    for name in ("a_multirun/0_mlp_seed0", "linear_seed0"):
        (folder,) = (path for path in copied.glob("**/*") if str(path).endswith(name))
        record = RunRecord.load(folder)
        record.data.is_simulated, record.data.md5 = False, "b" * 32
        record.data.path = "real.csv"
        record.save(folder)
    page = parse(copied)
    assert "Leaderboard: final_score, test, SIMULATED" in page.text
    assert "Apart from the runs above: their data are SIMULATED, not real." in page.text
    assert "rows of real.csv (md5 bbbbbbbb)" in page.text
    assert "2 runs on other data, rows or targets can't be compared with these" in page.text
    source = render_runs(find_runs([copied]), copied)
    parts = source.split('<section id="leaderboard')[1:]
    assert [len(re.findall("<tr data-run", part)) for part in parts] == [2, 2]
    # Of the models, mlp comes twice on the simulated rows, and once on the others.
    pools = re.findall(r"By model.*?</table>", source, flags=re.DOTALL)
    assert len(pools) == 1
    assert '<td class="n">2</td>' in pools[0]


def test_every_judged_run_has_its_lines(runs_folder: Path) -> None:
    page = parse(runs_folder)
    lines = [a for a in page.attributes("path") if "data-run" in a]
    assert len([a for a in lines if "data-y" in a]) == 4
    assert len([a for a in lines if "data-y" not in a]) == 4
    n_axes = len(page.attributes("rect"))
    assert {len((a["data-y"] or "").split(",")) for a in lines if "data-y" in a} == {n_axes}


def test_axes_are_what_was_chosen(runs_folder: Path) -> None:
    records = [record for _, record in find_runs([runs_folder]).runs]
    names = list(find_choices(records))
    assert names[0] == "model"
    assert {"seed", "optimizer.lr", "trainer.max_epochs"} == set(names[1:])
    assert find_choices(records[:1]) == {}


def test_only_the_pages_own_script_may_run_and_nothing_is_loaded(runs_folder: Path) -> None:
    source = render_runs(find_runs([runs_folder]), runs_folder)
    page = Page(source)
    (script,) = re.findall(r"<script>(.*?)</script>", source, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in source
    addresses = [value for _, a in page.tags for key, value in a.items() if key in ("src", "href")]
    assert [
        value for value in addresses if re.match(r"[a-z]+:|//", value or "") and value != "data:,"
    ] == []


def test_a_run_with_a_page_of_its_own_is_linked(copied: Path) -> None:
    for page in copied.glob("**/report.html"):
        page.unlink()
    assert all((a["href"] or "").startswith("#") for a in parse(copied).attributes("a"))
    folder = next(path for path in copied.iterdir() if path.name.endswith("linear_seed0"))
    (folder / "report.html").write_text("")
    assert f"{folder.name}/report.html" in [a["href"] for a in parse(copied).attributes("a")]


def test_runs_that_were_not_scored_are_listed_with_the_reason(copied: Path) -> None:
    folder = next(path for path in copied.iterdir() if path.name.endswith("linear_seed0"))
    change(folder, status="failed", error="DivergedError: never finite", judgement=None)
    page = parse(copied)
    assert len(rows_of(page)) == 3
    assert "DivergedError: never finite" in page.text
    assert "resume=FOLDER" in page.text


def test_a_damaged_record_is_told_and_stops_nothing(copied: Path) -> None:
    folder = next(path for path in copied.iterdir() if path.name.endswith("linear_seed0"))
    (folder / "record.json").write_text("{")
    (copied / "a_multirun" / "0_mlp_seed0" / "predictions.parquet").unlink()
    page = parse(copied)
    assert len(rows_of(page)) == 2
    assert "is not a record that this version of studperf reads" in page.text
    assert "predictions.parquet: can't be read" in page.text


def test_no_run_scored_makes_a_page(copied: Path) -> None:
    for path in copied.glob("**/record.json"):
        change(path.parent, status="interrupted", judgement=None)
    page = parse(copied)
    assert "No run was scored yet" in page.text
    assert page.text.count("interrupted") >= 4


def test_runs_of_another_target_are_ranked_apart(copied: Path) -> None:
    folder = next(path for path in copied.iterdir() if path.name.endswith("linear_seed0"))
    record = RunRecord.load(folder)
    record.data.target, record.data.unit = "salary", "euro"
    record.save(folder)
    page = parse(copied)
    assert "Leaderboard: salary, test" in page.text
    assert "Leaderboard: final_score, test" in page.text


def test_one_run_makes_a_page(copied: Path) -> None:
    shutil.rmtree(copied / "a_multirun")
    for path in sorted(copied.iterdir())[1:]:
        shutil.rmtree(path)
    assert len(rows_of(parse(copied))) == 1


def test_hostile_names_stay_text(copied: Path) -> None:
    hostile = "\"><script>alert(1)</script>'<img src=x onerror=y>"
    for path in copied.glob("*/record.json"):
        record = RunRecord.load(path.parent)
        record.overrides, record.model, record.data.name = [hostile], hostile, hostile
        record.config["optimizer"]["name"] = hostile + str(record.seed)
        record.save(path.parent)
    page = parse(copied)
    assert len(page.attributes("script")) == 1
    assert page.attributes("img") == []
    assert not [a for _, a in page.tags for key in a if key.startswith("on")]


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        find_runs([tmp_path])


def test_a_line_is_cut_where_it_leaves_the_frame() -> None:
    points = cut([3.0, 1.0, 1.5, 4.0], 2.0)
    assert [p for p in points if not np.isnan(p[1])] == [(1.5, 2.0), (2, 1.0), (3, 1.5), (3.2, 2.0)]


def test_a_run_far_off_does_not_flatten_the_others() -> None:
    assert upper_end(4.9, [4.9, 4.95, 5.0, 5.1, 13.6]) == pytest.approx(5.4)
    assert upper_end(5.0, [5.0]) > 5.0


def test_of_two_runs_both_are_in_the_frame() -> None:
    assert upper_end(5.0, [5.0, 9.0]) > 9.0
    assert upper_end(5.0, [5.0, 6.0, 9.0]) > 9.0


def test_an_axis_of_words_is_no_axis_of_numbers() -> None:
    assert Axis("lr", [0.1, None, 1]).is_number
    assert not Axis("name", ["adam", None]).is_number


PROBE = """<script>
const out = [document.documentElement.scrollWidth - innerWidth];
const first = () => document.querySelector("tbody.runs tr").children[2].textContent;
out.push(first());
document.querySelectorAll("thead th button")[1].click();
out.push(first());
document.querySelector('.chip[data-model="linear"]').click();
out.push(document.querySelector("#count").textContent);
document.title = "probe:" + out.join("|");
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_it_sorts_and_filters_and_never_scrolls_sideways(
    runs_folder: Path, tmp_path: Path, width: int
) -> None:
    source = render_runs(find_runs([runs_folder]), runs_folder)
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source).replace(
        "</body>", PROBE
    )
    (tmp_path / "page.html").write_text(bare)
    command = [
        CHROMIUM or "",
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--window-size={width},900",
        "--dump-dom",
    ]
    done = subprocess.run(
        [*command, f"file://{tmp_path / 'page.html'}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    overflow, best, worst, shown = re.findall(r"<title>probe:(.*?)</title>", done.stdout)[0].split(
        "|"
    )
    assert int(overflow) <= 0
    assert float(best) < float(worst)
    assert shown == "3 shown"
