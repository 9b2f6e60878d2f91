"""A job's price: a dated table, an estimate, and a ceiling above which nothing is sent."""

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
_HOUR_S = 3600


class Prices(Block):
    """The prices of machines, accelerators and disks, an hour."""

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
    """A job's price, as far as a table of prices knows."""

    per_hour: float
    """Price an hour of all machines together."""
    n_machines: int
    timeout_s: int
    currency: str
    as_of: date
    is_region_known: bool

    @property
    def most(self) -> float:
        """Price if the job runs until it is stopped."""
        return self.cost(self.timeout_s)

    def cost(self, seconds: float) -> float:
        """Return the price of so many seconds."""
        return self.per_hour * seconds / _HOUR_S

    def money(self, amount: float) -> str:
        """Return an amount with its currency."""
        return f"{amount:.2f} {self.currency}"


def read_prices(path: Path = TABLE) -> Prices:
    """Read a table of prices.

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
        faults = []
        for fault in error.errors():
            place = ".".join(map(str, fault["loc"])) or "the file"
            faults.append(str(explain(fault, place, Prices)))
        title = f"cloud.prices={path}: is no table of prices like {TABLE.name}"
        raise ConfigError(listing(title, faults)) from error


def quote(cloud: Vertex, prices: Prices) -> Quote | str:
    """Return the job's price, or a sentence about what the table of prices lacks."""
    # These machines' prices hold their GPUs already.
    machine = prices.machines_with_accelerator.get(cloud.machine)
    if machine is None:
        machine = prices.machines.get(cloud.machine)
        if machine is None:
            known = {**prices.machines, **prices.machines_with_accelerator}
            return f"cloud.machine={cloud.machine}: {unknown_key(cloud.machine, known)}"
        if cloud.accelerator is not None:
            each = prices.accelerators.get(cloud.accelerator)
            if each is None:
                fault = unknown_key(cloud.accelerator, prices.accelerators)
                return f"cloud.accelerator={cloud.accelerator}: {fault}"
            machine += each * cloud.n_accelerators

    # An unknown region counts as the dearest one.
    factor = prices.regions.get(cloud.region, max(prices.regions.values()))
    if cloud.spot:
        factor *= prices.spot
    disk = cloud.disk_gb * prices.disk_gb
    return Quote(
        per_hour=(machine * factor + disk) * cloud.n_machines,
        n_machines=cloud.n_machines,
        timeout_s=cloud.timeout_s,
        currency=prices.currency,
        as_of=prices.as_of,
        is_region_known=cloud.region in prices.regions,
    )


def check_cost(cloud: Vertex, price: Quote | str) -> None:
    """Refuse a job that could cost more than was allowed.

    Raises:
        ConfigError: it could, or its price is not known.
    """
    if cloud.max_cost is None:
        return
    if isinstance(price, str):
        raise ConfigError(
            f"The table of prices does not know what this job costs: {price}. "
            f"Add it to a copy of {TABLE.name} (cloud.prices=FILE), "
            "or go without a ceiling: cloud.max_cost=null"
        )

    # Sums of cents are not exact in binary.
    most = round(price.most, 6)
    if most <= cloud.max_cost:
        return
    hours = cloud.max_cost / price.per_hour
    # Rounded up to cents, so that the ceiling in the advice is high enough.
    enough = math.ceil(round(most * 100, 4)) / 100
    raise ConfigError(
        f"This job may cost {price.money(enough)}: {price.money(price.per_hour)} an hour "
        f"for {cloud.timeout_s} s (cloud.timeout_s), "
        f"and the ceiling is {price.money(cloud.max_cost)}. "
        f"Raise it (cloud.max_cost={enough:.2f}), "
        f"or let the job run for at most cloud.timeout_s={int(hours * _HOUR_S)}"
    )
