"""A trial: one run, or several seeds of it, that ends with the values of its objectives."""

from __future__ import annotations

import shlex
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.config.code.grown import is_grown
from studperf.record.run import Job
from studperf.sweeps.compose import Composer

if TYPE_CHECKING:
    from studperf.config.run import RunConfig
    from studperf.record.record import RunRecord
    from studperf.record.run import Follow, Row, Run
    from studperf.sweeps.space import Word
    from studperf.sweeps.study import Plan
    from studperf.sweeps.worker import Attempt
    from studperf.train.runner import Runner


@dataclass
class TrialTask:
    """A task that trains the runs of a trial.

    Args:
        plan: of the study.
        run: does one run.
        threads: torch threads of a trial; None leaves the configuration's.
        composer: one that has already composed the words that all trials share.
    """

    plan: Plan
    run: Runner
    threads: int | None = None
    composer: Composer = field(default_factory=lambda: Composer([]))

    def __post_init__(self) -> None:
        if self.threads is not None or not self.composer.fixed:
            self.composer = Composer(self.plan.space.fixed, threads=self.threads)

    def __call__(self, attempt: Attempt) -> list[float]:
        """Return the trial's values, one for each objective.

        Raises:
            PrunedError: others were better.
            ConfigError: the values do not go together.
        """
        records: list[RunRecord] = []
        for job in self.jobs(attempt):
            # The first seed alone is pruned: the steps of a second one would be compared with the
            # first steps of other trials.
            is_first = not records
            follow = None
            if is_first and self._is_comparable(job.config):
                follow = pruning(attempt, self.plan.objectives[0])
            record = self.run(
                job.config,
                overrides=job.overrides,
                folder=job.folder,
                follow=follow,
                is_trial=True,
            )
            records.append(record)
        return self.values(attempt, records)

    def _is_comparable(self, config: RunConfig) -> bool:
        """Return True if a trial's epochs can be held against those of the other trials.

        A round of trees is a much smaller step than an epoch of a network, so that where both are
        tried trees would be pruned for it.
        """
        varied = {dimension.key for dimension in self.plan.space.dimensions}
        return "model" not in varied or not is_grown(config.model)

    def jobs(self, attempt: Attempt) -> list[Job]:
        """Return the runs of a trial, one for each of its seeds.

        Raises:
            ConfigError: the values do not go together.
        """
        attempt.note("words", list(map(str, attempt.words)))
        config = self.composer.config(attempt.words)
        n_seeds = self.plan.settings.repeat
        jobs = []
        for i in range(n_seeds):
            folder = self.folder(attempt.number, i, n_seeds)
            # A run would go on in the folder of an earlier study of this name.
            shutil.rmtree(folder, ignore_errors=True)
            seed = config.seed + i if n_seeds > 1 else None
            jobs.append(self.job(config, attempt.words, folder, seed=seed))
        return jobs

    def job(
        self, config: RunConfig, words: Sequence[Word], folder: Path, *, seed: int | None = None
    ) -> Job:
        """Return the run of a trial's words.

        Args:
            config: composed from the words.
            words: what the study varies.
            folder: of the run.
            seed: in place of the configuration's, and then among the run's words.
        """
        overrides = [str(word) for word in (*self.plan.space.fixed, *words)]
        overrides.append(f"score_on={config.score_on}")
        if seed is not None:
            config = config.model_copy(update={"seed": seed})
            overrides.append(f"seed={seed}")
        return Job(config, overrides, folder)

    def values(self, attempt: Attempt, records: Sequence[RunRecord]) -> list[float]:
        """Return the means of the objectives over the seeds, and note constraints and costs."""
        attempt.note("n_parameters", records[0].n_parameters)
        constraints = self.plan.settings.constraints
        n_seeds = len(records)
        folders = [self.folder(attempt.number, i, n_seeds) for i in range(n_seeds)]
        outcomes = {}
        runs = list(zip(records, folders, strict=True))
        for name in dict.fromkeys((*self.plan.objectives, *constraints, "fit_seconds")):
            per_seed = [outcome(name, record, folder) for record, folder in runs]
            outcomes[name] = statistics.fmean(per_seed)

        over = {name: outcomes[name] - limit for name, limit in constraints.items()}
        if over:
            attempt.note("over", over)
            for name, excess in over.items():
                attempt.bound(name, excess)
        attempt.note("fit_seconds", outcomes["fit_seconds"])
        return [outcomes[name] for name in self.plan.objectives]

    def folder(self, number: int, i: int, n_seeds: int) -> Path:
        """Return the folder of a trial's run for its i-th seed."""
        folder = trial_folder(self.plan.folder, number)
        return folder / f"seed{i}" if n_seeds > 1 else folder


def trial_folder(study: Path, number: int) -> Path:
    """Return the folder of a trial, below its study's."""
    return study / f"{number:04d}"


def outcome(name: str, record: RunRecord, folder: Path) -> float:
    """Return what a run ended with: a metric of its best epoch, or a cost."""
    if name == "n_parameters":
        return float(record.n_parameters)
    if name == "fit_seconds":
        return record.timings_s["fit"]
    if name == "latency_ms":
        from studperf.sweeps.latency import measure_latency

        return measure_latency(folder, record)
    if record.best_epoch is None:
        return float("nan")
    return float(record.history[record.best_epoch][name])


def pruning(attempt: Attempt, metric: str) -> Follow:
    """Return a function that reports the objective as each epoch ends, where a run is pruned."""
    # Optuna's own callback (optuna-integration 5.0) raises from the end of validation, where the
    # epoch is not in the history yet, and fails every trial of a study of several objectives.

    def report(run: Run, row: Row) -> None:  # noqa: ARG001 - of every follower
        if metric in row:
            attempt.report(float(row[metric]), int(row["epoch"]))

    return report


def command(words: Sequence[Word | str]) -> str:
    """Return a command line to paste that repeats a trial as a run of its own."""
    quoted = [shlex.quote(str(word)) for word in words]
    return " ".join(["python -m studperf.train", *quoted])
