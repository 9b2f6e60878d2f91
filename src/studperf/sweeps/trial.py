"""A trial: one run, or several seeds of it, that reports to the pruner and ends with the values of its objectives."""

from __future__ import annotations

import shlex
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.sweeps.compose import Composer

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from studperf.record.record import RunRecord
    from studperf.sweeps.space import Word
    from studperf.sweeps.study import Plan
    from studperf.sweeps.worker import Job
    from studperf.train.job import Job as OneRun
    from studperf.train.job import Runner


@dataclass
class TrialTask:
    """Does a job by running it.

    Args:
        plan: of the study.
        run: does one run.
        threads: torch threads of a trial; None leaves the configuration's.
        composer: one that has composed already what the trials share.
    """

    plan: Plan
    run: Runner
    threads: int | None = None
    composer: Composer = field(default_factory=lambda: Composer([]))

    def __post_init__(self) -> None:
        if self.threads is not None or not self.composer.fixed:
            self.composer = Composer(self.plan.space.fixed, threads=self.threads)

    def __call__(self, job: Job) -> list[float]:
        """The job's values.

        Raises:
            PrunedError: others were better.
            ConfigError: the values do not go together.
        """
        records: list[RunRecord] = []
        for one in self.runs(job):
            # The first seed alone is pruned: the steps of a second one would be compared with others' first.
            callbacks = [] if records else [pruning_callback(job, self.plan.objectives[0])]
            records.append(
                self.run(
                    one.config,
                    overrides=one.overrides,
                    folder=one.folder,
                    callbacks=callbacks,
                    is_trial=True,
                )
            )
        return self.values(job, records)

    def runs(self, job: Job) -> list[OneRun]:
        """What the job asks to be run: a run for each of its seeds.

        Raises:
            ConfigError: the values do not go together.
        """
        from studperf.train.job import Job as OneRun  # brings torch, and reading a study needs none

        job.note("words", list(map(str, job.words)))
        config = self.composer.config(job.words)
        words = [*map(str, self.plan.space.fixed), *map(str, job.words), "score_on=val"]
        n_seeds = self.plan.settings.repeat
        runs = []
        for i, seed in enumerate(range(config.seed, config.seed + n_seeds)):
            folder = self.folder(job.number, i, n_seeds)
            shutil.rmtree(
                folder, ignore_errors=True
            )  # of an earlier study of this name; a run would go on in it
            runs.append(
                OneRun(
                    config.model_copy(update={"seed": seed}),
                    [*words, f"seed={seed}"] if n_seeds > 1 else words,
                    folder,
                )
            )
        return runs

    def values(self, job: Job, records: Sequence[RunRecord]) -> list[float]:
        """The means of the objectives over the seeds; constraints and costs are noted."""
        job.note("n_parameters", records[0].n_parameters)
        names = dict.fromkeys(
            (*self.plan.objectives, *self.plan.settings.constraints, "fit_seconds")
        )
        folders = [self.folder(job.number, i, len(records)) for i in range(len(records))]
        outcomes = {
            name: statistics.fmean(
                outcome(name, r, f) for r, f in zip(records, folders, strict=True)
            )
            for name in names
        }
        over = {
            name: outcomes[name] - limit for name, limit in self.plan.settings.constraints.items()
        }
        if over:
            job.note("over", over)
            for name, excess in over.items():
                job.bound(name, excess)
        job.note("fit_seconds", outcomes["fit_seconds"])
        return [outcomes[name] for name in self.plan.objectives]

    def folder(self, number: int, i: int, n_seeds: int) -> Path:
        """Where the run of a trial lies."""
        return (
            trial_folder(self.plan.folder, number) / f"seed{i}"
            if n_seeds > 1
            else trial_folder(self.plan.folder, number)
        )


def trial_folder(study: Path, number: int) -> Path:
    """Of a trial, below its study's."""
    return study / f"{number:04d}"


def outcome(name: str, record: RunRecord, folder: Path) -> float:
    """What a run ended with: a metric of its best epoch, or a cost."""
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


def pruning_callback(job: Job, metric: str) -> Callback:
    """Reports the objective at each epoch's end, and ends the run there when others were better."""
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import Callback

    class Pruning(Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
            if metric in trainer.callback_metrics:
                job.report(float(trainer.callback_metrics[metric]), trainer.current_epoch)

    return Pruning()


def command(words: Sequence[Word | str]) -> str:
    """A command line to paste that repeats a trial as a run of its own."""
    return " ".join(["python -m studperf.train", *(shlex.quote(str(word)) for word in words)])
