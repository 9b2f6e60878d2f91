import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from studperf.record.record import RunRecord
from studperf.report.pages.run import render_run
from studperf.report.views.run import digits_of, excluded_columns, predictors, published_slices
from studperf.scoring.metrics import Interval

from .conftest import Page

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)> & '`| "


def parse(record: RunRecord, folder: Path) -> Page:
    page = Page(render_run(record, folder))
    assert page.faults == []
    return page


def test_every_score_and_baseline_is_on_the_page(record: RunRecord, run_folder: Path) -> None:
    text = parse(record, run_folder).text
    show = digits_of(record)
    for predictor in predictors(record):
        scores = predictor.scores
        assert predictor.name in text
        for value in (scores.rmse, scores.mae, scores.bias):
            assert (
                f"{show.number(value.value)} {show.number(value.low)} to {show.number(value.high)}"
                in text
            )
    assert record.judgement is not None
    assert record.judgement.verdict.line.partition(":")[2].strip() in text
    assert record.judgement.conformal is not None
    assert f"differ by less than {show.with_unit(record.judgement.conformal.half_width)}" in text


def test_a_number_changed_in_the_record_changes_on_the_page(
    record: RunRecord, run_folder: Path
) -> None:
    assert record.judgement is not None
    before = parse(record, run_folder).text
    record.judgement.scores.rmse = Interval(12.3456, 11.1111, 13.9999)
    record.judgement.conformal = record.judgement.conformal.model_copy(
        update={"half_width": 77.777}
    )
    after = parse(record, run_folder).text
    for shown in ("12.35", "11.11 to 14.00", "±77.78", "less than 77.78 points"):
        assert shown in after
        assert shown not in before


def test_provenance_data_and_the_way_to_repeat_are_told(
    record: RunRecord, run_folder: Path
) -> None:
    text = parse(record, run_folder).text
    assert record.git is not None
    wanted = [
        record.git.commit,
        record.lock_sha256,
        record.weights_sha256,
        record.data.split_sha256,
        record.versions["torch"],
    ]
    wanted += [
        "python -m studperf.train model=mlp seed=1",
        f"{record.data.n_train} train",
        "SIMULATED",
        *record.data.features,
    ]
    wanted += [exclusion.why for exclusion in excluded_columns(record)]
    assert [text_ for text_ in wanted if str(text_) not in text] == []


def test_nothing_is_asked_of_any_other_site(record: RunRecord, run_folder: Path) -> None:
    source = render_run(record, run_folder)
    page = Page(source)
    addresses = [
        value
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action", "data")
    ]
    assert [value for value in addresses if not (value or "").startswith(("#", "data:"))] == []
    assert not re.search(r"url\(|@import|https?://", source)
    (policy,) = [
        a["content"]
        for a in page.attributes("meta")
        if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in (policy or "")
    assert page.attributes("script") == []


def test_a_hostile_name_stays_text(record: RunRecord, run_folder: Path, tmp_path: Path) -> None:
    """Names, levels, units, words of the command line and reasons come from files that anyone may have written."""
    shutil.copytree(run_folder, tmp_path / "run")
    assert record.judgement is not None
    columns = record.config["data"]["columns"]
    columns[HOSTILE] = {"kind": "leak", "why": HOSTILE, "unit": HOSTILE}
    columns["evil" + HOSTILE] = {"kind": "category", "unit": HOSTILE}
    record.data.features.append("evil" + HOSTILE)
    record.data.unit = record.data.target = record.data.name = record.name = record.model = HOSTILE
    record.data.warnings.append(HOSTILE)
    record.data.allowed_leaks[HOSTILE] = HOSTILE
    record.overrides.append(HOSTILE)
    record.files[HOSTILE] = HOSTILE
    record.judgement.verdict.line = f"{HOSTILE}: {HOSTILE}"
    record.judgement.slices[0].column = record.judgement.slices[0].level = HOSTILE
    page = parse(record, tmp_path / "run")
    assert page.attributes("script") == []
    assert page.attributes("img") == []
    assert not [a for _, a in page.tags for key in a if key.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") > 10


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        ("running", None, "Is running, or was killed"),
        (
            "interrupted",
            "stopped by the user or the system",
            "Was interrupted before it was scored",
        ),
        (
            "failed",
            "DivergedError: the loss <left>",
            "Failed before it was scored. DivergedError: the loss <left>.",
        ),
    ],
)
def test_a_run_that_was_not_scored_says_so(
    record: RunRecord, run_folder: Path, status: str, error: str | None, said: str
) -> None:
    record.status, record.error, record.judgement, record.best_epoch = status, error, None, None
    page = parse(record, run_folder)
    assert said in page.text
    assert "resume=" in page.text
    assert "Against the baselines" not in page.text
    assert "Learning curve" in page.text


def test_a_run_without_an_epoch_has_a_page(record: RunRecord, run_folder: Path) -> None:
    record.status, record.history, record.judgement, record.best_epoch = "running", [], None, None
    assert "No epoch had ended" in parse(record, run_folder).text


def test_values_that_are_no_numbers_have_a_page(record: RunRecord, run_folder: Path) -> None:
    assert record.judgement is not None
    record.history[1] |= {"val/rmse": math.nan, "val/loss": math.inf, "train/loss": math.nan}
    record.judgement.scores.r2 = Interval(math.nan, math.nan, math.nan)
    record.judgement.conformal = record.judgement.conformal.model_copy(
        update={"half_width": math.inf}
    )
    page = parse(record, run_folder)
    assert "unknown" in page.text
    assert "nan" not in {
        value
        for a in page.attributes("path")
        for value in re.findall(r"[a-z]{3}", a.get("d") or "")
    }


def test_files_that_are_gone_leave_a_page(record: RunRecord, tmp_path: Path) -> None:
    page = parse(record, tmp_path)
    assert "Against the baselines" in page.text
    assert "Predicted against actual" not in page.text


def test_groups_of_few_rows_are_not_published(record: RunRecord, run_folder: Path) -> None:
    assert record.judgement is not None
    record.judgement.slices = [
        part.model_copy(update={"n": 19 if i else 20})
        for i, part in enumerate(record.judgement.slices)
    ]
    shown, n_hidden = published_slices(record)
    assert len(shown) == 1
    page = parse(record, run_folder)
    assert f"{n_hidden} groups of fewer than 20 rows are not shown" in page.text
    assert len([a for a in page.attributes("th") if a.get("scope") == "rowgroup"]) == 1
    assert record.judgement.slices[-1].column in record.data.features
    assert f" {record.judgement.slices[-1].level} 19 " not in page.text


def test_drawings_have_words_and_tables_have_headings(record: RunRecord, run_folder: Path) -> None:
    page = parse(record, run_folder)
    drawings = page.attributes("svg")
    assert len(drawings) == 6
    assert all(a.get("role") == "img" and len(a.get("aria-label") or "") > 20 for a in drawings)
    assert all(a.get("scope") in ("col", "row", "rowgroup") for a in page.attributes("th"))
    assert len(page.attributes("caption")) == len(page.attributes("table"))
    assert page.tags[0] == ("html", {"lang": "en"})
    assert [a["content"] for a in page.attributes("meta") if a.get("name") == "viewport"] == [
        "width=device-width, initial-scale=1"
    ]


def test_the_plots_draw_the_recorded_rows(record: RunRecord, run_folder: Path) -> None:
    scored = pd.read_parquet(run_folder / "predictions.parquet").query("split == 'test'")
    dots = [
        a["d"] or ""
        for a in parse(record, run_folder).attributes("path")
        if a.get("class") == "dots a"
    ]
    assert [d.count("h0") for d in dots] == [len(scored)]


def test_text_can_be_read_in_light_and_in_dark() -> None:
    """Contrast by WCAG 2: at least 4.5 to 1 for text and its backgrounds."""
    css = (Path(render_run.__code__.co_filename).parents[1] / "templates" / "page.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in css.split("@media (prefers-color-scheme: dark)")[:2]
    )
    for theme in (light, dark):
        for ink in (
            "ink",
            "soft",
            "accent",
            "second",
            "good",
            "warn",
            "bad",
            *(f"c{i}" for i in range(8)),
        ):
            for ground in ("bg", "card"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)


def contrast(a: str, b: str) -> float:
    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_reading_and_drawing_need_neither_torch_nor_matplotlib(run_folder: Path) -> None:
    script = (
        "import sys, pathlib\nfrom studperf.report.__main__ import report_run\n"
        f"report_run(pathlib.Path({str(run_folder)!r}), pathlib.Path({str(run_folder / 'out.html')!r}))\n"
        "sys.stdout.write(' '.join({'torch', 'lightning', 'matplotlib', 'wandb', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert (run_folder / "card.md").is_file()
