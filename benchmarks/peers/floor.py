"""The least that a run can cost where lightning is used: imports of torch and lightning, the raw loop, a score on test.

python floor.py TABLE.csv BATCH_SIZE EPOCHS
"""

from __future__ import annotations

import os
import sys

import lightning  # noqa: F401 - its import is part of the floor
import numpy as np
import pandas as pd
import torch
from peers.raw import Matrix, fit, scores

_TARGET = "final_score"
_DROPPED = ["student_id", "passed", "performance_category"]


def read(path: str) -> dict[str, Matrix]:
    """Part -> standardised numbers beside one-hot categories, and the target."""
    frame = pd.read_csv(path, keep_default_na=False).drop(columns=_DROPPED)
    order = np.random.default_rng(42).permutation(len(frame))
    index = dict(
        zip(
            ("train", "val", "test"),
            np.split(order, [int(0.8 * len(frame)), int(0.9 * len(frame))]),
            strict=True,
        )
    )
    target = frame.pop(_TARGET).to_numpy(dtype=np.float32)
    numbers = frame.select_dtypes("number").to_numpy(dtype=np.float32)
    train = numbers[index["train"]]
    numbers = (numbers - train.mean(axis=0)) / train.std(axis=0)
    levels = pd.get_dummies(frame.select_dtypes(exclude="number")).to_numpy(dtype=np.float32)
    x = np.concatenate([numbers, levels], axis=1)
    return {
        name: (torch.from_numpy(x[rows]), torch.from_numpy(target[rows]))
        for name, rows in index.items()
    }


def main(path: str, batch_size: str, n_epochs: str) -> None:
    """Trains and scores."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    torch.set_num_threads(1)
    parts = read(path)
    fitted = fit(parts["train"], parts["val"], batch_size=int(batch_size), n_epochs=int(n_epochs))
    rmse, mae, r2 = scores(fitted.predict(parts["test"][0]), parts["test"][1])
    sys.stdout.write(
        f"test RMSE {rmse:.3f}, MAE {mae:.3f}, R2 {r2:.3f}; {parts['train'][0].shape[1]} columns\n"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
