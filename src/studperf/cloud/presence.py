"""How the workers of a study know of each other: the job ends with its primary, so that one stays until the others are done."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.cloud.gcs import Folder
    from studperf.cloud.replica import Replica

FOLDER = "replicas"
"""In a job's folder."""
_GONE_AFTER = 6
"""Signs of life that a worker may miss in a row; the clocks compared are both the bucket's."""
_LEAST_S = 2.0


class Presence:
    """One replica's sign of life, renewed every few seconds.

    Args:
        replica: this one.
        folder: of the job.
        every_s: seconds between two signs.
    """

    def __init__(self, replica: Replica, folder: Folder, every_s: float) -> None:
        self.replica, self.folder, self.every_s = replica, folder.below(FOLDER), every_s
        self._n = 0

    def beat(self) -> None:
        """This replica works."""
        self._write("working")

    def end(self) -> None:
        """This replica has done what there was to do."""
        self._write("ended")

    def wait_for_others(self) -> None:
        """Returns once each other replica has ended, or has given no sign of life for long."""
        silent: dict[str, tuple[str, float]] = {}
        while True:
            waiting = False
            for blob in list(self.folder.blobs()):
                if blob.name == self._name or self._state(blob.name) == "ended":
                    continue
                sign = blob.updated.isoformat()
                if silent.get(blob.name, ("", 0.0))[0] != sign:
                    silent[blob.name] = (sign, time.monotonic())
                waiting |= time.monotonic() - silent[blob.name][1] < max(
                    _LEAST_S, self.every_s * _GONE_AFTER
                )
            if not waiting:
                return
            time.sleep(min(self.every_s, 1.0))

    @property
    def _name(self) -> str:
        return f"{self.replica.rank}.json"

    def _write(self, state: str) -> None:
        self._n += 1
        self.folder.write(self._name, json.dumps({"state": state, "n": self._n}).encode())

    def _state(self, name: str) -> str:
        try:
            return str(json.loads(self.folder.read(name))["state"])
        except (CloudError, ValueError, KeyError):
            return "working"
