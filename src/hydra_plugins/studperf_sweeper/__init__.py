"""The plugin through which Hydra's `-m` reaches studperf.

Hydra imports it on every run, so nothing heavy may be imported here.
"""

# Without `from __future__ import annotations`: Hydra 1.3 runs this module before it is in
# sys.modules, where a dataclass beside that import would crash every Hydra application.
from collections.abc import Callable, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StudperfSweeper(Sweeper):
    """The sweeper that hands a study over to `studperf.sweeps`."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - whatever the configuration holds
        # They are checked when the sweep begins, where all faults can be listed at once.
        self.settings = settings
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.runner: Any = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over before it calls `sweep`, and what the command does runs by."""
        self.runner = getattr(task_function, "runner", None)
        self.config = config
        self.hydra_context = hydra_context

    def sweep(self, arguments: list[str]) -> Any:  # noqa: ANN401 - Hydra's
        """Run the study.

        Args:
            arguments: the words of the command line that are not Hydra's own.
        """
        from studperf.sweeps.request import run_sweep

        return run_sweep(arguments, self.settings, self.config, self.hydra_context, self.runner)


class MultirunSweeper(BasicSweeper):
    """Hydra's own sweeper, which also gives the results of its jobs back to the command.

    `hydra.main` drops the results, and a launcher runs the jobs in other processes, so nothing
    else that they know comes back. A task that wants them has a method `begin_multirun(folder)`,
    and a method `end_jobs(results)` for each batch of jobs.
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Tell the task where the multirun lies, and have the launcher report its jobs."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        begin_multirun = getattr(task_function, "begin_multirun", None)
        if begin_multirun is not None:
            begin_multirun(str(config.hydra.sweep.dir))
        end_jobs = getattr(task_function, "end_jobs", None)
        if end_jobs is not None and self.launcher is not None:
            self.launcher = _ReportingLauncher(self.launcher, end_jobs)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Accept the batch without composing its runs.

        Each value was tried before, and to compose thousands of runs first takes minutes without
        a line.
        """


class _ReportingLauncher(Launcher):
    """A launcher that reports its jobs' results before Hydra looks for the first that failed."""

    def __init__(
        self, launcher: Launcher, end_jobs: Callable[[Sequence[JobReturn]], object]
    ) -> None:
        self.launcher = launcher
        self.end_jobs = end_jobs

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Do nothing; the inner launcher was set up before."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Launch the jobs, wait for them and report their results."""
        results = self.launcher.launch(job_overrides, initial_job_idx)
        self.end_jobs(results)
        return results
