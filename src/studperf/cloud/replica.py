"""Which of a job's machines this is, as Vertex AI tells it in CLUSTER_SPEC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from studperf.errors import CloudError

_LAUNCHERS = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")
"""With one of these lightning takes a process for one that somebody else started for each device."""


@dataclass(frozen=True)
class Replica:
    """A machine of a job.

    Args:
        rank: 0 is the primary, whose end is the job's.
        n: machines in all.
        address: host:port where the primary can be reached by the others.
    """

    rank: int
    n: int
    address: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Replica:
        """This one; a job of one machine, or none at all, has no CLUSTER_SPEC to speak of.

        Raises:
            CloudError: it is of another form than is documented.
        """
        if not (text := environment.get("CLUSTER_SPEC")):
            return cls(0, 1, "")
        try:
            spec = json.loads(text)
            pools = {
                name: list(hosts)
                for name, hosts in sorted(spec["cluster"].items(), key=lambda pool: int(pool[0].removeprefix("workerpool")))
            }
            kind, index = str(spec["task"]["type"]), int(spec["task"]["index"])
            before = sum(len(pools[name]) for name in list(pools)[: list(pools).index(kind)])
            return cls(before + index, sum(map(len, pools.values())), str(pools["workerpool0"][0]))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise CloudError(f"CLUSTER_SPEC is of a form that this version does not know: {text[:200]}") from error

    @property
    def is_primary(self) -> bool:
        """Whether its end is the job's."""
        return self.rank == 0

    def share_run(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment in which lightning finds the other machines of a run; it starts this machine's own processes itself.

        Lightning 2.6 reads these three, and knows nothing of CLUSTER_SPEC. What Vertex AI may set for other launchers is left out.
        """
        host, _, port = self.address.rpartition(":")
        kept = {name: value for name, value in environment.items() if name not in _LAUNCHERS}
        return {**kept, "MASTER_ADDR": host, "MASTER_PORT": port, "NODE_RANK": str(self.rank)}
