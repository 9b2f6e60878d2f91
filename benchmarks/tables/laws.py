"""Simulate tables whose law is known, and with it the error that no model can go below."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Share of the cells that are missing.
_GAPS = 0.15


def simulate(law: str, n_rows: int) -> tuple[pd.DataFrame, float]:
    """Return a table with its target in column `y`, and the standard deviation of its noise.

    Args:
        law: a name of `LAWS`.
        n_rows: how many rows.
    """
    # One draw for each law and size, whatever else is simulated.
    rng = np.random.default_rng([n_rows, *law.encode()])
    frame, signal = LAWS[law](rng, n_rows)
    # Half of the signal's deviation: a good model explains four fifths of the variance.
    noise_sd = 0.5 * float(signal.std())
    if law == "linear":
        # A nearly exact line: R2 .98.
        noise_sd = 0.143 * float(signal.std())
    if law == "nothing":
        noise_sd = 1.0
    frame["y"] = signal + _noise(rng, law, n_rows) * noise_sd
    return frame, noise_sd


def _noise(rng: np.random.Generator, law: str, n_rows: int) -> np.ndarray:
    """Return noise of deviation one: normal, or of three degrees of freedom for heavy tails."""
    if law == "tails":
        # Student's t with 3 degrees of freedom has the variance 3.
        drawn = rng.standard_t(3, n_rows) / np.sqrt(3.0)
    else:
        drawn = rng.standard_normal(n_rows)
    return np.asarray(drawn)


def _numbers(x: np.ndarray) -> pd.DataFrame:
    names = [f"x{number}" for number in range(x.shape[1])]
    return pd.DataFrame(x.round(6), columns=names)


def _linear(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    x = rng.standard_normal((n_rows, 12))
    weights = rng.standard_normal(12)
    return _numbers(x), x @ weights


def _friedman1(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    x = rng.random((n_rows, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    return _numbers(x), y + 10 * x[:, 3] + 5 * x[:, 4]


def _circuit(rng: np.random.Generator, n_rows: int) -> np.ndarray:
    """Return the four inputs of Friedman's second and third law, of very different scales."""
    low = np.array([0.0, 40 * np.pi, 0.0, 1.0])
    high = np.array([100.0, 560 * np.pi, 1.0, 11.0])
    inputs: np.ndarray = low + rng.random((n_rows, 4)) * (high - low)
    return inputs


def _friedman2(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    x = _circuit(rng, n_rows)
    inner = x[:, 1] * x[:, 2] - 1 / (x[:, 1] * x[:, 3])
    return _numbers(x), np.sqrt(x[:, 0] ** 2 + inner**2)


def _friedman3(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    x = _circuit(rng, n_rows)
    inner = x[:, 1] * x[:, 2] - 1 / (x[:, 1] * x[:, 3])
    return _numbers(x), np.arctan(inner / (x[:, 0] + 1e-9))


def _periodic(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    x = rng.random((n_rows, 6))
    y = np.sin(6 * np.pi * x[:, 0]) + np.cos(8 * np.pi * x[:, 1]) + x[:, 2]
    return _numbers(x), y


def _products(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    x = rng.standard_normal((n_rows, 8))
    y = x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3] * np.sign(x[:, 4]) + 0.5 * x[:, 5]
    return _numbers(x), y


def _tails(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    x = rng.lognormal(0.0, 1.0, (n_rows, 8))
    return _numbers(x), 3 * np.log(x[:, 0]) + np.sqrt(x[:, 1]) + x[:, 2] / (1 + x[:, 3])


def _levels(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    x = rng.standard_normal((n_rows, 4))
    frame = _numbers(x)
    # Levels come as often as towns do: a few often, most rarely.
    shares = 1 / np.arange(1, 301)
    town = rng.choice(300, n_rows, p=shares / shares.sum())
    trade = rng.integers(0, 12, n_rows)
    frame["town"] = [f"town{number}" for number in town]
    frame["trade"] = [f"trade{number}" for number in trade]
    of_town = rng.standard_normal(300)
    of_trade = rng.standard_normal(12)
    return frame, of_town[town] + of_trade[trade] * np.tanh(x[:, 0]) + 0.5 * x[:, 1]


def _gaps_random(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    frame, y = _friedman1(rng, n_rows)
    gaps = rng.random(frame.shape) < _GAPS
    return frame.mask(gaps), y


def _gaps_telling(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Leave out high values more often than low ones, so that a gap says something."""
    frame, y = _friedman1(rng, n_rows)
    gaps = rng.random(frame.shape) < 0.6 * frame.to_numpy() ** 2
    return frame.mask(gaps), y


def _nothing(rng: np.random.Generator, n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    return _numbers(rng.standard_normal((n_rows, 8))), np.zeros(n_rows)


LAWS = {
    "linear": _linear,
    "friedman1": _friedman1,
    "friedman2": _friedman2,
    "friedman3": _friedman3,
    "periodic": _periodic,
    "products": _products,
    "tails": _tails,
    "levels": _levels,
    "gaps_random": _gaps_random,
    "gaps_telling": _gaps_telling,
    "nothing": _nothing,
}
