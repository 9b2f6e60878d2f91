"""The chain that every run goes through, alone or together with others.

table -> checked -> split -> guard -> encoded -> fit -> best weights -> judged once on test ->
record -> plots, bundle, card -> tracking

A trial of a study is the same chain, which ends before test is opened.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch import Callback
from rich.console import Console

from studperf import report
from studperf.cli.process import make_console
from studperf.config.console import print_line
from studperf.config.run import RunConfig
from studperf.data.large.memory import enough_memory
from studperf.data.preparation import Prepared, prepare, rows_of_process
from studperf.judge.judge import Reference, judge_run, predict_val
from studperf.record.lifecycle import failures_recorded, logged, open_run, recorded, timed
from studperf.record.record import RunRecord
from studperf.record.run import Follow, Job, Run
from studperf.tracking.mode import choose_mode
from studperf.tracking.tracker import Tracker, tracked
from studperf.train.choice import choose_learner
from studperf.train.finished import scored_tables
from studperf.train.interrupt import interrupted_in
from studperf.train.learner import Learner, ModelT
from studperf.train.runner import Result


def run(
    config: RunConfig,
    *,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    follow: Follow | None = None,
    console: Console | None = None,
    is_trial: bool = False,
) -> RunRecord:
    """Train, judge and record one run.

    Args:
        config: checked by `load`; `repeat` and `engine` are for `run_many`.
        overrides: the words of the command line, for the record.
        folder: the run's folder: one to go on in, or one to make; by default a new one below
            `config.runs`.
        callbacks: lightning's, for a network; called after our own: `record.history[-1]` is the
            epoch's row by then.
        follow: called as each epoch ends; it may set `run.is_over`, or raise what ends the run.
        console: the place to show the run; the terminal by default.
        is_trial: True for a run of a study. Its rows are prepared once a process, nothing is
            printed, and it ends with its predictions for val. It is not judged or drawn, and the
            test split stays closed.

    Raises:
        DataError: the table was refused, or (LeakError) a feature gives the target away; nothing
            was written.
        TooLargeError: memory does not suffice for the model; where it did not even suffice to build
            it, nothing was written.
        Interrupted: stopped by Ctrl-C or SIGTERM; the record says so, and `resume` goes on.
    """
    # First of all, so that lightning refuses its arguments before there is a folder.
    learner = choose_learner(config, callbacks, find_environment(config))
    # Of a run's several processes, only the first one prints and writes.
    is_quiet = is_trial or not learner.is_first
    if console is None or is_quiet:
        console = make_console(is_quiet=is_quiet)
    job = Job(config, overrides, folder)
    (record,) = run_jobs([job], learner, console, follow=follow, is_trial=is_trial)
    if isinstance(record, Exception):
        raise record
    return record


def run_jobs(
    jobs: Sequence[Job],
    learner: Learner[ModelT],
    console: Console,
    *,
    follow: Follow | None = None,
    is_trial: bool = False,
    caught: tuple[type[Exception], ...] = (),
) -> list[Result]:
    """Do runs on the same rows, as many together as the learner takes.

    Args:
        jobs: the runs, which differ in what the learner allows.
        learner: fits their models.
        console: shows them.
        follow: called as each epoch of each run ends.
        is_trial: they are trials of a study.
        caught: errors that end one run and not the others; they are returned in its place.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM; the records say so.
    """
    config = jobs[0].config
    choose_mode(config.tracking.wandb.mode)
    prepare_rows = rows_of_process().prepare if is_trial else prepare
    results: list[Result] = []
    with prepare_rows(config, console) as ready:
        chain = Chain(learner, ready, console, follow, is_trial, caught)
        n_together = learner.n_together(ready)
        for start in range(0, len(jobs), n_together):
            results += chain.run_together(jobs[start : start + n_together])
    return results


@dataclass
class Chain(Generic[ModelT]):
    """The chain of a run from its prepared rows on."""

    learner: Learner[ModelT]
    ready: Prepared
    console: Console
    follow: Follow | None
    is_trial: bool
    caught: tuple[type[Exception], ...]
    reference: Reference | None = None
    """The baselines' predictions, which the first run makes for all others."""

    def run_together(self, jobs: Sequence[Job]) -> list[Result]:
        """Fit the models of some runs together, and then judge one after another."""
        configs = [self.ready.settle(job.config) for job in jobs]
        models = self.learner.build(configs, self.ready)
        runs: list[Run] = []
        try:
            self._open(jobs, models, runs)
            if not self.learner.is_first:  # the first process tells what ended the run
                with contextlib.suppress(KeyboardInterrupt):
                    self.learner.fit(runs, models, self.ready)
                return [run.record for run in runs]

            with tracked(runs) as trackers, failures_recorded(runs):
                _show_start(runs)
                self._follow(runs)
                with logged(runs), timed(runs, "fit"), enough_memory(configs[0]):
                    self.learner.fit(runs, models, self.ready)
                members = zip(runs, models, trackers, strict=True)
                return [self._conclude(*member) for member in members]
        except self.caught as error:
            return [error] * len(jobs)
        except KeyboardInterrupt as error:
            if not runs:
                raise
            raise interrupted_in(runs[0].folder) from error

    def _follow(self, runs: Sequence[Run]) -> None:
        """Have the runs followed, after the trackers: who prunes a run ends it with this epoch."""
        if self.follow is not None:
            for run in runs:
                run.on_epoch.append(functools.partial(self.follow, run))

    def _open(self, jobs: Sequence[Job], models: Sequence[ModelT], runs: list[Run]) -> None:
        """Open the runs in their folders, one after another."""
        with failures_recorded(runs):
            for job, model in zip(jobs, models, strict=True):
                run = open_run(
                    job,
                    self.ready,
                    self.console,
                    n_parameters=model.n_parameters,
                    n_together=len(jobs),
                    is_trial=self.is_trial,
                    is_kept=self.learner.is_first,
                )
                runs.append(run)

    def _conclude(self, run: Run, model: ModelT, tracker: Tracker) -> Result:
        """Take a run from its fit to its end, and return its record or the error that ended it."""
        try:
            with tracker:
                with recorded(run), enough_memory(run.config):
                    self.learner.take_best(run, model)
                    if self.is_trial:
                        predict_val(run, model, self.ready)
                        return run.record
                    with timed([run], "judge"):
                        self.reference = judge_run(run, model, self.ready, self.reference)
                    if run.config.plots:
                        with timed([run], "plots"):
                            report.draw_plots(run.record, run.folder)
                _show_end(run)
                if _is_export_asked(run, tracker):
                    self._export(run, model)
                tracker.log_judgement()
        except self.caught as error:
            return error
        return run.record

    def _export(self, run: Run, model: ModelT) -> None:
        """Write the run's bundle.

        Raises:
            ExportError: the graph does not give what the model gives, or can't be made.
        """
        # Here, since it brings onnx and onnxruntime, which most runs do without.
        from studperf.export.write import write_bundle

        tables = scored_tables(self.ready.rows, run.record)
        bundle = write_bundle(model, self.ready.encoder, tables, run.record, run.folder)
        print_line(run.console, f"Bundle in {bundle}")


def _is_export_asked(run: Run, tracker: Tracker) -> bool:
    """Return True if `export` asks for a bundle: always, or of runs that are live at W&B."""
    export = run.config.export
    return export is True or (export == "auto" and tracker.is_live())


def _show_start(runs: Sequence[Run]) -> None:
    """Print what is about to be trained, and where it is recorded."""
    first = runs[0]
    if first.is_alone:
        report.show_start(first.record, first.folder, first.console)
    else:
        report.show_stack([(run.record, run.folder) for run in runs], first.console)


def _show_end(run: Run) -> None:
    """Print the scores of a run alone, or a line for one of several."""
    show = report.show_end if run.is_alone else report.show_verdict
    show(run.record, run.folder, run.console)


def find_environment(config: RunConfig) -> ClusterEnvironment | None:
    """Return lightning's cluster environment for a run on several machines of Vertex AI.

    None for a run of one machine, and where lightning knows by itself.

    Raises:
        CloudError: CLUSTER_SPEC is broken.
    """
    is_one_machine = config.trainer.get("num_nodes", 1) == 1
    if is_one_machine or not os.environ.get("CLUSTER_SPEC"):
        return None
    from studperf.cloud.container.environment import VertexEnvironment

    return VertexEnvironment()
