import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from studperf.errors import ConfigError, DataError, Interrupted, PrunedError, SweepError
from studperf.sweeps import worker as room
from studperf.sweeps.study import ERROR, RETRY_OF, Next, Plan, Study, find_pareto, is_done
from studperf.sweeps.worker import Attempt, End, Task, sequential_launch

MakePlan = Callable[..., Plan]
SCRIPT = Path(__file__).parent / "worker_process.py"
STORAGES = {"journal": lambda folder: None, "sqlite": lambda folder: f"sqlite:///{folder}/study.db"}


def work(study: Study, task: Task) -> str:
    """Bring a study to its end, one trial at a time."""
    return room.work(study, sequential_launch(task))


def square(attempt: Attempt) -> list[float]:
    return [attempt.words[0].value ** 2]


def states(study: Study) -> Counter[str]:
    return Counter(t.state.name for t in study.trials())


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return STORAGES[request.param](tmp_path)


def test_a_worker_brings_the_study_to_exactly_its_total(
    make_plan: MakePlan, storage: str | None
) -> None:
    study = Study(make_plan(n_trials=7, storage=storage))
    assert work(study, square) == Next.DONE.value
    assert states(study) == {"COMPLETE": 7}


def test_a_second_command_goes_on_to_the_same_total(make_plan: MakePlan) -> None:
    work(Study(make_plan(n_trials=4)), square)
    study = Study(make_plan(n_trials=6))
    work(study, square)
    assert states(study) == {"COMPLETE": 6}
    work(study, square)
    assert states(study) == {"COMPLETE": 6}


def test_several_workers_share_one_total_and_run_no_trial_twice(
    make_plan: MakePlan, storage: str | None
) -> None:
    done: list[int] = []

    def task(attempt: Attempt) -> list[float]:
        done.append(attempt.number)
        time.sleep(0.01)
        return square(attempt)

    plan = make_plan(n_trials=20, storage=storage)
    workers = [
        threading.Thread(target=lambda: work(Study(plan), task), daemon=True) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert sorted(done) == list(range(20))
    assert states(Study(make_plan(n_trials=20, storage=storage))) == {"COMPLETE": 20}


def test_a_seeded_study_draws_the_same_points_again_even_in_two_parts(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    def points(folder: str, *parts: int) -> list[dict[str, object]]:
        for n in parts:
            plan = make_plan(n_trials=n, sampler={"_target_": "optuna.samplers.RandomSampler"})
            study = Study(
                Plan(plan.name, tmp_path / folder, plan.settings, plan.objectives, plan.space)
            )
            work(study, square)
        return [t.params for t in study.trials()]

    whole = points("a", 8)
    assert points("b", 3, 8) == whole
    assert len({json.dumps(point) for point in whole}) == 8


def test_a_trial_that_raises_is_a_failure_with_its_error(make_plan: MakePlan) -> None:
    def task(attempt: Attempt) -> list[float]:
        if attempt.number == 1:
            raise MemoryError("out of memory")
        return square(attempt)

    study = Study(make_plan(n_trials=4))
    work(study, task)
    assert states(study) == {"COMPLETE": 4, "FAIL": 1}
    assert study.trials()[1].user_attrs[ERROR].startswith("MemoryError: out of memory")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_a_failure(make_plan: MakePlan, value: float) -> None:
    study = Study(make_plan(n_trials=3))
    work(study, lambda attempt: [value if attempt.number == 0 else 1.0])
    assert states(study) == {"COMPLETE": 3, "FAIL": 1}
    assert "no number" in study.trials()[0].user_attrs[ERROR]


def test_too_many_failures_end_the_study_with_the_last_error(make_plan: MakePlan) -> None:
    def task(attempt: Attempt) -> list[float]:
        raise ValueError(f"boom {attempt.number}")

    study = Study(make_plan(n_trials=20))
    with pytest.raises(SweepError, match=r"3 of the last 3 trials failed.*ValueError: boom 2"):
        work(study, task)
    assert states(study) == {"FAIL": 3}


def test_failures_of_an_earlier_command_do_not_count(make_plan: MakePlan) -> None:
    def task(attempt: Attempt) -> list[float]:
        raise ValueError

    with pytest.raises(SweepError):
        work(Study(make_plan(n_trials=4)), task)
    study = Study(make_plan(n_trials=4))
    work(study, square)
    assert states(study) == {"FAIL": 3, "COMPLETE": 4}


def test_a_refused_table_ends_the_study_at_once(make_plan: MakePlan) -> None:
    def task(attempt: Attempt) -> list[float]:
        raise DataError("the table is not there")

    with pytest.raises(DataError):
        work(Study(make_plan(n_trials=4)), task)


def test_trials_that_start_together_stop_at_the_same_total_each_with_its_own_end(
    make_plan: MakePlan,
) -> None:
    sizes: list[int] = []

    def launch(attempts: Sequence[Attempt]) -> list[End]:
        sizes.append(len(attempts))
        ends: list[End] = [square(attempt) for attempt in attempts]
        if len(sizes) == 1:
            ends[:3] = [PrunedError("others were better"), MemoryError("full"), [math.nan]]
        return ends

    study = Study(make_plan(n_trials=9))
    assert room.work(study, launch, n_at_once=4) == Next.DONE.value
    assert states(study) == {"COMPLETE": 8, "PRUNED": 1, "FAIL": 2}
    assert sizes == [4, 4, 3]


def test_a_table_refused_to_trials_that_start_together_ends_the_study_at_once(
    make_plan: MakePlan,
) -> None:
    def launch(attempts: Sequence[Attempt]) -> list[End]:
        return [DataError("the table is not there") for _ in attempts]

    study = Study(make_plan(n_trials=9))
    with pytest.raises(DataError):
        room.work(study, launch, n_at_once=4)
    assert states(study) == {"FAIL": 4}


def test_a_launch_that_fails_puts_all_of_its_trials_back(make_plan: MakePlan) -> None:
    def launch(attempts: Sequence[Attempt]) -> list[End]:
        raise RuntimeError("no machine is free")

    study = Study(make_plan(n_trials=9))
    with pytest.raises(RuntimeError, match="no machine"):
        room.work(study, launch, n_at_once=4)
    assert states(study) == {"FAIL": 4, "WAITING": 4}
    work(study, square)
    check_end(study, 9)


def test_trials_that_are_worse_are_pruned_and_count(make_plan: MakePlan) -> None:
    def task(attempt: Attempt) -> list[float]:
        for epoch in range(10):
            attempt.report(float(attempt.number), epoch)
        return [float(attempt.number)]

    pruner = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2, "n_warmup_steps": 3}
    study = Study(make_plan(n_trials=6, pruner=pruner))
    work(study, task)
    assert states(study) == {"COMPLETE": 2, "PRUNED": 4}
    assert {t.last_step for t in study.trials() if t.state.name == "PRUNED"} == {3}


def test_with_several_objectives_nothing_is_pruned_and_the_pareto_front_is_found(
    make_plan: MakePlan,
) -> None:
    values = [(1.0, 9.0), (2.0, 5.0), (3.0, 6.0), (4.0, 1.0), (4.0, 1.0)]

    def task(attempt: Attempt) -> tuple[float, float]:
        attempt.report(99.0, 0)
        return values[attempt.number]

    study = Study(
        make_plan(
            n_trials=5,
            objectives=["val/rmse", "n_parameters"],
            sampler={"_target_": "optuna.samplers.NSGAIISampler"},
        )
    )
    work(study, task)
    assert states(study) == {"COMPLETE": 5}
    assert [t.number for t in find_pareto(study.trials(), study.plan.directions)] == [0, 1, 3, 4]


SAMPLERS = {
    "tpe": {
        "_target_": "optuna.samplers.TPESampler",
        "n_startup_trials": 2,
        "multivariate": True,
        "group": True,
    },
    "random": {"_target_": "optuna.samplers.RandomSampler"},
    "qmc": {"_target_": "optuna.samplers.QMCSampler"},
    "gp": {"_target_": "optuna.samplers.GPSampler", "n_startup_trials": 3},
    "cmaes": {"_target_": "optuna.samplers.CmaEsSampler", "n_startup_trials": 2},
    "nsga2": {"_target_": "optuna.samplers.NSGAIISampler", "population_size": 3},
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_goes_on_after_a_restart_with_new_points(
    make_plan: MakePlan, name: str
) -> None:
    for n in (3, 6):
        study = Study(
            make_plan(
                n_trials=n,
                sampler=SAMPLERS[name],
                params={"x": "interval(-1,1)", "z": "interval(0,1)"},
            )
        )
        work(study, square)
    assert states(study) == {"COMPLETE": 6}
    assert len({tuple(t.params.values()) for t in study.trials()}) == 6


def test_a_grid_has_each_combination_once_though_a_worker_is_stopped(make_plan: MakePlan) -> None:
    def plan() -> Plan:
        return make_plan(
            n_trials=99,
            sampler={"_target_": "optuna.samplers.GridSampler"},
            params={"x": "1,2,3", "y": "choice(a,b)"},
        )

    def task(attempt: Attempt) -> list[float]:
        if attempt.number == 2:
            raise KeyboardInterrupt
        return [1.0]

    with pytest.raises(KeyboardInterrupt):
        work(Study(plan()), task)
    study = Study(plan())
    work(study, lambda attempt: [1.0])
    done = [tuple(t.params.items()) for t in study.trials() if is_done(t)]
    assert len(done) == len(set(done)) == 6


def test_patience_ends_a_study_that_gets_no_better(make_plan: MakePlan) -> None:
    study = Study(make_plan(n_trials=50, patience=4))
    reason = work(study, lambda attempt: [abs(attempt.number - 3.0)])
    assert "nothing better for 4 trials" in reason
    assert states(study) == {"COMPLETE": 8}


def test_no_trial_begins_after_the_timeout(make_plan: MakePlan) -> None:
    study = Study(make_plan(n_trials=50, timeout_s=0.3))

    def task(attempt: Attempt) -> list[float]:
        time.sleep(0.2)
        return [1.0]

    assert "timeout_s=0.3" in work(study, task)
    assert states(study) == {"COMPLETE": 2}


def test_an_interrupted_trial_is_told_at_once_and_put_back_with_its_parameters(
    make_plan: MakePlan, storage: str | None
) -> None:
    def task(attempt: Attempt) -> list[float]:
        if attempt.number == 1:
            raise Interrupted("Ctrl-C")
        return square(attempt)

    study = Study(make_plan(n_trials=3, storage=storage))
    with pytest.raises(Interrupted):
        work(study, task)
    assert states(study) == {"COMPLETE": 1, "FAIL": 1, "WAITING": 1}
    work(study, square)
    assert states(study) == {"COMPLETE": 3, "FAIL": 1}
    again = next(t for t in study.trials() if RETRY_OF in t.user_attrs)
    assert again.params == study.trials()[again.user_attrs[RETRY_OF]].params


def test_a_trial_whose_worker_dies_too_often_is_given_up(make_plan: MakePlan) -> None:
    study = Study(make_plan(n_trials=2, max_retries=1))
    for _ in range(2):
        with study.attended():  # by a worker that then goes
            study.take()
    work(study, square)
    assert states(study) == {"FAIL": 2, "COMPLETE": 2}
    assert [t.user_attrs.get(ERROR) for t in study.trials()][:2] == [
        None,
        "its worker died 2 times",
    ]


def test_a_changed_space_is_refused_with_the_way_out(make_plan: MakePlan) -> None:
    Study(make_plan(n_trials=2))
    with pytest.raises(ConfigError) as refusal:
        Study(make_plan(n_trials=2, params={"x": "interval(-1,2)", "z": "choice(1,2)"}, repeat=2))
    text = str(refusal.value)
    for part in (
        "(4 faults)",
        "it was begun with x=interval(-1.0,1.0), which is now interval(-1.0,2.0)",
        "it was begun with y=choice(a,b,c), which is now left out",
        "it was begun without z, which is now choice(1,2)",
        "it was begun with hydra.sweeper.repeat=1, which is now 2",
        "hydra.sweeper.study=toy-2",
    ):
        assert part in text


def test_total_sampler_and_pruner_may_change(make_plan: MakePlan) -> None:
    Study(make_plan(n_trials=2))
    study = Study(
        make_plan(
            n_trials=3, sampler=SAMPLERS["random"], pruner={"_target_": "optuna.pruners.NopPruner"}
        )
    )
    work(study, square)
    assert states(study) == {"COMPLETE": 3}


def start_worker(
    folder: Path, n_trials: int, seconds: float, *more: str
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), str(n_trials), str(seconds), *more]
    )


def wait_for(study: Study, is_so: Callable[[Counter[str]], bool]) -> None:
    end = time.monotonic() + 120
    while not is_so(states(study)):
        if time.monotonic() > end:
            raise TimeoutError(states(study))
        time.sleep(0.01)


def check_end(study: Study, total: int) -> None:
    """Exactly the total, nothing left running or waiting, and each lost trial put back once with the same parameters."""
    trials = study.trials()
    assert sum(map(is_done, trials)) == total
    assert {t.state.name for t in trials} <= {"COMPLETE", "FAIL"}
    back = {t.user_attrs[RETRY_OF]: t for t in trials if RETRY_OF in t.user_attrs}
    lost = [t for t in trials if t.state.name == "FAIL"]
    assert sorted(back) == [t.number for t in lost]
    assert len([t for t in trials if RETRY_OF in t.user_attrs]) == len(back)
    for trial in lost:
        last = trial
        while last.number in back:
            last = back[last.number]
        assert trial.params.items() <= last.params.items()


def test_sigterm_tells_the_running_trial_and_the_next_worker_does_it(make_plan: MakePlan) -> None:
    study = Study(make_plan(n_trials=3))
    worker = start_worker(study.plan.folder, 3, 30)
    wait_for(study, lambda s: s["RUNNING"] == 1)
    time.sleep(0.5)
    worker.terminate()
    assert worker.wait(timeout=60) != 0
    assert states(study) == {"FAIL": 1, "WAITING": 1}
    work(study, square)
    check_end(study, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STORAGES)
def test_killing_one_of_two_workers_loses_nothing(
    make_plan: MakePlan, tmp_path: Path, kind: str
) -> None:
    url = STORAGES[kind](tmp_path)
    more = [f"storage={url}"] if url else []
    study = Study(make_plan(n_trials=12, storage=url))
    workers = [start_worker(study.plan.folder, 12, 0.3, *more) for _ in range(2)]
    wait_for(study, lambda s: s["COMPLETE"] >= 3 and s["RUNNING"] == 2)
    workers[0].kill()
    assert workers[1].wait(timeout=120) == 0
    workers[0].wait()
    check_end(study, 12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STORAGES)
def test_killing_everything_ten_times_loses_nothing(
    make_plan: MakePlan, tmp_path: Path, kind: str
) -> None:
    import random

    url = STORAGES[kind](tmp_path)
    more = ["max_retries=20", *([f"storage={url}"] if url else [])]
    total, when = 30, random.Random(0)  # noqa: S311 - no secret
    study = Study(make_plan(n_trials=total, storage=url, max_retries=20))
    for _ in range(10):
        workers = [start_worker(study.plan.folder, total, 0.05, *more) for _ in range(2)]
        n_before = len(study.trials())
        wait_for(
            study,
            lambda s, n=n_before: (
                s.total() > n or sum(s[x] for x in ("COMPLETE", "PRUNED")) >= total
            ),
        )
        time.sleep(when.uniform(0.0, 0.25))
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
    workers = [start_worker(study.plan.folder, total, 0.01, *more) for _ in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    check_end(study, total)
    assert any(t.state.name == "FAIL" for t in study.trials())
