"""What a study takes and costs, by its dry run on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studperf import sweeps
from studperf.cloud.price import Quote
from studperf.errors import CloudError, ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.config.cloud import Vertex as Cloud
    from studperf.sweeps.door import Order


def hold_time(order: Order, cloud: Cloud, price: Quote | str, console: Console) -> None:
    """Tells what the study takes at most, and lets none pass that would be stopped before its end.

    Raises:
        ConfigError: its time is too short.
    """
    from studperf.sweeps.board import time_span
    from studperf.sweeps.dry import dry_run

    run = sweeps.handed().run
    if run is None:
        raise CloudError(
            "no command has handed over what runs a trial; start it with python -m studperf.train"
        )
    seconds = dry_run(order, run, console).total_s(n_workers(order, cloud))
    cost = f", about {price.money(price.cost(seconds))}" if isinstance(price, Quote) else ""
    console.print(
        f"On Vertex AI: about {time_span(seconds)} at most with {n_workers(order, cloud)} workers, the winner included{cost}; "
        "its cores may be slower than yours, and a machine takes minutes to start.",
        soft_wrap=True,
    )
    if seconds > cloud.timeout_s:
        message = f"The study takes up to {seconds:.0f} s, and cloud.timeout_s={cloud.timeout_s} stops it before: give it more time or workers"
        if not cloud.dry_run:
            raise ConfigError(message)
        console.print(f"WARNING: {message}", style="bold yellow", soft_wrap=True, markup=False)


def n_workers(order: Order, cloud: Cloud) -> int:
    """Processes that take trials, on all machines together."""
    return (
        cloud.n_machines * order.settings.n_jobs
        if cloud.has_database or cloud.workers == 1
        else cloud.workers
    )
