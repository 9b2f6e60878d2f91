"""The bundle that leaves a run, sealed by a manifest.

It holds weights, encoder, schema, graph, metrics, card and configuration.

Nothing here needs torch, pandas or the rest of studperf: a server that predicts imports this
package, numpy and onnxruntime.
"""

from studperf.bundle.manifest import (
    FILES,
    FOLDER,
    FORMAT,
    MANIFEST,
    Manifest,
    find_bundle,
    seal,
    verify,
)
from studperf.bundle.predictor import Bundle, Prediction
from studperf.bundle.schema import InputColumn, Schema

__all__ = [
    "FILES",
    "FOLDER",
    "FORMAT",
    "MANIFEST",
    "Bundle",
    "InputColumn",
    "Manifest",
    "Prediction",
    "Schema",
    "find_bundle",
    "seal",
    "verify",
]
