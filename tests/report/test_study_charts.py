"""What a study's charts draw, by numbers."""

import re

import pytest

from studperf.report.charts.study import history_chart, shown_range
from studperf.report.views.study import Trials, TrialView


def trials(values: list[float]) -> Trials:
    """Complete trials of these values."""
    made = []
    for i, value in enumerate(values):
        made.append(
            TrialView(
                number=i,
                state="complete",
                values=(value,),
                last=None,
                settings={},
                words=(),
                start=None,
                end=None,
                worker="",
                error="",
                retry_of=None,
            )
        )
    ranked = sorted(made, key=lambda trial: trial.value)
    return Trials(["val/rmse"], ["minimize"], made, ranked, ranked[:1])


def test_all_values_of_few_trials_are_in_the_chart() -> None:
    low, high = shown_range([4.914, 4.913, 4.940, 4.925], is_max=False)
    assert low < 4.913
    assert high > 4.940


@pytest.mark.parametrize("is_max", [False, True])
def test_of_many_trials_those_that_never_learnt_are_beyond_the_chart(*, is_max: bool) -> None:
    sign = -1 if is_max else 1
    values = [sign * value for value in (*(5 + i / 100 for i in range(15)), 900.0)]
    low, high = shown_range(values, is_max=is_max)
    assert low < min(values, key=abs) < high
    assert not low <= values[-1] <= high


@pytest.mark.parametrize(("far", "n_arrows"), [(5.1, 0), (900.0, 1)])
def test_a_trial_beyond_the_chart_is_an_arrow_that_tells_its_value(
    far: float, n_arrows: int
) -> None:
    drawn = history_chart(trials([*(5 + i / 100 for i in range(15)), far]))
    assert drawn.count("beyond the chart") == n_arrows
    assert len(re.findall("<circle", drawn)) == 16 - n_arrows
    assert f"trial 15, complete: {far:.4g}" in drawn


def test_trials_are_counted_in_whole_numbers() -> None:
    drawn = history_chart(trials([5.0, 4.9, 4.95]))
    below = re.findall(r'<text[^>]*class="mid"[^>]*>([^<]*)</text>', drawn)
    assert {"0", "1", "2"} <= set(below)
    assert not any("." in text for text in below)
