"""What is said of a study, which terminal, page and W&B print."""

from dataclasses import replace

import pytest

from studperf.report.charts.parallel import Axis
from studperf.report.views.study import Trials, TrialView, short, view_winner

COMPLETE = TrialView(
    number=0,
    state="complete",
    values=(5.12345,),
    last=(4, 5.12345),
    settings={"lr": 0.1},
    words=("optimizer.lr=0.123456789",),
    start=10.0,
    end=12.5,
    worker="a",
    error="",
    retry_of=None,
)


def study(*trials: TrialView, direction: str = "minimize") -> Trials:
    sign = -1 if direction == "maximize" else 1
    complete = [trial for trial in trials if trial.state == "complete"]
    ranked = sorted(complete, key=lambda trial: sign * trial.value)
    return Trials(("val/rmse",), (direction,), list(trials), ranked, ranked[:1])


def test_a_trial_is_one_row_for_terminal_and_page() -> None:
    running = replace(COMPLETE, number=1, state="running", values=(), end=None)
    trials = study(COMPLETE, running)
    assert trials.header == ("trial", "state", "val/rmse", "epochs", "seconds")
    assert trials.row(COMPLETE) == ["0", "complete *", "5.123", "4", "2.5"]
    assert trials.row(running) == ["1", "running", "(5.123)", "4", ""]
    assert COMPLETE.about == "lr=0.1235"


def test_a_trial_says_what_it_failed_by_or_does_again() -> None:
    failed = replace(COMPLETE, state="fail", error="DivergedError: the loss\nand its traceback")
    assert failed.about == failed.fault == "DivergedError: the loss"
    assert replace(COMPLETE, state="fail").fault == "stopped from outside, put back"
    assert replace(COMPLETE, retry_of=7).about.endswith(" (again trial 7)")


@pytest.mark.parametrize(
    ("direction", "best"), [("minimize", [5.0, 4.0, 4.0]), ("maximize", [5.0, 5.0, 6.0])]
)
def test_the_best_so_far_follows_the_direction(direction: str, best: list[float]) -> None:
    made = [replace(COMPLETE, number=i, values=(v,)) for i, v in enumerate((5.0, 4.0, 6.0))]
    lost = replace(COMPLETE, number=3, state="fail", values=())
    trials = study(*made, lost, direction=direction)
    assert [value for _, value in trials.best_so_far] == best


def test_of_many_trials_the_running_the_best_and_the_last_are_shown() -> None:
    made = [replace(COMPLETE, number=i, values=(100.0 - i % 7,)) for i in range(20)]
    made[3] = replace(made[3], state="running", values=())
    trials = study(*made)
    shown = [trial.number for trial in trials.choose(6)]
    assert shown == [3, 6, 13, 17, 18, 19]
    assert trials.choose(20) == made


def test_candidates_have_the_digits_of_the_best_one() -> None:
    kept = {
        "trial": 1,
        "mean": 0.0494,
        "sd": 0.00123,
        "difference": {"value": 0.0, "low": 0.0, "high": 0.0},
        "is_tied": True,
        "n_parameters": 4712,
        "fit_seconds": 1.26,
        "words": ["model=mlp"],
    }
    behind = {"value": 0.0012, "low": -0.0004, "high": 0.0028}
    other = {**kept, "trial": 2, "mean": 0.0506, "difference": behind}
    found = {"trial": 2, "best": 1, "line": "l", "folder": "f", "command": "c"}
    winner = view_winner({**found, "candidates": [kept, other]})
    assert winner.verdict == ""
    first, second = winner.candidates
    assert first.cells == ("1", "0.04940", "0.00123", "", "4,712", "1.3")
    assert second.cells[3] == "+0.00120 [-0.00040, +0.00280]"
    assert [(c.standing, c.is_winner) for c in winner.candidates] == [
        ("best", False),
        ("tied", True),
    ]


@pytest.mark.parametrize(
    ("word", "shown"),
    [("batch_size=16384", "batch_size=16384"), ("lr=0.0012345678", "lr=0.001235"), ("a=b", "a=b")],
)
def test_whole_numbers_keep_their_digits(word: str, shown: str) -> None:
    """16384 was shown as 1.638e+04."""
    assert short(word) == shown


def test_an_axis_shows_few_values_as_they_are_and_no_two_on_top_of_each_other() -> None:
    assert [text for _, text in Axis("n", [64, 16, 32, None]).ticks()] == ["16", "32", "64"]
    near = Axis("n", [1.0, 1.001, 2.0])
    assert [text for _, text in near.ticks()] == ["1", "2"]
    capped = Axis("n", [5.0, 5.5, 900.0], cap=6.0)
    assert [text for _, text in capped.ticks()] == ["5", "5.5", "≥ 6"]
    assert capped.share(900.0) == capped.share(6.0)
    words = Axis("model", ["linear", "mlp"])
    assert [text for _, text in words.ticks()] == ["mlp", "linear"]
