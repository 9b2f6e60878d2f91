"""The door through which Hydra's `-m` reaches `studperf.sweeps`; Hydra imports it on every run, so nothing heavy may stand here."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StudperfSweeper(Sweeper):
    """Hands a study over to `studperf.sweeps`."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - whatever the configuration holds; checked when the sweep begins
        self.settings = settings
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,  # noqa: ARG002 - Hydra's
        config: DictConfig,
    ) -> None:
        """Called by Hydra before `sweep`."""
        self.config, self.hydra_context = config, hydra_context

    def sweep(self, arguments: list[str]) -> Any:  # noqa: ANN401 - Hydra's
        """Runs the study.

        Args:
            arguments: the words of the command line that are not Hydra's own.
        """
        from studperf.sweeps.door import run_sweep

        return run_sweep(arguments, self.settings, self.config, self.hydra_context)
