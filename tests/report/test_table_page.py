import numpy as np
import pytest

from studperf.report.views.table import bin_edges


@pytest.mark.parametrize(
    ("step", "n_levels", "start"),
    [(1.0, 2, 0.0), (1.0, 13, 13.0), (0.1, 601, 40.0), (0.5, 97, -3.0), (1.0, 1000, 0.0)],
)
def test_bins_hold_equally_many_values_of_a_grid(step: float, n_levels: int, start: float) -> None:
    levels = np.round(start + step * np.arange(n_levels), 6)
    edges = bin_edges(np.repeat(levels, 3), 40)
    counts = np.histogram(np.repeat(levels, 3), edges)[0]
    assert len(counts) <= 40
    assert counts.sum() == 3 * n_levels
    assert len(set(counts[:-1].tolist())) <= 1
    assert 0 < counts[-1] <= counts[0]


@pytest.mark.parametrize(
    "values",
    [np.random.default_rng(0).normal(size=500), np.array([0.3, 0.1 + 0.2, 1.0])],
    ids=["any", "rounding"],
)
def test_values_on_no_grid_are_binned_evenly(values: np.ndarray) -> None:
    assert len(bin_edges(values, 40)) == 41


def test_one_value_has_one_bin() -> None:
    assert len(bin_edges(np.full(9, 4.0), 40)) == 2
