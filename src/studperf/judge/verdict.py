"""The verdict on a run in words.

A claim is made only where the paired intervals over the run's own scored rows bear it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studperf.record.shape import DataFacts, Scores, Verdict
from studperf.scoring.metrics import Interval
from studperf.scoring.numbers import Digits

MATCH_SHARE = 0.05
"""Share of a baseline's RMSE below which a difference matters to nobody.

A difference that may be larger is not called a match.
"""
MIN_SKILL = 0.01
"""Share of the mean's RMSE by which an improvement, even a sure one, must exceed it to count."""
_TOO_GOOD_RATIO = 0.5
_TOO_GOOD_R2 = 0.995
_EXACT_R2 = 0.999
_FLOOR_CONFIDENCE = 0.995
_MOST_ROWS = 1e9
"""More rows than this are no advice."""
_N_WITH_SHARE = 3
_N_NAMED = 10
"""Columns left out that are named: the first ones with their shares."""


@dataclass(frozen=True)
class Evidence:
    """The scores, baselines and paired differences from which a verdict is made.

    Args:
        scores: the model's errors.
        baselines: those of each baseline, `mean` among them.
        against: the model's RMSE minus that of each baseline, paired.
        rivals: the strongest baseline by cross-validation, then those that can't be told from it.
        skill: 1 - RMSE / RMSE of the mean.
        n_rows: scored rows.
        scored_on: the split that they are.
        data: unit, noise floor, columns left out and leaks allowed.
    """

    scores: Scores
    baselines: Mapping[str, Scores]
    against: Mapping[str, Interval]
    rivals: Sequence[str]
    skill: float
    n_rows: int
    scored_on: str
    data: DataFacts

    @property
    def digits(self) -> Digits:
        """The unit and decimals of the run's errors."""
        return Digits.of(self.scores.rmse.value, self.data.unit)

    def rmse_of(self, baseline: str) -> float:
        """Return the RMSE of a baseline."""
        return self.baselines[baseline].rmse.value

    def far_share(self, baseline: str) -> float:
        """Return by which share of a baseline's RMSE the model may be worse than it."""
        high, rmse = self.against[baseline].high, self.rmse_of(baseline)
        if math.isnan(high):
            return math.inf
        if rmse > 0:
            return high / rmse
        return math.inf if high > 0 else 0.0


def give_verdict(evidence: Evidence) -> Verdict:
    """Return the verdict, with the leaks that were allowed and the columns left out."""
    found = _find_verdict(evidence)
    asides = _tell_leaks(evidence.data) + _tell_left_out(evidence.data)
    return found.model_copy(update={"line": found.line + asides})


def _find_verdict(evidence: Evidence) -> Verdict:
    """Return the verdict alone.

    The order of the claims matters: the first one that the evidence bears is made.
    """
    against = evidence.against
    if suspicion := find_suspicion(evidence):
        line = f"Suspiciously good, look for a leak: {suspicion}."
        return Verdict(kind="suspicious", line=line)
    if _is_like_the_mean(evidence):
        return Verdict(
            kind="no better than the mean", line=_tell_like_the_mean(evidence), baseline="mean"
        )

    better = [name for name in against if against[name].low > 0]
    if better:
        worst = min(better, key=evidence.rmse_of)
        line = f"Worse than {worst}: {_gap(evidence, worst)}."
        return Verdict(kind="worse", line=line, baseline=worst)
    if not against["mean"].high < 0:
        return _tell_nothing_of_the_mean(evidence)
    if all(interval.high < 0 for interval in against.values()):
        nearest = max(evidence.rivals, key=lambda name: against[name].value)
        line = f"Beats {nearest}: {_gap(evidence, nearest)}."
        return Verdict(kind="beats", line=line, baseline=nearest)

    furthest = max(evidence.rivals, key=evidence.far_share)
    if evidence.far_share(furthest) <= MATCH_SHARE:
        return Verdict(kind="matches", line=_tell_match(evidence, furthest), baseline=furthest)
    return _tell_nothing(evidence, furthest)


def _is_like_the_mean(evidence: Evidence) -> bool:
    """Return True if the model is surely not better than the mean by an amount that matters."""
    against_mean = evidence.against["mean"]
    if against_mean.high < 0:
        return evidence.skill < MIN_SKILL
    return -against_mean.low <= MATCH_SHARE * evidence.rmse_of("mean")


def _tell_like_the_mean(evidence: Evidence) -> str:
    skill = f"skill {evidence.skill:+.1%}"
    if evidence.against["mean"].high < 0:
        return f"No better than the mean but for less than {MIN_SKILL:.0%} of its error: {skill}."
    return f"No better than the mean: {skill}."


def _tell_nothing_of_the_mean(evidence: Evidence) -> Verdict:
    against_mean = evidence.against["mean"]
    rmse = evidence.rmse_of("mean")
    # Subtracted from 0.0, as a negated 0.0 would be shown as -0.0 %.
    low = 0.0 - against_mean.high / rmse
    high = 0.0 - against_mean.low / rmse
    n_needed = count_rows_needed(against_mean, evidence.n_rows, goal=0.0)
    line = (
        f"Can't tell from the mean: skill {evidence.skill:+.1%}, "
        f"95 % interval {low:+.1%} to {high:+.1%}{_tell_rows(evidence, n_needed)}."
    )
    return Verdict(kind="can't tell", line=line, baseline="mean", n_rows_needed=n_needed)


def _tell_nothing(evidence: Evidence, furthest: str) -> Verdict:
    needed = []
    for name in evidence.rivals:
        goal = MATCH_SHARE * evidence.rmse_of(name)
        n_needed = count_rows_needed(evidence.against[name], evidence.n_rows, goal=goal)
        if evidence.far_share(name) > MATCH_SHARE and n_needed is not None:
            needed.append(n_needed)
    n_needed = max(needed, default=None)
    share = evidence.far_share(furthest)
    reach = f", up to {share:.0%} above {furthest}'s" if math.isfinite(share) else ""
    rows = _tell_rows(evidence, n_needed)
    line = f"Can't tell from {furthest}: {_gap(evidence, furthest)}{reach}{rows}."
    return Verdict(kind="can't tell", line=line, baseline=furthest, n_rows_needed=n_needed)


def _tell_match(evidence: Evidence, name: str) -> str:
    share = max(0.0, evidence.far_share(name))
    return f"Matches {name}: {_gap(evidence, name)}, at most {share:.1%} above {name}'s."


def _tell_rows(evidence: Evidence, n_needed: int | None) -> str:
    there_are = f"there are {evidence.n_rows:,}"
    if n_needed is None:
        return f"; more {evidence.scored_on} rows would tell, {there_are}"
    return f"; about {n_needed:,} {evidence.scored_on} rows would tell, {there_are}"


def count_rows_needed(difference: Interval, n_rows: int, *, goal: float) -> int | None:
    """Return about how many rows would tell, if the difference stayed what it is now.

    They tell once the interval, which narrows with the root of the rows, either leaves out 0 or
    ends below `goal`. None where no number can be said.
    """
    value = difference.value
    above, below = difference.high - value, value - difference.low
    if not all(math.isfinite(number) for number in (value, above, below)):
        return None
    # Each way to an answer: how far the interval reaches now, and how far it may reach then.
    ways = [(above, goal - value)]
    if value > 0:
        ways.append((below, value))
    else:
        ways.append((above, -value))
    factors = [(now / then) ** 2 for now, then in ways if then > 0]
    if not factors:
        return None
    n_needed = n_rows * min(factors)
    if n_needed > _MOST_ROWS:
        return None
    return _round_up(max(n_needed, n_rows + 1))


def _round_up(number: float) -> int:
    """Round up to two digits, so that a number that rests on an estimate does not look exact."""
    n_digits = math.floor(math.log10(number))
    step = int(10 ** max(0, n_digits - 1))
    return math.ceil(number / step) * step


def find_suspicion(evidence: Evidence) -> str | None:
    """Return why the scores are better than honest columns allow, or None."""
    scores, data = evidence.scores, evidence.data
    value = evidence.digits.number(scores.rmse.value, more=1)
    if data.noise_floor is not None and _highest_believable(evidence) < data.noise_floor:
        highest = evidence.digits.number(_highest_believable(evidence), more=1)
        return f"RMSE {value} (at most {highest}) is below the noise floor of {data.noise_floor:g}"
    if scores.r2.low > _TOO_GOOD_R2 and (reason := _suspect_fit(evidence)):
        return reason
    strongest = min(evidence.baselines, key=evidence.rmse_of)
    rmse = evidence.rmse_of(strongest)
    if rmse > 0 and evidence.against[strongest].high < -_TOO_GOOD_RATIO * rmse:
        return (
            f"RMSE {value} is surely less than half of "
            f"{strongest}'s {evidence.digits.number(rmse, more=1)}, the smallest of the baselines"
        )
    return None


def _suspect_fit(evidence: Evidence) -> str | None:
    """Return what makes an almost perfect fit suspicious, or None.

    An easy table, where a baseline fits as well, is not suspicious.
    """
    r2 = evidence.scores.r2
    if evidence.data.allowed_leaks:
        return f"R2 {r2.value:.4f}, with a leak allowed"
    best = max(scores.r2.value for scores in evidence.baselines.values())
    if best <= _TOO_GOOD_R2:
        return (
            f"R2 {r2.value:.4f} is more than such data allow, and no baseline is above {best:.4f}"
        )
    if r2.low > _EXACT_R2:
        return f"R2 {r2.value:.4f}: the target follows from the columns all but exactly"
    return None


def _highest_believable(evidence: Evidence) -> float:
    """Return the largest RMSE that the scored rows allow.

    The bootstrap's interval is too narrow for few rows, so a chi-squared bound is taken where that
    is higher.
    """
    from scipy.special import chdtri

    rmse = evidence.scores.rmse
    smallest_sum = float(chdtri(evidence.n_rows, _FLOOR_CONFIDENCE))
    return max(rmse.high, rmse.value * math.sqrt(evidence.n_rows / smallest_sum))


def _gap(evidence: Evidence, name: str) -> str:
    """Return the paired difference to a baseline, with its interval, in the target's unit."""
    difference, digits = evidence.against[name], evidence.digits
    value = f"RMSE {digits.signed(difference.value)} {digits.unit}".rstrip()
    low, high = digits.signed(difference.low), digits.signed(difference.high)
    return f"{value}, 95 % interval {low} to {high}"


def _tell_leaks(data: DataFacts) -> str:
    if not data.allowed_leaks:
        return ""
    names = ", ".join(data.allowed_leaks)
    if len(data.allowed_leaks) == 1:
        return f" A leak was allowed: {names} gives the target away."
    return f" Leaks were allowed: {names} give the target away."


def _tell_left_out(data: DataFacts) -> str:
    if not data.left_out_signal:
        return ""
    columns = list(data.left_out_signal.items())
    names = []
    for name, share in columns[:_N_WITH_SHARE]:
        names.append(f"{name} ({share:.0%} of the variance alone)")
    names += [name for name, _ in columns[_N_WITH_SHARE:_N_NAMED]]

    more = ""
    if len(columns) > _N_NAMED:
        more = f" and {len(columns) - _N_NAMED} more"
    return f" Left out though they carry signal: {', '.join(names)}{more}."
