"""The files of a run's folder: their names, how they are written and how they are read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from studperf.config.document import write_document
from studperf.config.files import write_atomically
from studperf.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

    from studperf.data.encode import Encoder
    from studperf.record.record import RunRecord

RECORD = "record.json"
BEST = "checkpoints/best.ckpt"
LAST = "checkpoints/last.ckpt"
ENCODER = "encoder.json"
PREDICTIONS = "predictions.parquet"
SEEN_ROWS = "seen_rows.parquet"
HISTORY = "history.csv"
LOG_FILE = "log.txt"

# docker/train.Dockerfile sets this variable in an image.
COMMIT = "STUDPERF_COMMIT"

# W&B's own folder goes on changing after a run, so its files are not hashed.
WANDB = "wandb"

# Below `runs`: a folder for each study.
STUDIES = "sweeps"


def read_predictions(folder: Path) -> pd.DataFrame:
    """Return the rows of `predictions.parquet`.

    Its columns are row, split, actual, predicted, and one for each baseline.

    Raises:
        RunError: the file is missing or damaged.
    """
    import pandas as pd

    try:
        return pd.read_parquet(folder / PREDICTIONS)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{folder / PREDICTIONS}: can't be read, it is missing or damaged; train the run again"
        ) from error


def read_encoder(folder: Path) -> Encoder:
    """Return the encoder that was fitted to the run's training rows.

    Raises:
        RunError: the file is missing or damaged.
    """
    from studperf.data.encode import Encoder

    try:
        return Encoder.model_validate_json((folder / ENCODER).read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(
            f"{folder / ENCODER}: can't be read, it is missing or damaged; train the run again"
        ) from error


def make_folder(runs: Path, name: str) -> Path:
    """Make the folder `runs/<name>`, with a number added if the name is taken.

    Raises:
        RunError: the folder can't be made there.
    """
    for i in range(1, 1000):
        folder = runs / (name if i == 1 else f"{name}-{i}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if runs.exists() and not runs.is_dir():
                raise RunError(f"runs={runs}: is a file; name a folder for the runs") from None
        except OSError as error:
            raise RunError(
                f"runs={runs}: no run folder can be made there: {error.strerror}"
            ) from error
        else:
            return folder
    raise RunError(f"{runs / name}: a thousand runs of this name")


def write_inputs(folder: Path, record: RunRecord, encoder_json: str) -> None:
    """Write `config.yaml`, `overrides.yaml` and `encoder.json` into a run's folder.

    With these alone the run can be repeated or resumed.
    """
    write_atomically(folder / "config.yaml", write_document(record.config))
    write_atomically(folder / "overrides.yaml", yaml.safe_dump(record.overrides))
    write_atomically(folder / ENCODER, encoder_json)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
