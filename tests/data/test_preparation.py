from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from studperf.config.run import RunConfig
from studperf.data.preparation import prepare
from studperf.data.simulate import simulate

Config = Callable[..., RunConfig]


@pytest.fixture
def large_config(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunConfig:
    """A file of 400 rows that is taken for a large one."""
    simulate(small_config().data).to_csv(tmp_path / "large.csv", index=False)
    monkeypatch.setattr("studperf.data.rows.is_large", lambda path: path is not None)
    return small_config(f"data.source.path={tmp_path / 'large.csv'}")


@pytest.mark.parametrize(("n_bytes", "memory"), [(1 << 40, "ram"), (1, "disk")])
def test_where_a_large_table_went_is_settled_for_later_runs(
    large_config: RunConfig, monkeypatch: pytest.MonkeyPatch, n_bytes: int, memory: str
) -> None:
    monkeypatch.setattr("studperf.data.large.memory.available_bytes", lambda: n_bytes)
    with prepare(large_config, Console(quiet=True)) as ready:
        assert large_config.data.memory == "auto"
        assert ready.dataset.memory == memory
        assert ready.table.on_disk == (memory == "disk")


def test_a_small_table_leaves_the_choice_open(small_config: Config) -> None:
    with prepare(small_config(), Console(quiet=True)) as ready:
        assert ready.dataset.memory == "auto"
