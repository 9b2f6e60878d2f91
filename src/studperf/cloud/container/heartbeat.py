"""Signs of life by which the workers of a study know of each other.

A job ends with its primary machine, so that one has to stay until the others are done.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.cloud.container.machines import Replica
    from studperf.cloud.google.bucket import Folder

FOLDER = "replicas"
"""Folder of the signs of life, in a job's folder of the bucket."""
# Signs of life that a worker may miss in a row.
_GONE_AFTER = 6
# Below this the writing of a sign itself could take longer than the signs that may be missed.
_LEAST_S = 2.0


class Presence:
    """One machine's sign of life, renewed every few seconds.

    Args:
        replica: this machine.
        folder: the job's folder.
        every_s: seconds between two signs.
    """

    def __init__(self, replica: Replica, folder: Folder, every_s: float) -> None:
        self.replica = replica
        self.folder = folder.below(FOLDER)
        self.every_s = every_s
        self._n = 0

    def beat(self) -> None:
        """Write that this machine works."""
        self._write("working")

    def end(self) -> None:
        """Write that this machine has nothing left to do."""
        self._write("ended")

    def wait_for_others(self) -> None:
        """Wait until each other machine has ended, or has been silent for long."""
        limit_s = max(_LEAST_S, self.every_s * _GONE_AFTER)
        last_sign: dict[str, datetime] = {}
        seen_at: dict[str, float] = {}
        while True:
            is_waiting = False
            for blob in list(self.folder.blobs()):
                name = blob.name
                if name == self._name or self._state(name) == "ended":
                    continue
                # The bucket's time is compared with itself only: our clock may be another one.
                if last_sign.get(name) != blob.updated:
                    last_sign[name] = blob.updated
                    seen_at[name] = time.monotonic()
                silent_s = time.monotonic() - seen_at[name]
                if silent_s < limit_s:
                    is_waiting = True
            if not is_waiting:
                return
            time.sleep(min(self.every_s, 1.0))

    @property
    def _name(self) -> str:
        return f"{self.replica.rank}.json"

    def _write(self, state: str) -> None:
        """Write the sign of life, with a number that makes it a new one."""
        self._n += 1
        sign = json.dumps({"state": state, "n": self._n})
        self.folder.write(self._name, sign.encode())

    def _state(self, name: str) -> str:
        """Return a machine's state; one whose sign can't be read counts as working."""
        try:
            return str(json.loads(self.folder.read(name))["state"])
        except (CloudError, ValueError, KeyError):
            return "working"
