"""How lightning finds the other machines of a run on Vertex AI."""

from __future__ import annotations

import os

from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from studperf.cloud.replica import Replica
from studperf.errors import ConfigError


class VertexEnvironment(LightningEnvironment):
    """Rank and address from CLUSTER_SPEC, which lightning 2.6 knows nothing of.

    A container is started once a machine, so the processes of its devices are started by lightning, as on a machine of one's own. What
    Vertex AI may set for other launchers (RANK, WORLD_SIZE, MASTER_ADDR) is not looked at.

    Raises:
        CloudError: CLUSTER_SPEC is broken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replica = Replica.read(os.environ)
        self._main = self.replica.main

    @property
    def main_address(self) -> str:
        """Host of the primary."""
        return self._main[0]

    @property
    def main_port(self) -> int:
        """Port of the primary."""
        return self._main[1]

    def node_rank(self) -> int:
        """Which of the machines this is."""
        return self.replica.rank

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:  # noqa: ARG002 - lightning's
        """Several processes that wait for more machines than there are would wait for half an hour.

        Raises:
            ConfigError: the run is for another number of machines than the job has.
        """
        if num_nodes != self.replica.n:
            raise ConfigError(
                f"trainer.num_nodes={num_nodes}: the job has {self.replica.n} machines by CLUSTER_SPEC; they must be equal"
            )
