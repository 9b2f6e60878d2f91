"""Fit one peer at its defaults on one split of one table; runs in the peers' own environment.

    python benchmarks/tables/peers.py PEER FOLDER/tables/NAME SPLIT OUT.json

Early stopping sees val, as ours does. Trees get categories as they are; the linear and the forest
get them one-hot.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

N_ROUNDS = 1000
PATIENCE = 50


class Parts:
    """The rows of one split: features as a frame, targets as arrays."""

    def __init__(self, place: Path, seed: int) -> None:
        frame = pd.read_parquet(place / "rows.parquet")
        target = frame.pop("__target__").to_numpy()
        splits = np.load(place / "splits.npz")
        self.categories = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
        for name in self.categories:
            frame[name] = frame[name].astype("category")
        self.x = {part: frame.iloc[splits[f"{part}{seed}"]] for part in ("train", "val", "test")}
        self.y = {part: target[splits[f"{part}{seed}"]] for part in ("train", "val", "test")}
        self.n_train = len(self.y["train"])


Predict = Callable[[pd.DataFrame], Any]


def fit_lightgbm(parts: Parts, seed: int) -> Predict:
    """Fit LightGBM with early stopping."""
    import lightgbm

    model = lightgbm.LGBMRegressor(n_estimators=N_ROUNDS, n_jobs=1, random_state=seed, verbosity=-1)
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    val = [(parts.x["val"], parts.y["val"])]
    model.fit(parts.x["train"], parts.y["train"], eval_set=val, callbacks=[stop])
    predict: Predict = model.predict
    return predict


def fit_xgboost(parts: Parts, seed: int) -> Predict:
    """Fit XGBoost with early stopping."""
    import xgboost

    model = xgboost.XGBRegressor(
        n_estimators=N_ROUNDS,
        early_stopping_rounds=PATIENCE,
        enable_categorical=True,
        n_jobs=1,
        random_state=seed,
    )
    val = [(parts.x["val"], parts.y["val"])]
    model.fit(parts.x["train"], parts.y["train"], eval_set=val, verbose=False)
    predict: Predict = model.predict
    return predict


def fit_catboost(parts: Parts, seed: int) -> Predict:
    """Fit CatBoost with early stopping."""
    import catboost

    # CatBoost wants text, not codes, and no missing category.
    def as_text(frame: pd.DataFrame) -> pd.DataFrame:
        text = frame.copy()
        for name in parts.categories:
            text[name] = text[name].astype(object).fillna("missing").astype(str)
        return text

    model = catboost.CatBoostRegressor(
        thread_count=1,
        random_seed=seed,
        cat_features=parts.categories,
        allow_writing_files=False,
        verbose=False,
    )
    model.fit(
        as_text(parts.x["train"]),
        parts.y["train"],
        eval_set=(as_text(parts.x["val"]), parts.y["val"]),
        early_stopping_rounds=PATIENCE,
    )
    return lambda frame: model.predict(as_text(frame))


def fit_forest(parts: Parts, seed: int) -> Predict:
    """Fit a forest of 100 trees on one-hot columns."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.pipeline import make_pipeline

    forest = RandomForestRegressor(n_jobs=1, random_state=seed)
    model = make_pipeline(_one_hot(parts, scale=False), forest)
    model.fit(parts.x["train"], parts.y["train"])
    predict: Predict = model.predict
    return predict


def fit_ridge(parts: Parts, seed: int) -> Predict:  # noqa: ARG001 - it draws nothing
    """Fit ridge on standardised, one-hot columns; its penalty by leave-one-out."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(_one_hot(parts, scale=True), RidgeCV(np.logspace(-3, 4, 15)))
    model.fit(parts.x["train"], parts.y["train"])
    predict: Predict = model.predict
    return predict


def _one_hot(parts: Parts, *, scale: bool) -> Any:  # noqa: ANN401 - scikit-learn has no types
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [name for name in parts.x["train"] if name not in parts.categories]
    steps = [SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)]
    if scale:
        steps.append(StandardScaler())
    levels = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5)
    return make_column_transformer((make_pipeline(*steps), numbers), (levels, parts.categories))


def fit_realmlp(parts: Parts, seed: int) -> Predict:
    """Fit the RealMLP-TD of pytabkit, on the CPU with one thread."""
    import torch
    from pytabkit import RealMLP_TD_Regressor

    torch.set_num_threads(1)

    # It takes no missing numbers: the median, and a column that says where.
    medians = parts.x["train"].median(numeric_only=True).fillna(0.0)
    with_gaps = [name for name in medians.index if parts.x["train"][name].isna().any()]

    def filled(frame: pd.DataFrame) -> pd.DataFrame:
        full = frame.copy()
        for name in with_gaps:
            full[f"{name} is missing"] = frame[name].isna().astype(float)
        full[medians.index] = full[medians.index].fillna(medians)
        for name in parts.categories:
            full[name] = full[name].astype(object).fillna("missing").astype(str)
        return full

    model = RealMLP_TD_Regressor(device="cpu", random_state=seed, n_threads=1, verbosity=0)
    model.fit(
        filled(parts.x["train"]),
        parts.y["train"],
        X_val=filled(parts.x["val"]),
        y_val=parts.y["val"],
        cat_col_names=parts.categories,
    )
    return (
        model.predict
        if not (with_gaps or parts.categories)
        else (lambda frame: model.predict(filled(frame)))
    )


FITS = {
    "ridge": fit_ridge,
    "forest": fit_forest,
    "lightgbm": fit_lightgbm,
    "xgboost": fit_xgboost,
    "catboost": fit_catboost,
    "realmlp-td": fit_realmlp,
}


def main() -> None:
    """Fit, score on val and test, and write both scores and the predictions for test."""
    peer, place, seed, out = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    parts = Parts(place, seed)
    start = time.perf_counter()
    predict = FITS[peer](parts, seed)
    seconds = time.perf_counter() - start

    scores = {}
    for part in ("val", "test"):
        predicted = np.asarray(predict(parts.x[part]), dtype=float).ravel()
        scores[part] = float(np.sqrt(np.mean((predicted - parts.y[part]) ** 2)))
    np.save(out.with_suffix(".npy"), predicted)
    result = {**scores, "seconds": round(seconds, 2), "n_train": parts.n_train}
    half_written = out.with_suffix(".part")
    half_written.write_text(json.dumps(result), encoding="utf-8")
    half_written.rename(out)


if __name__ == "__main__":
    main()
