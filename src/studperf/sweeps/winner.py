"""The choice of a study's winner.

The best of many trials is lucky, so the best few are trained again on fresh seeds and compared in
pairs.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from studperf.config.console import print_line
from studperf.config.line.groups import group_names
from studperf.errors import counted
from studperf.record.files import RECORD, read_predictions
from studperf.record.record import RunRecord
from studperf.record.run import Job
from studperf.report.views.study import view_winner
from studperf.scoring.metrics import FloatArray, Interval, paired_mean_difference
from studperf.scoring.numbers import Digits, short_number
from studperf.sweeps.space import Choice, Word
from studperf.sweeps.study import WINNER, Study, best_first
from studperf.sweeps.trial import TrialTask, command
from studperf.sweeps.view.terminal import show_winner, trial_table
from studperf.sweeps.view.trials import view_trials

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


REFITS = "refits"
_SAME_TIME = 1.5
"""Candidates that take up to so many times the fastest one's seconds count as equally fast."""
_FRESH = 1000
"""Added to the run's seed: no trial was chosen by what these seeds give."""


@dataclass(frozen=True)
class Candidate:
    """A trial that was trained again."""

    trial: int
    words: tuple[str, ...]
    value: float
    """The objective as the study saw it."""
    mean: float
    """The mean of the objective over the fresh seeds, on val."""
    sd: float
    difference: Interval
    """The difference to the best candidate, with its paired 95 % interval."""
    n_parameters: int
    fit_seconds: float

    @property
    def is_tied(self) -> bool:
        """Return True if its difference to the best is noise."""
        return self.difference.low <= 0


@dataclass(frozen=True)
class Refit:
    """A candidate's runs on fresh seeds, and where each of them lies."""

    trial: FrozenTrial
    records: Sequence[RunRecord]
    folders: Sequence[Path]

    def read_errors(self) -> list[FloatArray]:
        """Return the absolute error of each val row, (B,), of each run."""
        errors: list[FloatArray] = []
        for folder in self.folders:
            frame = read_predictions(folder)
            frame = frame[frame["split"] == "val"]
            missed = np.abs(frame["predicted"] - frame["actual"])
            errors.append(np.asarray(missed, dtype=np.float64))
        return errors


def conclude(study: Study, task: TrialTask, console: Console) -> None:
    """Choose the winner of a finished study and score it on test, once.

    A study of several objectives gets a Pareto table instead.
    """
    plan = study.plan
    trials = study.trials()
    if len(plan.objectives) > 1:
        console.print(
            f"Pareto table: no other trial is better in {' and '.join(plan.objectives)} at once."
        )
        view = view_trials(trials, plan.objectives, plan.directions)
        console.print(trial_table(view, view.leading))
        return

    ranked = best_first(trials, plan.directions)
    if not ranked:
        console.print(
            "No trial is complete and within the constraints, so there is no winner.",
            style="yellow",
        )
        return

    best = ranked[0]
    value = short_number(best.values[0])
    print_line(console, f"Best: trial {best.number}, {plan.objectives[0]} {value}")
    if plan.settings.winner.top == 0:
        words = [_word(text) for text in best.user_attrs["words"]]
        print_line(console, command(task.composer.repeat(words)))
        return

    # Of several machines that see the study finished, the first one does this, and the others find
    # it done.
    with study.storage.held(f"{plan.name}-winner"):
        found = study.facts().get(WINNER)
        if found is None or found["n_done"] != study.n_done():
            found = _choose(study, task, ranked, console)
            study.add_facts(winner=found)
    show_winner(view_winner(found), console)


def choose_candidates(study: Study, ranked: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the best trials, and the best one of each choice of a group.

    So a simple model is not missed because complex ones crowd it out.
    """
    chosen = {t.number: t for t in ranked[: study.plan.settings.winner.top]}
    for dimension in study.plan.space.dimensions:
        if not isinstance(dimension.domain, Choice) or dimension.key not in group_names():
            continue
        for text in dimension.domain.texts:
            first = next((t for t in ranked if t.params.get(dimension.name) == text), None)
            if first is not None:
                chosen.setdefault(first.number, first)
    return list(chosen.values())


def _choose(
    study: Study, task: TrialTask, ranked: Sequence[FrozenTrial], console: Console
) -> dict[str, Any]:
    """Train the candidates again, score the winner, and return what the study keeps of it."""
    trials = choose_candidates(study, ranked)
    n_seeds = study.plan.settings.winner.seeds
    console.print(
        f"Training {counted(len(trials), 'candidate')} again, "
        f"each on {counted(n_seeds, 'fresh seed')} ..."
    )

    jobs = []
    for trial in trials:
        jobs += [_refit(study, task, trial, _FRESH + i) for i in range(n_seeds)]
    results = iter(task.run.many(jobs, Console(quiet=True), is_trial=True))
    refits = []
    for trial in trials:
        records = [_raise_or_return(next(results)) for _ in range(n_seeds)]
        folders = [study.plan.folder / REFITS / record.name for record in records]
        refits.append(Refit(trial, records, folders))

    candidates = compare(refits, is_squared=study.plan.objectives[0] != "val/mae")
    best = candidates[0]
    winner = simplest(candidates)

    folder = study.plan.folder / f"winner_{winner.trial:04d}"
    record = _score(task, winner, folder)
    verdict = record.judgement.verdict.line if record.judgement is not None else None
    return {
        "trial": winner.trial,
        "best": best.trial,
        "n_done": study.n_done(),
        "candidates": [asdict(c) | {"is_tied": c.is_tied} for c in candidates],
        "line": sentence(candidates, winner, record.model),
        "folder": str(folder),
        "verdict": verdict,
        "command": command(task.composer.repeat([_word(text) for text in winner.words])),
    }


def simplest(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the fewest parameters of those tied with the best.

    Among equally small ones the fastest wins; seconds that differ by noise decide nothing, so of
    equally fast ones it is the one with the best mean.
    """
    tied = [c for c in candidates if c.is_tied]
    fewest = min(c.n_parameters for c in tied)
    small = [c for c in tied if c.n_parameters == fewest]
    fastest = min(c.fit_seconds for c in small)
    fast = [c for c in small if c.fit_seconds <= _SAME_TIME * fastest]
    return min(fast, key=lambda c: c.mean)


def compare(refits: Sequence[Refit], *, is_squared: bool) -> list[Candidate]:
    """Return the candidates, best first, each with its paired interval to the best.

    The interval is a bootstrap over rows; a row's error is the mean over the seeds.
    """
    power = 2 if is_squared else 1
    errors = [[rows**power for rows in refit.read_errors()] for refit in refits]
    per_row: list[FloatArray] = [np.mean(several, axis=0) for several in errors]

    def score(rows: FloatArray) -> float:
        return float(np.mean(rows) ** (1 / power))

    values = [[score(rows) for rows in several] for several in errors]
    means = [score(rows) for rows in per_row]
    best = int(np.argmin(means))

    candidates = []
    for i, refit in enumerate(refits):
        trial, records = refit.trial, refit.records
        sd = 0.0
        if len(records) > 1:
            sd = statistics.stdev(values[i])
        difference = Interval(0.0, 0.0, 0.0)
        if i != best:
            difference = paired_mean_difference(per_row[i], per_row[best], is_squared=is_squared)
        candidates.append(
            Candidate(
                trial=trial.number,
                words=tuple(trial.user_attrs["words"]),
                value=trial.values[0],
                mean=means[i],
                sd=sd,
                difference=difference,
                n_parameters=records[0].n_parameters,
                fit_seconds=statistics.fmean(record.timings_s["fit"] for record in records),
            )
        )
    return sorted(candidates, key=lambda c: c.mean)


def _refit(study: Study, task: TrialTask, trial: FrozenTrial, seed: int) -> Job:
    """Return the run of a trial's words with a fresh seed; a finished one is not repeated."""
    words = [_word(text) for text in trial.user_attrs["words"]]
    config = task.composer.config(words)
    seed += config.seed
    folder = study.plan.folder / REFITS / f"{trial.number:04d}_seed{seed}"
    return task.job(config, words, folder, seed=seed)


def _raise_or_return(result: RunRecord | Exception) -> RunRecord:
    if isinstance(result, Exception):
        raise result
    return result


def _score(task: TrialTask, winner: Candidate, folder: Path) -> RunRecord:
    """Return the winner's own run, the one that opens the test split; it is trained only once."""
    if (folder / RECORD).is_file():
        record = RunRecord.load(folder)
        if record.status == "finished":
            return record

    words = [_word(text) for text in winner.words]
    config = task.composer.config(words).model_copy(update={"score_on": "test"})
    job = task.job(config, words, folder)
    return task.run(job.config, overrides=job.overrides, folder=job.folder)


def sentence(candidates: Sequence[Candidate], winner: Candidate, model: str) -> str:
    """Return a sentence on who won, why, and who is tied; the candidates stand best first."""
    tied = [c for c in candidates if c.is_tied]
    best = candidates[0]
    if len(tied) == 1:
        return f"Winner: trial {winner.trial} ({model}); no other candidate is tied with it."
    others = [str(c.trial) for c in tied if c not in (winner, best)]
    listed = ", ".join(others)
    head = (
        f"Winner: trial {winner.trial} ({model}), the simplest of {len(tied)} tied ones "
        f"with {winner.n_parameters:,} parameters"
    )
    if winner is best:
        if len(others) > 1:
            return f"{head}, and the best; the differences to trials {listed} are noise."
        return f"{head}, and the best; the difference to trial {listed} is noise."
    also = f" Also tied: {listed}." if others else ""
    gap = Digits.of(best.mean).number(winner.difference.value, more=1)
    behind = f"{gap} behind trial {best.trial}"
    return f"{head}; it is {behind}, which is noise.{also}"


def _word(text: str) -> Word:
    key, _, value = text.partition("=")
    return Word(key, value)
