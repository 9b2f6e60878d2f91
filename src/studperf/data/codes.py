"""Tell whole numbers that name something (a school, a region, a row) from those that measure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from studperf.data.schema import Table
from studperf.schema.findings import Finding
from studperf.scoring.metrics import FloatArray

MIN_ROWS = 20
_MIN_EXPECTED = 8.0
"""Repeated values that chance would bring. None at all has a probability of exp(-8), 1 in 3,000."""
_FEW = 1 / 20
_MIN_LEVELS = 8
_MIN_SHARE = 0.02
_ORDER_P = 0.05
_NO_ORDER_P = 0.2
"""Needed of a column whose name is not that of a code. At 0.05 a count and a class size passed for
codes, on 60 tables."""
_GROUPS_P = 1e-4
_N_SHUFFLES = 199
_MAX_LEVELS = 2_000
_SEED = 20_002
# Words for a code, wherever they stand in a name; and for things that have codes, as a name's last
# word: `school`, but not `school_size`. English, German, French, Spanish, Italian, Portuguese.
_CODE_WORDS = frozenset(
    (
        *("id", "ids", "uid", "guid", "key", "code", "codes", "cod", "kod", "zip", "zipcode"),
        *("postcode", "postal", "plz", "cap", "fips", "sic", "naics", "isic", "nuts", "insee"),
        *("ags", "serial", "idx", "kennung", "kennziffer", "schluessel", "schlüssel", "codigo"),
        *("código", "clave", "cle", "clé", "codice", "matricule", "matricula", "matrícula"),
    )
)  # fmt: skip
_CODED_WORDS = frozenset(
    (
        *("no", "nr", "nummer", "numero", "número", "index", "school", "schule", "ecole", "école"),
        *("escuela", "scuola", "escola", "district", "bezirk", "distrito", "distretto", "region"),
        *("région", "regione", "región", "county", "kreis", "state", "province", "provincia"),
        *("country", "land", "pays", "department", "dept", "département", "branch", "filiale"),
        *("store", "shop", "station", "site", "plant", "firm", "firma", "company", "person"),
        *("patient", "subject", "customer", "kunde", "client", "cliente", "user", "teacher"),
        *("lehrer", "household", "hhid", "cluster", "batch", "block", "vendor", "seller", "agent"),
        *("route", "category", "typ", "occupation", "industry", "sector"),
        *("race", "religion", "nationality"),
    )
)  # fmt: skip
_RUNNING = frozenset(("id", "key", "no", "nr", "nummer", "numero", "número", "index"))
_CODE_ENDS = ("code", "fips", "zip", "plz", "codigo")


@dataclass(frozen=True)
class Suspicion:
    """The suspicion that a column of whole numbers holds names, and not amounts.

    Args:
        what: row numbers, or codes that several rows share.
        evidence: as part of a sentence.
        is_strong: it rests on the values themselves; otherwise on the column's name.
        is_ordered: the target follows the order of the numbers, as it would of amounts.
    """

    what: Literal["rows", "codes"]
    evidence: str
    is_strong: bool
    is_ordered: bool = False


def find_suspicion(name: str, values: FloatArray, target: FloatArray) -> Suspicion | None:
    """Return the suspicion that a column holds codes or row numbers; None if there is none.

    Args:
        name: of the column.
        values: (N,) in the file's order, NaN where there is none.
        target: (N,) NaN where there is none.
    """
    known = np.isfinite(values)
    if known.sum() < MIN_ROWS or not is_whole(values[known]):
        return None
    levels, places, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    if len(levels) <= 2:  # noqa: PLR2004 - two values order nothing
        return None
    evidence = _row_number_evidence(values[known], levels)
    if evidence is not None:
        is_ordered = not names_rows(name) and _are_related(values[known], target[known])
        return Suspicion("rows", evidence, is_strong=True, is_ordered=is_ordered)
    if levels[0] < 0:
        return None
    return _find_codes(named_as(name), places, counts, target[known])


def _find_codes(
    named: Literal["code", "thing"] | None,
    places: np.ndarray,
    counts: np.ndarray,
    target: FloatArray,
) -> Suspicion | None:
    """Return the suspicion of codes, by the column's name or by its values.

    Values speak for codes if the target differs among them, but not in their order.
    """
    seen = f"{len(counts)} different whole numbers"
    by_name = Suspicion("codes", f"{seen}, and the name of a code", is_strong=False)
    if len(counts) > len(places) / 2:
        return by_name if named == "code" else None
    p_order = _order_p(places, counts, target)
    p_needed = _NO_ORDER_P if named is None else _ORDER_P
    if p_order is not None and p_order > p_needed:
        evidence = f"{seen}, among which the target differs, but not in their order"
        return Suspicion("codes", evidence, is_strong=True)
    if named is None:
        return None
    if p_order is None:
        return by_name
    evidence = f"{by_name.evidence}, though the target follows their order"
    return Suspicion("codes", evidence, is_strong=False, is_ordered=named != "code")


def is_whole(values: FloatArray) -> bool:
    """Return True if all numbers are whole."""
    return bool((values == np.round(values)).all())


def named_as(name: str) -> Literal["code", "thing"] | None:
    """Return whether a name is that of a code, or of a thing that has codes; None if of neither.

    Codes: `zip`, `school_id`, `PLZ`. Things: `school`, but not `school_size`.
    """
    words = _words_of(name)
    if _CODE_WORDS.intersection(words) or any(word.endswith(_CODE_ENDS) for word in words):
        return "code"
    if words and (words[-1] in _CODED_WORDS or words[-1].endswith("type")):
        return "thing"
    return None


def names_rows(name: str) -> bool:
    """Return True if a name is that of a running number: `no`, `KundenNr`, `customer_id`."""
    words = _words_of(name)
    return bool(words) and words[-1] in _RUNNING


def _words_of(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+", spaced.lower())


def _are_related(values: FloatArray, target: FloatArray) -> bool:
    """Return True if the rank correlation with the target is beyond three standard errors."""
    is_known = np.isfinite(target)
    if is_known.sum() < MIN_ROWS or np.ptp(target[is_known]) == 0:
        return False
    ranks = pd.DataFrame({"values": values[is_known], "target": target[is_known]}).rank()
    r = float(ranks["values"].corr(ranks["target"]))
    return bool(r**2 > 9 / is_known.sum())


def _row_number_evidence(values: FloatArray, levels: FloatArray) -> str | None:
    """Return the evidence that whole numbers count rows; None if there is none.

    Chance would have repeated some of them: where hardly any is repeated, they were dealt out.
    """
    n_rows = len(values)
    n_repeated = n_rows - len(levels)
    span = float(levels[-1] - levels[0]) + 1
    # As in the birthday problem: the pairs of rows, each equal with chance 1 / span.
    n_expected = n_rows * (n_rows - 1) / (2 * span)
    most = min(n_expected * _FEW, n_rows * _FEW)
    if n_expected >= _MIN_EXPECTED and n_repeated <= most:
        repeated = f"only {n_repeated} of them again" if n_repeated else "none of them twice"
        ends = f"{levels[0]:.0f} and {levels[-1]:.0f}"
        return f"{len(levels)} whole numbers between {ends}, {repeated}"

    steps = np.diff(values)
    if n_repeated or not ((steps > 0).all() or (steps < 0).all()):
        return None
    _, n_alike = np.unique(steps, return_counts=True)
    if n_alike.max() >= len(steps) / 2:
        return f"{len(levels)} whole numbers that go on from row to row by the same step"
    return None


def _order_p(places: np.ndarray, counts: np.ndarray, target: FloatArray) -> float | None:
    """Return how often a random order of the levels fits the target as well as their own.

    The order is held against 199 random ones, by two measures of the levels' means: how far
    neighbours lie apart, and how much of them a parabola explains. Ranks of the target are looked
    at, so that a few large values do not decide.

    Returns:
        A p-value; None if the levels are too few or too many, or do not differ in the target.
    """
    from scipy.special import fdtrc  # scipy.stats takes three seconds to import

    is_known = np.isfinite(target)
    if not is_known.all():
        places = np.unique(places[is_known], return_inverse=True)[1]
        counts = np.bincount(places)
        target = target[is_known]

    n_rows, n_levels = len(target), len(counts)
    # Levels of one size that would spread the rows as widely.
    n_filled = n_rows**2 / float(counts @ counts)
    is_unfit = n_filled < _MIN_LEVELS or n_levels > min(_MAX_LEVELS, n_rows / 2)
    if is_unfit or np.ptp(target) == 0:
        return None

    # One-way analysis of variance: do the levels differ in the target at all?
    ranks = pd.Series(target).rank().to_numpy()
    ranks = ranks - ranks.mean()
    means = np.bincount(places, ranks) / counts
    between = float(counts @ means**2)
    whole = float(ranks @ ranks)
    within = whole - between
    freedom = n_rows - n_levels
    if within <= 0:
        return None
    f = between / (n_levels - 1) / (within / freedom)
    share = 1 - within / freedom / (whole / (n_rows - 1))
    if share < _MIN_SHARE or float(fdtrc(n_levels - 1, freedom, f)) > _GROUPS_P:
        return None

    rng = np.random.default_rng(_SEED)
    distance = _distance(means, counts)
    trend = _trend(means, counts)
    n_nearer = n_steeper = 0
    for _ in range(_N_SHUFFLES):
        order = rng.permutation(n_levels)
        n_nearer += _distance(means[order], counts[order]) <= distance
        n_steeper += _trend(means[order], counts[order]) >= trend
    least = min(n_nearer, n_steeper)
    return (1 + least) / (1 + _N_SHUFFLES)


def _distance(means: FloatArray, counts: np.ndarray) -> float:
    """Return the mean squared difference between neighbouring levels' means."""
    weights = counts[1:] * counts[:-1] / (counts[1:] + counts[:-1])
    return float(weights @ np.diff(means) ** 2 / weights.sum())


def _trend(means: FloatArray, counts: np.ndarray) -> float:
    """Return how much of the means' spread a parabola over the levels' places explains."""
    x = np.linspace(-1, 1, len(means))
    design = np.stack([np.ones_like(x), x, x**2], axis=1)
    weights = np.sqrt(counts)
    solved, *_ = np.linalg.lstsq(design * weights[:, None], means * weights, rcond=None)
    fitted = design @ solved
    return float(counts @ (fitted - np.average(fitted, weights=counts)) ** 2)


def judge_codes(table: Table) -> Iterator[Finding]:
    """Yield a warning for each number whose values look like codes or row numbers.

    Args:
        table: rows in the file's order; columns whose `why` is given in the dataset are skipped.
    """
    target = table.target
    for name in table.dataset.of_kind("number"):
        if table.dataset.columns[name].why is not None:
            continue
        found = find_suspicion(name, table.frame[name].to_numpy(dtype=np.float64), target)
        if found is None or not found.is_strong:
            continue
        if found.what == "rows":
            other, noun = "{kind: id}", "row numbers"
        else:
            other, noun = "{kind: category, unseen: other, rare: 5}", "codes"
        what = (
            f"{noun}? It has {found.evidence}. If so, write `{name}: {other}`; "
            "if it is a number, say so: why: an amount"
        )
        yield Finding("warning", name, what)
