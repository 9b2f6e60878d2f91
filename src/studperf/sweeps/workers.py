"""The workers of one machine: this process alone, or several long-lived ones on the same study."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from studperf.config.console import print_line
from studperf.errors import Interrupted, StudperfError, SweepError, counted
from studperf.sweeps.study import Next, Plan, Study
from studperf.sweeps.view.live_table import Board
from studperf.sweeps.worker import one_by_one, work
from studperf.train.interrupt import sigterm_interrupts
from studperf.train.runner import Runner

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from hydra.types import HydraContext
    from omegaconf import DictConfig
    from rich.console import Console

    from studperf.config.run import RunConfig, Wandb
    from studperf.sweeps.request import Order
    from studperf.sweeps.trial import TrialTask

_POLL_S = 0.3
_MAX_KILLED = 10
"""Workers that one command replaces; a machine that kills more than these would kill on."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def plan_of(order: Order) -> Plan:
    """Return the plan of an order, which its workers get."""
    return Plan(order.name, order.folder, order.settings, order.objectives, order.space)


def run_study(
    order: Order,
    run: Runner,
    console: Console,
    config: DictConfig | None,
    hydra_context: HydraContext | None,
) -> None:
    """Bring a study to its total, show it on the way, and then choose the winner."""
    plan = plan_of(order)
    study = Study(plan)
    board = Board(study, console)
    board.show_start()
    study.add_facts(fixed=list(map(str, plan.space.fixed)), total=study.total)
    if study.n_done() >= study.total:
        console.print(
            f"The study has its {counted(study.total, 'trial')}; there is nothing to go on with."
        )
    else:
        with _interruptible(plan), _settle_tracking(order.base.tracking.wandb, console), board:
            if order.settings.mode == "batch":
                from studperf.sweeps.batch import through_launcher

                launch = through_launcher(study, run, config, hydra_context)
                reason = work(study, launch, n_at_once=order.settings.n_jobs, on_end=board.poll)
            elif order.settings.n_jobs == 1:
                from studperf.sweeps.trial import TrialTask

                task = TrialTask(plan, run, composer=order.composer)
                reason = _work(study, task, order.base, on_end=board.poll)
            else:
                reason = _work_in_processes(order, plan, run, board)
        board.show_end(reason)

    if study.n_done() >= study.total or order.settings.patience:
        from studperf.sweeps.trial import TrialTask
        from studperf.sweeps.view.publish import publish_study
        from studperf.sweeps.winner import conclude

        with _settle_tracking(order.base.tracking.wandb, console):
            conclude(study, TrialTask(plan, run), console)
        publish_study(study, order.base.tracking.wandb, console)


@contextmanager
def _settle_tracking(tracking: Wandb, console: Console) -> Iterator[None]:
    """Wait for W&B's process when the block ends, however it ends.

    The trials may have left uploads to it.
    """
    try:
        yield
    finally:
        from studperf.tracking.tracker import settle

        settle(tracking, console)


@contextmanager
def _interruptible(plan: Plan) -> Iterator[None]:
    """Turn an interruption of the block into one that says how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        raise Interrupted(
            f"interrupted; the same command goes on with the study {plan.name}"
        ) from error


def _work(
    study: Study,
    task: TrialTask,
    base: RunConfig,
    *,
    on_end: Callable[[], object] = lambda: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> str:
    """Run one worker, with the engine that the configuration names; return why it stopped."""
    launch = one_by_one(task)
    n_at_once = 1
    if base.engine == "stacked":
        from rich.console import Console

        from studperf.sweeps.batch import N_TOGETHER, together

        launch = together(task, Console(quiet=True))
        n_at_once = N_TOGETHER
    return work(study, launch, n_at_once=n_at_once, on_end=on_end, is_wanted=is_wanted)


def _work_in_processes(order: Order, plan: Plan, run: Runner, board: Board) -> str:
    """Run several workers in processes of their own, and return why they stopped.

    Where one is killed, as by a system out of memory, another takes its place.

    Raises:
        SweepError: they died, or one of them gave up.
    """
    context = multiprocessing.get_context("spawn")
    workers: list[tuple[SpawnProcess, Connection]] = []

    def start(name: str) -> tuple[SpawnProcess, Connection]:
        here, there = context.Pipe(duplex=False)
        args = (plan, run, order.base, there)
        process = context.Process(target=_work_here, args=args, name=name)
        process.start()
        there.close()
        return process, here

    n_killed = 0
    try:
        with sigterm_interrupts(), _one_thread_each():
            for i in range(plan.settings.n_jobs):
                # One at a time: on Ctrl-C those that were started are ended.
                workers.append(start(f"worker-{i}"))  # noqa: PERF401 - see above

            while True:
                killed = _killed(workers)[: _MAX_KILLED - n_killed]
                if not killed and not any(process.is_alive() for process, _ in workers):
                    break
                n_killed += len(killed)
                for i in killed:
                    process, _ = workers[i]
                    signal = -(process.exitcode or 0)
                    print_line(
                        board.console,
                        f"{process.name} was killed (signal {signal}); another takes its place",
                        style="yellow",
                    )
                    workers[i] = start(process.name)
                board.poll()
                time.sleep(_POLL_S)
    except (KeyboardInterrupt, SystemExit):
        for process, _ in workers:
            process.terminate()
        for process, _ in workers:
            process.join()
        raise
    words = [_last_word(here) for _, here in workers]
    codes = [process.exitcode for process, _ in workers]
    return _reason(words, codes)


def _killed(workers: list[tuple[SpawnProcess, Connection]]) -> list[int]:
    """Return the places of workers that a signal ended."""
    return [i for i, (process, _) in enumerate(workers) if (process.exitcode or 0) < 0]


def _reason(words: list[tuple[str, str] | None], codes: list[int | None]) -> str:
    """Return why the workers stopped, from the last message of each.

    Raises:
        SweepError: one of them gave up, or all died.
    """
    for word in words:
        if word is not None and word[0] == "error":
            raise SweepError(word[1])
    ended = [word[1] for word in words if word is not None]
    if not ended:
        raise SweepError(
            f"all workers died (exit codes {', '.join(map(str, codes))}); the same command goes on"
        )
    # The total is the reason only where no worker stopped for another one.
    others = [reason for reason in ended if reason != Next.DONE.value]
    return others[0] if others else ended[0]


def _last_word(connection: Connection) -> tuple[str, str] | None:
    """Return the last message of a worker, its kind and its text; None where it sent none."""
    try:
        kind, text = connection.recv()
    except (EOFError, OSError):
        return None
    return str(kind), str(text)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Give each process that is started in the block one thread."""
    # Threads of several processes on the same cores wait for one another: measured on small models,
    # 4 times the CPU and 4 to 6 times the wall time. The variables are read when a process starts.
    old = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _work_here(plan: Plan, run: Runner, base: RunConfig, last_word: Connection) -> None:
    """Run one worker; the main function of a worker process."""
    import torch
    from rich.console import Console

    from studperf.sweeps.trial import TrialTask

    torch.set_num_threads(1)
    try:
        with _settle_tracking(base.tracking.wandb, Console(stderr=True, markup=False, emoji=False)):
            task = TrialTask(plan, run, threads=1)
            reason = _work(Study(plan), task, base, is_wanted=_is_wanted)
        last_word.send(("done", reason))
    except KeyboardInterrupt:
        sys.exit(130)
    except StudperfError as error:
        last_word.send(("error", str(error)))
        sys.exit(error.exit_code)


def _is_wanted() -> bool:
    """Return True while the command that started this process is there."""
    parent = multiprocessing.parent_process()
    return parent is not None and parent.is_alive()
