"""The page of one run, from its record and files."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from studperf.errors import RunError
from studperf.record.files import ENCODER, read_predictions
from studperf.record.record import RunRecord
from studperf.record.shape import Conformal, Judgement
from studperf.report import card as cards
from studperf.report.card import digits_of
from studperf.report.pages import charts
from studperf.report.pages.markup import card, esc, facts, figure, fold, points, render_page, table
from studperf.scoring.metrics import Interval
from studperf.scoring.numbers import number

if TYPE_CHECKING:
    import pandas as pd

TONES = {
    "beats": "good",
    "matches": "level",
    "can't tell": "level",
    "worse": "warn",
    "suspicious": "bad",
    "no better than the mean": "bad",
}
_STATUS_TONES = {"running": "level", "interrupted": "warn", "failed": "bad", "finished": "good"}


def render_run(record: RunRecord, folder: Path) -> str:
    """Return one self-contained page about a run.

    The page of a run that was not judged says why, with what is known.
    """
    predictions = _predictions(record, folder)
    sections = [
        ("scores", "Scores", _scores(record)),
        ("training", "Training", _training(record, predictions)),
        ("predictions", "Predictions", _predicted(record, predictions)),
        ("groups", "Groups", _groups(record)),
        ("use", "Use and limits", _use(record)),
        ("data", "Data", _data(record, folder)),
        ("provenance", "Provenance", _provenance(record)),
    ]
    version = esc(record.versions.get("studperf", ""))
    footer = (
        f"Written by studperf {version} from record.json; "
        "every number on this page is read from it."
    )
    return render_page(
        f"{record.model} on {record.data.name}: {record.name}",
        _masthead(record),
        sections,
        footer=footer,
    )


def verdict_banner(record: RunRecord) -> str:
    """Return the verdict as a banner, or why there is none."""
    if record.judgement is None:
        return _unfinished(record)
    verdict = record.judgement.verdict
    head, _, rest = verdict.line.partition(":")
    more = f": {rest.strip()}" if rest else ""
    return f'<p class="banner {TONES[verdict.kind]}"><strong>{esc(head)}</strong>{esc(more)}</p>'


def _unfinished(record: RunRecord) -> str:
    what = {
        "running": "Is running, or was killed: this is what it had recorded.",
        "interrupted": "Was interrupted before it was scored.",
        "failed": "Failed before it was scored.",
        "finished": "Finished without being scored.",
    }[record.status]
    reason = ""
    if record.error and record.status == "failed":
        reason = f" {esc(record.error)}."
    command = f"python -m studperf.train resume=…/{esc(record.name)}"
    return (
        f'<p class="banner {_STATUS_TONES[record.status]}"><strong>{esc(what)}</strong>{reason}'
        f" {len(record.history)} epochs are on disk; it goes on with <code>{command}</code>.</p>"
    )


def _masthead(record: RunRecord) -> str:
    data = record.data
    meta = [
        record.name,
        f"{record.started[:16].replace('T', ' ')} UTC",
        f"{record.n_parameters:,} parameters",
        f"seed {record.seed}",
        f"{len(data.features)} columns",
    ]
    simulated = ""
    if data.is_simulated:
        simulated = (
            '<p class="banner warn"><strong>SIMULATED data</strong>: '
            "its scores say nothing about real rows.</p>"
        )
    spans = "".join(f"<span>{esc(part)}</span>" for part in meta)
    task = f"<small>predicts {esc(data.target)} of {esc(data.name)}</small>"
    return (
        f'<p class="eyebrow">Run report</p><h1>{esc(record.model)} {task}</h1>'
        f'<p class="meta">{spans}</p>{verdict_banner(record)}{simulated}'
    )


def _scores(record: RunRecord) -> str:
    judgement = record.judgement
    if judgement is None:
        return ""
    show, unit = digits_of(record), record.data.unit
    scores = judgement.scores
    tiles = [
        ("RMSE", show.number(scores.rmse.value), unit, _between(scores.rmse, show.decimals)),
        (
            "Mean absolute error",
            show.number(scores.mae.value),
            unit,
            _between(scores.mae, show.decimals),
        ),
        ("R²", number(scores.r2.value, 3), "", _between(scores.r2, 3)),
        ("Better than the mean by", f"{judgement.skill:.1%}", "", "of the RMSE"),
    ]
    if (band := judgement.conformal) is not None:
        held = f"held {band.coverage:.1%} of {judgement.scored_on} rows{_promised(band)}"
        tiles.append((f"{band.level:.0%} band", f"±{show.number(band.half_width)}", unit, held))
    shown = "".join(
        f'<div><dt>{esc(name)}</dt><dd><div class="value">{esc(value)} <small>{esc(small)}</small></div>'
        f'<div class="more">{esc(more)}</div></dd></div>'
        for name, value, small, more in tiles
    )
    header = ["predictor", "RMSE", "MAE", "R²", "bias"]
    rows = []
    for name, of_predictor in cards.predictors(record):
        cells = [
            _cell(of_predictor.rmse, show.decimals),
            _cell(of_predictor.mae, show.decimals),
            _cell(of_predictor.r2, 3),
            _cell(of_predictor.bias, show.decimals),
        ]
        rows.append([_named(name), *cells])
    in_unit = f", in {unit}" if unit else ""
    caption = f"{cards.n_scored(record):,} {judgement.scored_on} rows{in_unit}; with 95 % intervals"
    baselines = (
        "Baselines learn from the same training rows. "
        f"The verdict rests on the paired differences to them. {_chosen(judgement)}"
    )
    chart = figure("Against the baselines", baselines, charts.score_chart(record))
    numbers = card(table(header, rows, caption=caption, numbers=range(1, 5), lead=True))
    return f'<dl class="tiles">{shown}</dl><div class="two lean">{chart}{numbers}</div>'


def _chosen(judgement: Judgement) -> str:
    """Return how the best baseline was chosen."""
    if judgement.choice is None:
        return f"The best of them, {judgement.best_baseline}, was chosen on val."
    return cards.choice_line(judgement.choice)


def _named(predictor: str) -> str:
    name, _, baseline = predictor.partition(" (baseline")
    return f"{esc(name)}{'<br><span class=range>baseline</span>' if baseline else ''}"


def _between(value: Interval, decimals: int) -> str:
    return f"95 %: {number(value.low, decimals)} to {number(value.high, decimals)}"


def _cell(value: Interval, decimals: int) -> str:
    ends = f"{number(value.low, decimals)} to {number(value.high, decimals)}"
    return f'{number(value.value, decimals)}<br><span class="range">{ends}</span>'


def _line(value: Interval, decimals: int) -> str:
    return _cell(value, decimals).replace("<br>", " ")


def _promised(band: Conformal) -> str:
    if band.likely is None or band.n_val is None:
        return ""
    low, high = band.likely
    return f"; {band.n_val:,} val rows promise {low:.0%} to {high:.0%}"


def _training(record: RunRecord, predictions: pd.DataFrame | None) -> str:
    if not record.history:
        return card("<p>No epoch had ended when this was written.</p>")
    seconds = float(record.history[-1]["seconds"])
    said = [f"{len(record.history)} epochs in {seconds:.1f} s."]
    if record.is_stopped_early:
        said.append("Early stopping ended it.")
    if record.best_epoch is not None:
        said.append(f"The weights of epoch {record.best_epoch + 1} were kept.")
    said += [f"Went on after epoch {epoch}." for epoch in record.resumed_at]
    if record.cut_short is not None:
        said.append(record.cut_short.line)
    about_loss = (
        "The training loss is a mean over the epoch's steps, dropout included; "
        "val is taken at its end."
    )
    curve = figure("Learning curve", " ".join(said), charts.learning_chart(record, predictions))
    loss = figure("Loss", about_loss, charts.loss_chart(record))
    return f'<div class="two">{curve}{loss}</div>'


def _predicted(record: RunRecord, predictions: pd.DataFrame | None) -> str:
    if record.judgement is None or predictions is None:
        return ""
    scored = predictions[predictions["split"] == record.judgement.scored_on]
    band = record.judgement.conformal
    within = "There is no band."
    if band is not None:
        width = digits_of(record).number(band.half_width)
        within = f"The shaded band, ±{width}, was learnt on val."
    parity = figure(
        "Predicted against actual",
        f"{len(scored):,} {record.judgement.scored_on} rows. {within}",
        charts.parity_chart(record, scored),
    )
    residuals = figure(
        "Errors",
        "Centred on 0 when the model is neither too high nor too low.",
        charts.residual_chart(record, scored),
    )
    return f'<div class="two">{parity}{residuals}</div>'


def _groups(record: RunRecord) -> str:
    shown, n_hidden = cards.published_slices(record)
    if not shown:
        return ""
    show = digits_of(record)
    rows: list[list[str]] = []
    for column, parts in groupby(shown, key=lambda part: part.column):
        rows.append([esc(column)])
        for part in parts:
            mae = _line(part.mae, show.decimals)
            bias = _line(part.bias, show.decimals)
            rows.append([esc(part.level), f"{part.n:,}", mae, bias])
    caption = (
        "Where an interval holds the dashed line, the group is no different from all rows "
        "as far as these rows can tell."
    )
    if n_hidden:
        caption += f" {n_hidden} groups of fewer than {cards.MIN_SLICE} rows are not shown."
    in_unit = f" in {show.unit}" if show.unit else ""
    numbers = table(
        ["group", "rows", "MAE", "bias"],
        rows,
        caption=f"Errors by group{in_unit}, with 95 % intervals",
        numbers=range(1, 4),
    )
    chart = figure("Error by group", caption, charts.slice_chart(record))
    return f'<div class="two">{chart}{card(numbers)}</div>'


def _use(record: RunRecord) -> str:
    use = card("<h3>Intended use</h3>", points(cards.intended_use(record)))
    limits = card("<h3>Limits</h3>", points(cards.limits(record)))
    return f'<div class="two">{use}{limits}</div>'


def _data(record: RunRecord, folder: Path) -> str:
    data = record.data
    source = "SIMULATED" if data.is_simulated else f"<code>{esc(data.path)}</code>"
    pairs = [
        ("source", source),
        ("md5", f"<code>{esc(data.md5 or 'none')}</code>"),
        (
            "rows",
            f"{data.n_rows:,}: {data.n_train:,} train, {data.n_val:,} val, {data.n_test:,} test",
        ),
        ("split", f"<code>{esc(data.split_sha256)}</code>"),
        ("target", esc(data.target + (f", in {data.unit}" if data.unit else ""))),
    ]
    if data.noise_floor is not None:
        pairs.append(("noise floor", esc(digits_of(record).with_unit(data.noise_floor))))
    pairs += [("warning", esc(warning)) for warning in data.warnings]
    pairs += [
        ("allowed leak", f"<strong>{esc(name)}</strong>: {esc(why)}")
        for name, why in data.allowed_leaks.items()
    ]
    header = ["column", "kind", "unit", "seen in training, or levels", "missing value"]
    used = [[esc(cell) for cell in row] for row in _used_columns(record, folder)]
    left_out = [
        [esc(e.column), f'<span class="pill">{esc(e.kind)}</span>', esc(e.why)]
        for e in cards.excluded_columns(record)
    ]
    columns = fold(f"{len(used)} columns used", table(header, used, caption="What the model sees"))
    excluded = ""
    if left_out:
        excluded = card(
            table(
                ["column", "kind", "why it is left out"],
                left_out,
                caption="Columns that the model does not see",
            )
        )
    return f'<div class="two">{card(facts(pairs))}{excluded}</div>{card(columns)}'


def _used_columns(record: RunRecord, folder: Path) -> list[list[str]]:
    learnt = _learnt(folder)
    rows = []
    for name in record.data.features:
        column = record.config["data"]["columns"][name]
        code = learnt.get(name, {})
        fill = code.get("fill")
        missing = "refused" if fill is None else f"read as {fill}"
        unit = column.get("unit") or ""
        rows.append([name, str(column["kind"]), unit, _seen(code), missing])
    return rows


def _seen(code: dict[str, Any]) -> str:
    """Return the range or the levels that training saw; a flag's are always 0 and 1."""
    if not code:
        return ""
    if "low" in code:
        return f"{code['low']:g} to {code['high']:g}"
    return ", ".join(code.get("levels") or ["0", "1"])


def _learnt(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the training rows taught about each column, by name.

    It is empty where the encoder's file is gone.
    """
    try:
        plain = json.loads((folder / ENCODER).read_text(encoding="utf-8"))
        return {
            code["name"]: code
            for kind in ("numbers", "flags", "categories")
            for code in plain[kind]
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _provenance(record: RunRecord) -> str:
    git = "no git" if record.git is None else f"<code>{esc(record.git.commit)}</code>"
    if record.git is not None and record.git.is_dirty:
        git += ' <span class="pill warn">with changes not committed</span>'
    pairs = [
        (
            "run",
            f"{esc(record.name)} <span class='pill {_STATUS_TONES[record.status]}'>{esc(record.status)}</span>",
        ),
        ("started, ended", esc(f"{record.started}, {record.ended or 'not yet'}")),
        ("commit", git),
        ("package lock", f"<code>{esc(record.lock_sha256)}</code>"),
        ("weights", f"<code>{esc(record.weights_sha256)}</code>"),
        (
            "versions",
            esc(", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ),
    ]
    if record.hardware is not None:
        h = record.hardware
        pairs.append(
            (
                "hardware",
                esc(
                    f"{h.cpu}, {h.n_cores} cores, {h.n_threads} threads, {h.accelerator}, {h.platform}"
                ),
            )
        )
    pairs.append(
        (
            "seconds",
            esc(", ".join(f"{name} {seconds:.1f}" for name, seconds in record.timings_s.items())),
        )
    )
    commands = "\n".join(cards.reproduce_commands(record))
    config = yaml.safe_dump(record.config, sort_keys=False, allow_unicode=True)
    files = "\n".join(f"{sha256}  {name}" for name, sha256 in record.files.items())
    folded = fold("Configuration", f"<pre>{esc(config)}</pre>") + (
        fold("Files, with their sha256", f"<pre>{esc(files)}</pre>") if files else ""
    )
    again = card("<h3>Train it again</h3>", f"<pre>{esc(commands)}</pre>", folded)
    return f'<div class="two">{card(facts(pairs))}{again}</div>'


def _predictions(record: RunRecord, folder: Path) -> pd.DataFrame | None:
    if record.judgement is None:
        return None
    try:
        return read_predictions(folder)
    except RunError:
        return None
