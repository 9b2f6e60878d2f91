"""Predictions from a bundle, by onnxruntime alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from studperf.bundle.manifest import GRAPH, METRICS, SCHEMA, Manifest, read_sealed, verify
from studperf.bundle.rows import Columns, to_feeds, to_places
from studperf.bundle.schema import Schema
from studperf.errors import BundleError, DataError, listing

if TYPE_CHECKING:
    import onnxruntime

_BATCH_SIZE = 8192


class Metrics(BaseModel):
    """What of `metrics.json` a prediction needs; the file holds the whole judgement."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    class Conformal(BaseModel):
        """The band that holds the truth with probability `level`."""

        model_config = ConfigDict(extra="ignore", frozen=True)

        level: float
        half_width: float

    conformal: Conformal | None


@dataclass(frozen=True)
class Prediction:
    """(N,) each, in the target's unit; `low` and `high` are None when the run learnt no band. `warnings` concern the rows."""

    predicted: NDArray[np.float64]
    low: NDArray[np.float64] | None
    high: NDArray[np.float64] | None
    level: float | None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, ready to predict."""

    folder: Path
    manifest: Manifest
    schema: Schema
    metrics: Metrics
    session: onnxruntime.InferenceSession

    @classmethod
    def open(cls, folder: Path, *, threads: int = 1) -> Bundle:
        """Verifies a bundle and reads it.

        Args:
            folder: holds `manifest.json`.
            threads: of onnxruntime; small models are fastest with one.

        Raises:
            BundleError: it is not what its manifest says, or can't be read.
        """
        manifest = verify(folder)
        try:
            schema = Schema.model_validate_json(read_sealed(folder, manifest, SCHEMA))
            metrics = Metrics.model_validate_json(read_sealed(folder, manifest, METRICS))
        except ValidationError as error:
            fault = error.errors()[0]
            raise BundleError(
                f"{folder}: {error.title} can't be read: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            ) from error
        return cls(
            folder,
            manifest,
            schema,
            metrics,
            open_session(read_sealed(folder, manifest, GRAPH), threads=threads),
        )

    def predict(self, columns: Columns) -> Prediction:
        """Predicts raw rows, given as columns by name; columns that the model does not use are ignored with a warning.

        Raises:
            DataError: lists every cell that the model was not made for, or every row that is so far from
                those of training that no number comes out.
        """
        feeds, warnings = to_feeds(columns, self.schema)
        predicted = run_graph(self.session, feeds)
        _check_finite(predicted)
        band = self.metrics.conformal
        if band is None:
            return Prediction(predicted, None, None, None, warnings)
        return Prediction(
            predicted,
            predicted - band.half_width,
            predicted + band.half_width,
            band.level,
            warnings,
        )


def _check_finite(predicted: NDArray[np.float64]) -> None:
    """Check that each row has got a number: a graph computes in single precision, which ends at 3e38."""
    strange = ~np.isfinite(predicted)
    if strange.any():
        rows = to_places(strange)
        fault = f"{rows}: the values are too large to compute a prediction from; check their units"
        raise DataError(listing("These rows are not what the model was trained for", [fault]))


def open_session(graph: bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """The graph, ready to run on the CPU.

    Raises:
        BundleError: onnxruntime does not take it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class of their own
        raise BundleError(
            f"{GRAPH}: onnxruntime {onnxruntime.__version__} can't read it: {str(error)[:200]}"
        ) from error


def run_graph(
    session: onnxruntime.InferenceSession, feeds: dict[str, NDArray[Any]]
) -> NDArray[np.float64]:
    """(N,) the graph's output, in slices that keep memory small however many rows there are."""
    n_rows = len(next(iter(feeds.values())))
    starts = range(0, max(1, n_rows), _BATCH_SIZE)
    parts = [
        session.run(None, {name: values[i : i + _BATCH_SIZE] for name, values in feeds.items()})[0]
        for i in starts
    ]
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
