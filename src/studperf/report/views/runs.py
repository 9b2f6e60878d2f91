"""The view of several runs: who leads, who is tied with it, and what was chosen differently."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from studperf.errors import counted
from studperf.judge.ranking import Found, Group, Run, Standing, rank_apart
from studperf.record.record import RunRecord
from studperf.record.shape import Judgement
from studperf.report.views.run import STATUS_TONES, TONES, digits_of, n_scored, view_run
from studperf.scoring.numbers import Digits

N_COLOURS = 8
_MAX_CHOICES = 9
_TIES = {"best": ("best", "good"), "noise": ("tied", "level"), "worse": ("worse", "warn")}
"""A run's place -> its name on a page, and its tone."""
_SHORT = {"no better than the mean": "like the mean"}
# What differs between runs without being a choice about the model.
_NO_CHOICE = (
    "model_name",
    "runs",
    "resume",
    "progress",
    "threads",
    "export",
    "tracking",
    "cloud",
    "score_on",
    "data.source",
    "data.columns",
    "sweep",
)


@dataclass(frozen=True)
class RankedRun:
    """A run among those that it can be compared with.

    Args:
        index: its number on the page, over all groups.
        colour: the number of its model's colour.
        name: its folder below the one that is shown.
        page: the way from there to its own page; empty where it has none.
        settings: the words that set it apart from the others, without model and seed.
        standing: its place, and the difference to the best.
    """

    index: int
    colour: int
    name: str
    page: str
    settings: str
    standing: Standing

    @property
    def record(self) -> RunRecord:
        """The run's record."""
        return self.standing.record

    @property
    def judgement(self) -> Judgement:
        """The run's scores and verdict."""
        return self.standing.judgement

    @property
    def tie(self) -> tuple[str, str]:
        """The run's standing to the best one, with its tone."""
        return _TIES[self.standing.place]

    @property
    def verdict(self) -> tuple[str, str]:
        """The verdict in a few words, with its tone."""
        kind = self.judgement.verdict.kind
        return _SHORT.get(kind, kind), TONES[kind]

    @property
    def words(self) -> str:
        """The words by which a reader may look for the run."""
        kind = self.judgement.verdict.kind
        words = (self.name, self.record.model, kind, self.tie[0], *self.record.overrides)
        return " ".join(words).lower()


@dataclass(frozen=True)
class Pool:
    """Runs that differ by chance alone, or by settings that are not told apart."""

    model: str
    settings: str
    records: list[RunRecord]

    @property
    def judgements(self) -> list[Judgement]:
        """The judgements of those that were judged."""
        return [record.judgement for record in self.records if record.judgement is not None]

    @property
    def errors(self) -> list[float]:
        """The RMSE of each run that was judged."""
        return [judgement.scores.rmse.value for judgement in self.judgements]

    @property
    def verdicts(self) -> str:
        """The verdicts on the runs, and how the others ended."""
        kinds: set[str] = {judgement.verdict.kind for judgement in self.judgements}
        kinds |= {record.status for record in self.records if record.judgement is None}
        return ", ".join(sorted(kinds))

    @property
    def mean(self) -> float | None:
        """Mean RMSE; None where no run was judged."""
        return statistics.fmean(self.errors) if self.errors else None

    @property
    def sd(self) -> float | None:
        """Standard deviation of the RMSE; None for a single one."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 else None


@dataclass(frozen=True)
class RankedGroup:
    """Runs that can be compared with each other, the best first.

    Args:
        label: a few words by which headings tell groups apart; empty where there is one.
        ground: what they predict, and from which rows.
        why_apart: why they can't be compared with the first group's; empty for that.
        heading: both.
        digits: of all of its errors.
        runs: the best first.
        pools: the runs of each model, the best first; empty where no model has several.
        choices: key of the configuration -> each run's value, where they differ.
    """

    label: str
    ground: str
    why_apart: str
    heading: str
    digits: Digits
    runs: list[RankedRun]
    pools: list[Pool]
    choices: dict[str, list[Any]]

    @property
    def best(self) -> RankedRun:
        """The run with the smallest RMSE."""
        return self.runs[0]

    @property
    def n_scored(self) -> int:
        """The number of rows that the runs were scored on."""
        return n_scored(self.best.record)

    @property
    def reference(self) -> tuple[str, float]:
        """The best run's best baseline, and its RMSE."""
        name = self.best.judgement.best_baseline
        return name, self.best.judgement.baselines[name].rmse.value

    @property
    def curves(self) -> dict[int, list[float]]:
        """A run's index -> the watched metric by epoch.

        Runs that watch another metric than the best one can't share an axis with it.
        """
        monitor = self.best.record.monitor
        found = {}
        for run in self.runs:
            if run.record.monitor == monitor:
                history = run.record.history
                found[run.index] = [float(row[monitor]) for row in history if monitor in row]
        return found

    @property
    def monitored(self) -> str:
        """The watched metric's name, with its unit."""
        return view_run(self.best.record).monitored

    @property
    def colours(self) -> dict[str, int]:
        """The models by name, each with its colour."""
        return dict(sorted((run.record.model, run.colour) for run in self.runs))


@dataclass(frozen=True)
class UnscoredRun:
    """A run that is in no ranking."""

    folder: Path
    name: str
    record: RunRecord

    @property
    def tone(self) -> str:
        """The tone of its status."""
        return STATUS_TONES[self.record.status]

    @property
    def line(self) -> str:
        """A line on why it is in no ranking, and the way into one."""
        record = self.record
        named = f"{self.folder} ({record.model}): {record.status}"
        if record.status in ("interrupted", "failed"):
            why = f"; {record.error}" if record.error else ""
            return f"{named}{why}; go on with it: python -m studperf.train resume={self.folder}"
        if record.status == "running":
            return f"{named}; it has no score yet"
        return f"{named}; a trial of a study, which has no score of its own"


@dataclass(frozen=True)
class RunsView:
    """The view of all runs below a folder.

    Args:
        n_runs: with a record that can be read.
        is_simulated: whether some of them saw no real row.
        groups: those that were scored.
        unscored: the others.
        unreadable: why records can't be read.
        left_out: folders that hold runs too deep below what was named, and how to see these.
        colours: the models by name, each with its colour.
    """

    n_runs: int
    is_simulated: bool
    groups: list[RankedGroup]
    unscored: list[UnscoredRun]
    unreadable: list[str]
    left_out: list[str]
    colours: dict[str, int]

    @property
    def counts(self) -> list[str]:
        """The numbers of runs, and of those that were scored."""
        n_judged = sum(len(group.runs) for group in self.groups)
        counts = [counted(self.n_runs, "run"), f"{n_judged} scored"]
        if self.is_simulated:
            counts.append("some on SIMULATED data")
        return counts

    @property
    def headline(self) -> list[str]:
        """Sentences on the first group's leader: its ties and its verdict."""
        first, *others = self.groups
        best = first.best
        rmse = first.digits.interval_with_unit(best.judgement.scores.rmse)
        said = [f"with RMSE {rmse}."]
        said += _tell_ties(first)
        if others:
            n_apart = sum(len(group.runs) for group in others)
            verb = "is" if n_apart == 1 else "are"
            said.append(
                f"{counted(n_apart, 'run')} on other data, rows or targets "
                f"can't be compared with these and {verb} ranked apart."
            )
        name = best.judgement.best_baseline
        said.append(f"Against the best baseline, {name}: {best.judgement.verdict.line}")
        return said


def _tell_ties(group: RankedGroup) -> list[str]:
    """Return sentences on the runs that are tied with the best."""
    best = group.best
    n_others = len(group.runs) - 1
    tied = [run for run in group.runs if run.standing.place == "noise"]
    if not tied:
        return ["No other run is tied with it."] if n_others else []
    line = (
        f"{len(tied)} of {n_others} others are tied with it: "
        "the 95 % interval of the difference holds 0."
    )
    said = [line]
    smallest = min([best, *tied], key=lambda run: run.record.n_parameters)
    if smallest is not best:
        record = smallest.record
        said.append(
            f"The smallest of them is {record.model} with {record.n_parameters:,} parameters."
        )
    return said


def view_runs(found: Found, folder: Path | None = None) -> RunsView:
    """Return the view of all runs that were found.

    Runs that can't be compared are ranked apart, each group under its heading.

    Args:
        found: the runs.
        folder: below which they are named; their own paths where there is none.
    """
    ranking = rank_apart(found)
    models = sorted({record.model for _, record in found.runs})
    colours = {model: i % N_COLOURS for i, model in enumerate(models)}
    indices = {path: i for i, (path, _) in enumerate(found.runs)}

    def view_standing(standing: Standing, common: set[str]) -> RankedRun:
        return RankedRun(
            index=indices[standing.folder],
            colour=colours[standing.record.model],
            name=_name_of(standing.folder, folder),
            page=_page_of(standing.folder, folder),
            settings=settings_of(standing.record, common),
            standing=standing,
        )

    groups = []
    for group, label in zip(ranking.groups, _label_groups(ranking.groups), strict=True):
        common = common_words(standing.record for standing in group.items)
        runs = [view_standing(standing, common) for standing in group.items]
        groups.append(_view_group(group, label, runs))
    return RunsView(
        n_runs=len(found.runs),
        is_simulated=any(record.data.is_simulated for _, record in found.runs),
        groups=groups,
        unscored=[_view_unscored(run, folder) for run in ranking.unscored],
        unreadable=[reason for _, reason in ranking.unreadable],
        left_out=found.explain_left_out(),
        colours=colours,
    )


def _view_group(group: Group[Standing], label: str, runs: list[RankedRun]) -> RankedGroup:
    records = [run.record for run in runs]
    pools = pool_runs(records, lambda record: (record.model, ""))
    has_several = any(len(pool.records) > 1 for pool in pools)
    return RankedGroup(
        label=label,
        ground=group.ground.text,
        why_apart=", and ".join(group.why_apart),
        heading=group.heading,
        digits=digits_of(records[0]),
        runs=runs,
        pools=pools if has_several else [],
        choices=find_choices(records),
    )


def _view_unscored(run: Run, folder: Path | None) -> UnscoredRun:
    path, record = run
    return UnscoredRun(path, _name_of(path, folder), record)


def _name_of(path: Path, folder: Path | None) -> str:
    if folder is None:
        return str(path)
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return path.name


def _page_of(path: Path, folder: Path | None) -> str:
    """Return the way from a folder to a run's own page, or nothing where it has none."""
    page = path / "report.html"
    if folder is None or not page.is_relative_to(folder) or not page.is_file():
        return ""
    return page.relative_to(folder).as_posix()


def _label_groups(groups: Sequence[Group[Standing]]) -> list[str]:
    """Return a few words by which headings and links tell groups apart.

    They are empty where there is one group.
    """
    if len(groups) == 1:
        return [""]
    labels: list[str] = []
    for group in groups:
        ground = group.ground
        label = f": {ground.target}, {ground.scored_on}"
        if ground.is_simulated:
            label += ", SIMULATED"
        n_alike = sum(other.startswith(label) for other in labels)
        labels.append(f"{label}, other rows {n_alike}" if n_alike else label)
    return labels


def pool_runs(
    records: Sequence[RunRecord], key: Callable[[RunRecord], tuple[str, str]]
) -> list[Pool]:
    """Return records pooled by model and settings, those with the smallest mean RMSE first."""
    found: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    pools = [Pool(model, settings, alike) for (model, settings), alike in found.items()]
    return sorted(pools, key=lambda pool: float("inf") if pool.mean is None else pool.mean)


def settings_of(record: RunRecord, common: Iterable[str]) -> str:
    """Return the words that set a run apart from others, without its model and seed.

    Tables show model and seed by themselves, and a bar of progress changes nothing.

    Args:
        record: of the run.
        common: words that all of the runs have.
    """
    shared = set(common)
    own = [word for word in record.overrides if word not in shared]
    return " ".join(word for word in own if not word.startswith(("model=", "seed=", "progress=")))


def common_words(records: Iterable[RunRecord]) -> set[str]:
    """Return the words of the command line that all of these runs have."""
    return set.intersection(*(set(record.overrides) for record in records))


def find_choices(records: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Return the keys of the configuration that were chosen differently among runs.

    Each has the value of every run, None where a run has no such key. Those set on the command line
    come first.
    """
    flat = [{"model": record.model, **_flatten(record.config)} for record in records]
    models = [config["model"] for config in flat]
    keys = list(dict.fromkeys(chain(*flat)))
    words = chain(*(record.overrides for record in records))
    typed = {word.partition("=")[0].lstrip("+~") for word in words}
    # A stable sort: beyond these two, the order of the configuration stays.
    keys.sort(key=lambda key: (key != "model", key not in typed))
    choices = {}
    for key in keys:
        values = [config.get(key) for config in flat]
        if _is_choice(key, values, models):
            choices[key] = values
    return dict(list(choices.items())[:_MAX_CHOICES])


def _is_choice(key: str, values: list[Any], models: list[str]) -> bool:
    """Return True if a key was chosen: it differs among runs of one model.

    What differs only between models comes with them.
    """
    if key == "model":
        return len(set(models)) > 1
    by_model: dict[str, set[str]] = {}
    for model, value in zip(models, values, strict=True):
        by_model.setdefault(model, set()).add(str(value))
    return any(len(different) > 1 for different in by_model.values())


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the configuration's values by dotted keys, as an axis can show them."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name.startswith(_NO_CHOICE):
            continue
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{name}.")
        elif not name.endswith("_target_"):
            is_plain = value is None or isinstance(value, str | int | float)
            is_plain = is_plain and not isinstance(value, bool)
            flat[name] = value if is_plain else str(value)
    return flat
