"""Time and cost of a study on Vertex AI, estimated by a dry run on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studperf.cloud.price import Quote
from studperf.config.console import print_line, warn
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.config.cloud import Vertex as Cloud
    from studperf.sweeps.request import Order
    from studperf.train.runner import Runner


def check_duration(
    order: Order, cloud: Cloud, price: Quote | str, runner: Runner, console: Console
) -> None:
    """Print the longest time that the study can take; refuse it if the job would end first.

    Raises:
        ConfigError: cloud.timeout_s is too short.
    """
    from studperf.sweeps.estimate import dry_run
    from studperf.sweeps.view.live_table import time_span

    n = n_workers(order, cloud)
    seconds = dry_run(order, runner, console, begun=runner.begun).total_s(n)
    cost = ""
    if isinstance(price, Quote):
        cost = f", about {price.money(price.cost(seconds))}"
    print_line(
        console,
        f"On Vertex AI: about {time_span(seconds)} at most with {n} workers, "
        f"the winner included{cost}; "
        "its cores may be slower than yours, and a machine takes minutes to start.",
    )
    if seconds <= cloud.timeout_s:
        return

    message = (
        f"The study takes up to {seconds:.0f} s, and cloud.timeout_s={cloud.timeout_s} "
        "stops it before: give it more time or workers"
    )
    if not cloud.dry_run:
        raise ConfigError(message)
    warn(console, message)


def n_workers(order: Order, cloud: Cloud) -> int:
    """Return the number of processes that run trials, on all machines together."""
    if cloud.has_database or cloud.workers == 1:
        return cloud.n_machines * order.settings.n_jobs
    # Without a database the workers share one machine.
    return cloud.workers
