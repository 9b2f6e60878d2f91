"""The contract of a learner: what fits models to prepared rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from studperf.config.run import RunConfig
from studperf.data.batches import Batch
from studperf.data.preparation import Prepared
from studperf.record.run import Run
from studperf.scoring.metrics import FloatArray


class Model(Protocol):
    """The model of one run, as judging, reporting and exporting see it.

    `export.network.export_network` knows how to make a graph of each kind of model.
    """

    @property
    def kind(self) -> str:
        """Name of the model's class, for messages."""

    @property
    def n_parameters(self) -> int:
        """Number of the model's parameters."""

    def predict_rows(self, rows: Batch) -> FloatArray:
        """Return predictions (N,) in the target's unit, the same bits for the same rows."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return all that was learnt, by name: a bundle keeps it without pickle."""

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state_dict` gave, and be ready to predict on the CPU.

        Raises:
            RuntimeError, KeyError, ValueError: it is of another model.
        """


ModelT = TypeVar("ModelT", bound=Model)


class Learner(Protocol[ModelT]):
    """A way to fit models to prepared rows, all that the chain of a run sees of training.

    A learner is made before a run has a folder, so that what it refuses leaves none behind. Then
    the chain calls `build`, opens the runs, and calls `fit` and `take_best`.
    """

    is_first: bool
    """False in the further processes of a run, which train and do nothing else."""

    def n_together(self, ready: Prepared) -> int:
        """Return how many runs are trained together at most."""

    def build(self, configs: Sequence[RunConfig], ready: Prepared) -> Sequence[ModelT]:
        """Return an untrained model for each configuration.

        Raises:
            ConfigError: a model refused its hyperparameters.
            TooLargeError: memory does not suffice.
        """

    def fit(self, runs: Sequence[Run], models: Sequence[ModelT], ready: Prepared) -> None:
        """Train each run's model, or go on with it.

        Each epoch's row goes to `run.add_epoch`, the best weights into the run's folder.

        Raises:
            KeyboardInterrupt: by Ctrl-C or SIGTERM.
        """

    def take_best(self, run: Run, model: ModelT) -> None:
        """Load the weights of the best epoch into the model, and record which they are.

        Raises:
            RunError: no epoch came to its end.
            DivergedError: no epoch gave a finite value.
        """
