import pytest

from studperf.scoring.metrics import Interval
from studperf.sweeps.winner import Candidate, describe_winner


def candidate(trial: int, difference: float, *, is_tied: bool = True) -> Candidate:
    low = -1.0 if is_tied else difference / 2
    return Candidate(trial, (), 1.0, 1.0, 0.1, Interval(difference, low, 1.0), 1234, 1.0)


@pytest.mark.parametrize(
    ("others", "winner", "told"),
    [
        ([candidate(1, 0.2, is_tied=False)], 0, "no other candidate is tied with it."),
        ([candidate(1, 0.2)], 0, "and the best; the difference to trial 1 is noise."),
        (
            [candidate(1, 0.2), candidate(2, 0.3)],
            0,
            "and the best; the differences to trials 1, 2 are noise.",
        ),
        ([candidate(1, 0.2)], 1, "it is 0.200 behind trial 0, which is noise."),
        (
            [candidate(1, 0.2), candidate(2, 0.3)],
            1,
            "it is 0.200 behind trial 0, which is noise. Also tied: 2.",
        ),
    ],
)
def test_the_winner_is_told_with_those_that_are_tied(
    others: list[Candidate], winner: int, told: str
) -> None:
    candidates = [candidate(0, 0.0), *others]
    assert describe_winner(candidates, candidates[winner], "mlp").endswith(told)
