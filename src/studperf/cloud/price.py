"""What a job costs: a dated table of prices, an estimate, and a ceiling above which nothing is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import Field, ValidationError

from studperf.config.dataset import Block
from studperf.config.faults import explain, unknown_key
from studperf.config.types import Fraction, NonNegativeFloat, PositiveFloat
from studperf.errors import ConfigError, listing

if TYPE_CHECKING:
    from studperf.config.cloud import Vertex

TABLE = Path(__file__).with_name("prices.yaml")
_HOUR = 3600


class Prices(Block):
    """A table of prices an hour."""

    currency: str
    as_of: date
    machines: dict[str, PositiveFloat]
    machines_with_accelerator: dict[str, PositiveFloat]
    accelerators: dict[str, PositiveFloat]
    disk_gb: NonNegativeFloat
    spot: Fraction
    regions: dict[str, PositiveFloat] = Field(min_length=1)


@dataclass(frozen=True)
class Quote:
    """What a job costs, as far as a table knows."""

    per_hour: float
    """All machines together."""
    n_machines: int
    timeout_s: int
    currency: str
    as_of: date
    is_region_known: bool

    @property
    def most(self) -> float:
        """If it runs until it is stopped."""
        return self.cost(self.timeout_s)

    def cost(self, seconds: float) -> float:
        """Of so many seconds."""
        return self.per_hour * seconds / _HOUR

    def money(self, amount: float) -> str:
        """As people read it."""
        return f"{amount:.2f} {self.currency}"


def read_prices(path: Path = TABLE) -> Prices:
    """A table of prices.

    Raises:
        ConfigError: lists what is wrong with the file.
    """
    try:
        return Prices.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cloud.prices={path}: can't be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"cloud.prices={path}: is not YAML: {str(error).splitlines()[0]}"
        ) from error
    except ValidationError as error:
        faults = [
            str(explain(fault, ".".join(map(str, fault["loc"])) or "the file", Prices))
            for fault in error.errors()
        ]
        raise ConfigError(
            listing(f"cloud.prices={path}: is no table of prices like {TABLE.name}", faults)
        ) from error


def quote(cloud: Vertex, prices: Prices) -> Quote | str:
    """What the job costs; or, where the table does not know, what it lacks."""
    machine = prices.machines_with_accelerator.get(cloud.machine)
    if machine is None:
        machine = prices.machines.get(cloud.machine)
        if machine is None:
            return f"cloud.machine={cloud.machine}: {unknown_key(cloud.machine, {**prices.machines, **prices.machines_with_accelerator})}"
        if cloud.accelerator is not None:
            each = prices.accelerators.get(cloud.accelerator)
            if each is None:
                return f"cloud.accelerator={cloud.accelerator}: {unknown_key(cloud.accelerator, prices.accelerators)}"
            machine += each * cloud.n_accelerators
    factor = prices.regions.get(cloud.region, max(prices.regions.values())) * (
        prices.spot if cloud.spot else 1.0
    )
    per_hour = (machine * factor + cloud.disk_gb * prices.disk_gb) * cloud.n_machines
    return Quote(
        per_hour,
        cloud.n_machines,
        cloud.timeout_s,
        prices.currency,
        prices.as_of,
        cloud.region in prices.regions,
    )


def hold_ceiling(cloud: Vertex, price: Quote | str) -> None:
    """Lets nothing pass that could cost more than was allowed.

    Raises:
        ConfigError: it could, or nobody knows.
    """
    if cloud.max_cost is None:
        return
    if isinstance(price, str):
        raise ConfigError(
            f"The table of prices does not know what this job costs: {price}. Add it to a copy of {TABLE.name} (cloud.prices=FILE), "
            "or go without a ceiling: cloud.max_cost=null"
        )
    most = round(price.most, 6)  # sums of cents are not exact
    if most > cloud.max_cost:
        hours = cloud.max_cost / price.per_hour
        enough = math.ceil(round(most * 100, 4)) / 100
        raise ConfigError(
            f"This job may cost {price.money(enough)}: {price.money(price.per_hour)} an hour for {cloud.timeout_s} s "
            f"(cloud.timeout_s), and the ceiling is {price.money(cloud.max_cost)}. Raise it (cloud.max_cost={enough:.2f}), "
            f"or let the job run for at most cloud.timeout_s={int(hours * _HOUR)}"
        )
