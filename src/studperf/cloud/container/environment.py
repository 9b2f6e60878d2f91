"""Lightning's view of the other machines of a run on Vertex AI."""

from __future__ import annotations

import os

from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from studperf.cloud.container.machines import Replica
from studperf.errors import ConfigError


class VertexEnvironment(LightningEnvironment):
    """A cluster environment that reads rank and address from CLUSTER_SPEC.

    lightning 2.6 knows nothing of CLUSTER_SPEC, and would give each machine rank 0. A container is
    started once a machine, so the processes of its devices are started by lightning, as on a
    machine of one's own. RANK, WORLD_SIZE and MASTER_ADDR are documented for Google's older
    platform only, and are not read.

    Raises:
        CloudError: CLUSTER_SPEC is broken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replica = Replica.read(os.environ)
        self._main = self.replica.main

    @property
    def main_address(self) -> str:
        """Host of the primary machine."""
        return self._main[0]

    @property
    def main_port(self) -> int:
        """Port of the primary machine."""
        return self._main[1]

    def node_rank(self) -> int:
        """Return the number of this machine among the run's machines."""
        return self.replica.rank

    def validate_settings(
        self,
        num_devices: int,  # noqa: ARG002 - lightning's signature
        num_nodes: int,
    ) -> None:
        """Check that the run is for as many machines as the job has.

        Processes that wait for more machines than there are would wait for half an hour.

        Raises:
            ConfigError: the run is for another number of machines than the job has.
        """
        if num_nodes != self.replica.n:
            raise ConfigError(
                f"trainer.num_nodes={num_nodes}: the job has {self.replica.n} machines "
                "by CLUSTER_SPEC; they must be equal"
            )
