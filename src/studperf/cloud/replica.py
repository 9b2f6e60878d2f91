"""Which of a job's machines this is, as Vertex AI tells it in CLUSTER_SPEC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from studperf.errors import CloudError

_FORM = '{"cluster": {"workerpool0": ["HOST:PORT"], "workerpool1": [...]}, "task": {"type": "workerpool1", "index": 0}}'


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
            CloudError: it is of another form than is documented, or speaks of a machine that it does not list.
        """
        if not (text := environment.get("CLUSTER_SPEC")):
            return cls(0, 1, "")
        try:
            spec = json.loads(text)
            pools = {
                name: [str(host) for host in hosts]
                for name, hosts in sorted(
                    spec["cluster"].items(),
                    key=lambda pool: int(pool[0].removeprefix("workerpool")),
                )
            }
            kind, index = str(spec["task"]["type"]), int(spec["task"]["index"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _refuse(f"{type(error).__name__}: {error}", text) from error
        if not 0 <= index < len(pools.get(kind, [])):
            raise _refuse(f"the cluster has no machine {index} of {kind}", text)
        if not pools.get("workerpool0"):
            raise _refuse("workerpool0, whose machine the others look for, is empty", text)
        before = sum(len(pools[name]) for name in list(pools)[: list(pools).index(kind)])
        return cls(before + index, sum(map(len, pools.values())), pools["workerpool0"][0])

    @property
    def is_primary(self) -> bool:
        """Whether its end is the job's."""
        return self.rank == 0

    @property
    def main(self) -> tuple[str, int]:
        """Host and port of the primary.

        Raises:
            CloudError: the address has no port that is a number.
        """
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdecimal():
            raise CloudError(
                f"CLUSTER_SPEC: the address of workerpool0 must be HOST:PORT, got {self.address!r}"
            )
        return host, int(port)


def _refuse(what: str, text: str) -> CloudError:
    return CloudError(
        f"CLUSTER_SPEC can't be read: {what}. Expected {_FORM}, got {text[:200]}. Vertex AI sets it; to train on this machine alone, unset it."
    )
