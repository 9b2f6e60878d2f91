"""What the terminal shows of a study."""

import pytest

from studperf.report.views.study import brief


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (
            ["optimizer.weight_decay=3.709327e-06", "model.d_hidden=[128,64]"],
            "weight_decay=3.709e-06 d_hidden=[128,64]",
        ),
        (
            ["optimizer.name=sgd", "scheduler.name=cosine", "model=mlp"],
            "optimizer.name=sgd scheduler.name=cosine model=mlp",
        ),
        ([], ""),
    ],
    ids=["few digits", "names that two keys share", "nothing varied"],
)
def test_settings_fit_a_narrow_column(words: list[str], shown: str) -> None:
    assert brief(words) == shown
