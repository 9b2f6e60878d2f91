"""The predictions of a bundle, by onnxruntime alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studperf.bundle.content import Metrics, read_content
from studperf.bundle.cost import MAX_ROWS
from studperf.bundle.manifest import GRAPH, Manifest, verify
from studperf.bundle.rows import Columns, to_feeds
from studperf.bundle.schema import Schema
from studperf.errors import BundleError, DataError, listing
from studperf.schema.findings import Cells

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Prediction:
    """Predictions and their band, (N,) each, in the target's unit.

    `low` and `high` are None when the run learnt no band. `warnings` concern the rows.
    """

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
    n_at_once: int = MAX_ROWS
    """Rows that may go through the graph at once."""

    @classmethod
    def open(cls, folder: Path, *, threads: int = 1) -> Bundle:
        """Verify a bundle, and read it.

        Args:
            folder: holds `manifest.json`.
            threads: of onnxruntime; small models are fastest with one.

        Raises:
            BundleError: it is not what its manifest says, or can't be read.
        """
        manifest = verify(folder)
        content = read_content(folder, manifest)
        session = open_session(content.graph, threads=threads)
        return cls(folder, manifest, content.schema, content.metrics, session, content.n_at_once)

    def predict(self, columns: Columns) -> Prediction:
        """Predict raw rows, given as columns by name.

        Columns that the model does not use are ignored with a warning.

        Raises:
            DataError: lists every cell that the model was not made for, or every row that is so far
                from those of training that no number comes out.
        """
        feeds, warnings = to_feeds(columns, self.schema)
        predicted = run_graph(self.session, feeds, n_at_once=self.n_at_once)
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
    """Check that each row has got a number.

    A graph computes in single precision, which ends at 3e38.
    """
    strange = ~np.isfinite(predicted)
    if strange.any():
        rows = Cells.where(strange).numbers
        fault = f"{rows}: the values are too large to compute a prediction from; check their units"
        raise DataError(listing("These rows are not what the model was trained for", [fault]))


def open_session(graph: bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Return the graph, ready to run on the CPU.

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
    session: onnxruntime.InferenceSession,
    feeds: dict[str, NDArray[Any]],
    *,
    n_at_once: int = MAX_ROWS,
) -> NDArray[np.float64]:
    """Return the graph's output, (N,), computed in slices that keep memory small.

    Raises:
        BundleError: the graph can't be computed, or gives something else than a number for each
            row.
    """
    n_rows = len(next(iter(feeds.values())))
    parts = []
    for start in range(0, max(1, n_rows), n_at_once):
        part = {name: values[start : start + n_at_once] for name, values in feeds.items()}
        try:
            predicted = np.asarray(session.run(None, part)[0], dtype=np.float64)
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise BundleError(f"{GRAPH}: can't be computed: {str(error)[:200]}") from error
        wanted = (len(next(iter(part.values()))),)
        if predicted.shape != wanted:
            raise BundleError(
                f"{GRAPH}: gives values of the shape {predicted.shape} for {wanted[0]} rows"
            )
        parts.append(predicted)
    return np.concatenate(parts)
