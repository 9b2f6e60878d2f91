"""A worker as a process of its own, on a task that only sleeps: FOLDER N_TRIALS SECONDS [KEY=VALUE ...]."""

import sys
import time
from pathlib import Path

from omegaconf import OmegaConf

from studperf.config.check import check_sweeper
from studperf.config.load import compose
from studperf.sweeps.space import read_space
from studperf.sweeps.study import Plan, Study
from studperf.sweeps.worker import Attempt, Task, one_by_one, work

PARAMS = {"x": "interval(-1,1)", "y": "choice(a,b,c)"}


def read_plan(folder: Path, **settings: object) -> Plan:
    """A plan over two made-up keys, with the shipped settings where none are given."""
    node = OmegaConf.to_container(
        compose(["hydra/sweeper=optuna"], return_hydra_config=True).hydra.sweeper, resolve=True
    )
    faults, checked = check_sweeper({**node, "params": PARAMS, **settings})
    if checked is None:
        raise ValueError(faults)
    return Plan(
        "toy",
        folder,
        checked,
        checked.objectives or ("val/rmse",),
        read_space([], checked.params, checked.conditional).space,
    )


def sleep_task(seconds: float) -> Task:
    def task(attempt: Attempt) -> list[float]:
        attempt.note("words", list(map(str, attempt.words)))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.005)
        return [attempt.words[0].value ** 2]

    return task


if __name__ == "__main__":
    folder, n_trials, seconds, *more = sys.argv[1:]
    settings = {
        key: int(value) if value.isdigit() else value
        for key, value in (word.split("=", 1) for word in more)
    }
    work(
        Study(read_plan(Path(folder), n_trials=int(n_trials), **settings)),
        one_by_one(sleep_task(float(seconds))),
    )
