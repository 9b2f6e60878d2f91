"""This machine's place among the machines of a job, as Vertex AI writes it into CLUSTER_SPEC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from studperf.errors import CloudError

_FORM = (
    '{"cluster": {"workerpool0": ["HOST:PORT"], "workerpool1": [...]}, '
    '"task": {"type": "workerpool1", "index": 0}}'
)


@dataclass(frozen=True)
class Replica:
    """A machine of a job.

    Args:
        rank: 0 is the primary, with whose end the job ends.
        n: number of machines in all.
        address: host:port by which the others reach the primary.
    """

    rank: int
    n: int
    address: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Replica:
        """Return this machine; without CLUSTER_SPEC, it is the only one.

        Raises:
            CloudError: CLUSTER_SPEC is of another form than is documented, or names a machine that
                it does not list.
        """
        text = environment.get("CLUSTER_SPEC")
        if not text:
            return cls(rank=0, n=1, address="")
        try:
            spec = json.loads(text)
            cluster = spec["cluster"]
            # Pools are ordered by number: "workerpool10" comes after "workerpool9".
            names = sorted(cluster.keys(), key=lambda name: int(name.removeprefix("workerpool")))
            pools = {name: [str(host) for host in cluster[name]] for name in names}
            kind = str(spec["task"]["type"])
            index = int(spec["task"]["index"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(f"{type(error).__name__}: {error}", text) from error

        if not 0 <= index < len(pools.get(kind, [])):
            raise _unreadable(f"the cluster has no machine {index} of {kind}", text)
        if not pools.get("workerpool0"):
            raise _unreadable("workerpool0, whose machine the others look for, is empty", text)

        earlier = names[: names.index(kind)]
        n_before = sum(len(pools[name]) for name in earlier)
        n = sum(map(len, pools.values()))
        return cls(n_before + index, n, pools["workerpool0"][0])

    @property
    def is_primary(self) -> bool:
        """True if the job ends with this machine."""
        return self.rank == 0

    @property
    def main(self) -> tuple[str, int]:
        """Host and port of the primary machine.

        Raises:
            CloudError: the address has no port that is a number.
        """
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdecimal():
            raise CloudError(
                f"CLUSTER_SPEC: the address of workerpool0 must be HOST:PORT, got {self.address!r}"
            )
        return host, int(port)


def _unreadable(what: str, text: str) -> CloudError:
    """Return the error for a CLUSTER_SPEC that can't be read."""
    return CloudError(
        f"CLUSTER_SPEC can't be read: {what}. Expected {_FORM}, got {text[:200]}. "
        "Vertex AI sets it; to train on this machine alone, unset it."
    )
