"""Prices by hand, and the ceiling."""

from pathlib import Path

import pytest

from studperf.cloud.price import TABLE, Quote, check_cost, quote, read_prices
from studperf.config.cloud import Vertex
from studperf.config.load import load_overrides
from studperf.errors import ConfigError

PRICES = """
currency: EUR
as_of: 2026-01-02
machines: {small-1: 1.0}
machines_with_accelerator: {gpu-1: 7.0}
accelerators: {NVIDIA_L4: 0.5}
disk_gb: 0.001
spot: 0.25
regions: {us-central1: 1.0, europe-west1: 1.2}
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "prices.yaml").write_text(PRICES)
    return tmp_path / "prices.yaml"


def cloud(*words: str) -> Vertex:
    found = load_overrides(["cloud=vertex", *words]).cloud
    assert isinstance(found, Vertex)
    return found


def price(table: Path, *words: str) -> Quote:
    found = quote(cloud(*words), read_prices(table))
    assert isinstance(found, Quote), found
    return found


@pytest.mark.parametrize(
    ("words", "per_hour"),
    [
        (["cloud.region=us-central1"], 1.0 + 0.1),
        (["cloud.region=europe-west1"], 1.2 + 0.1),
        (["cloud.region=asia-east1"], 1.2 + 0.1),
        (["cloud.region=us-central1", "cloud.spot=true"], 0.25 + 0.1),
        (
            ["cloud.region=us-central1", "cloud.accelerator=NVIDIA_L4", "cloud.n_accelerators=2"],
            2.0 + 0.1,
        ),
        (["cloud.region=us-central1", "cloud.nodes=3"], 3 * 1.1),
        (["cloud.region=us-central1", "cloud.workers=3"], 1.1),
    ],
    ids=[
        "machine",
        "region",
        "unknown region",
        "spot",
        "accelerators",
        "nodes",
        "workers of one machine",
    ],
)
def test_a_price_is_the_sum_of_its_parts(table: Path, words: list[str], per_hour: float) -> None:
    found = price(table, "cloud.machine=small-1", *words)
    assert found.per_hour == pytest.approx(per_hour)
    assert found.most == pytest.approx(per_hour * 2)  # timeout_s is 7200


def test_a_machine_that_holds_its_accelerator_is_not_charged_for_it_twice(table: Path) -> None:
    words = ("cloud.region=us-central1", "cloud.machine=gpu-1", "cloud.accelerator=NVIDIA_L4")
    assert price(table, *words).per_hour == pytest.approx(7.1)


def test_a_job_above_the_ceiling_is_refused_with_both_ways_out(table: Path) -> None:
    words = ("cloud.region=us-central1", "cloud.machine=small-1", "cloud.max_cost=1.1")
    with pytest.raises(
        ConfigError, match=r"may cost 2\.20 EUR.*cloud\.max_cost=2\.20.*cloud\.timeout_s=3600"
    ):
        check_cost(cloud(*words), price(table, *words))
    check_cost(cloud(*words, "cloud.timeout_s=3600"), price(table, *words, "cloud.timeout_s=3600"))


def test_the_ceiling_that_is_advised_is_high_enough(table: Path) -> None:
    words = (
        "cloud.region=us-central1",
        "cloud.machine=small-1",
        "cloud.timeout_s=3607",
    )  # a bit more than 1.10
    with pytest.raises(ConfigError, match=r"may cost 1\.11 EUR.*cloud\.max_cost=1\.11\)"):
        check_cost(cloud(*words, "cloud.max_cost=1.10"), price(table, *words))
    check_cost(cloud(*words, "cloud.max_cost=1.11"), price(table, *words))


def test_what_nobody_knows_the_price_of_is_refused_unless_there_is_no_ceiling(table: Path) -> None:
    unknown = quote(cloud("cloud.machine=smal-1"), read_prices(table))
    assert isinstance(unknown, str)
    with pytest.raises(ConfigError, match=r"nearest valid name is 'small-1'.*cloud\.max_cost=null"):
        check_cost(cloud("cloud.machine=smal-1"), unknown)
    check_cost(cloud("cloud.machine=smal-1", "cloud.max_cost=null"), unknown)


def test_a_table_says_all_that_is_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        PRICES.replace("1.0}", "-1}").replace("spot: 0.25", "sport: 0.25")
    )
    with pytest.raises(ConfigError) as refused:
        read_prices(tmp_path / "own.yaml")
    assert "(3 faults)" in str(refused.value)
    assert "'spot'" in str(refused.value)


def test_the_shipped_table_knows_the_default_machine_and_its_date() -> None:
    found = quote(cloud(), read_prices(TABLE))
    assert isinstance(found, Quote)
    assert found.is_region_known
    assert found.as_of.year == 2026
