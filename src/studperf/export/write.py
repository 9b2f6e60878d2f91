"""The writing of a bundle, whole or not at all.

Its graph must first give what the model gives.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import save

import studperf
from studperf.bundle import manifest as seals
from studperf.bundle.cost import rows_at_once
from studperf.bundle.graph import read_graph
from studperf.bundle.predictor import open_session, run_graph
from studperf.bundle.rows import to_feeds
from studperf.bundle.schema import Schema
from studperf.config.document import write_document
from studperf.config.files import folder_written_whole
from studperf.data.encode import Encoder
from studperf.data.schema import Table
from studperf.data.tensors import encode_table
from studperf.errors import BundleError, ExportError
from studperf.export import trees as _trees  # noqa: F401 - registers its kind with export_network
from studperf.export.model import build_schema, join
from studperf.export.network import export_network
from studperf.record.record import RunRecord
from studperf.record.surroundings import now
from studperf.report.pages.card import write_card
from studperf.report.views.scores import MIN_SLICE
from studperf.train.finished import FinishedRun
from studperf.train.learner import Model

TOLERANCE = 1e-4
"""Largest difference to the model, in the target's unit; 7.6e-6 was measured for the networks here."""
_N_ULPS = 8
_UNHEARD_OF = "a level that no table holds"


def export_run(folder: Path) -> Path:
    """Write the bundle of a finished run, and return its folder.

    The run's rows must still be where they were, as the graph is tried on them.

    Raises:
        RunError: the folder is no finished run, or its rows are others now.
        ExportError: the graph does not give what the model gives, or can't be made; nothing is left
            behind.
    """
    run = FinishedRun.load(folder)
    return write_bundle(run.module, run.encoder, run.read_scored(), run.record, folder)


def write_bundle(
    model: Model, encoder: Encoder, tables: Sequence[Table], record: RunRecord, folder: Path
) -> Path:
    """Write `bundle/` into a run folder in place of an older one, and return its path.

    Args:
        model: with the best weights.
        encoder: of the training rows.
        tables: rows of the run, on which the graph is tried.
        record: judged.
        folder: of the run.

    Raises:
        ExportError: the graph does not give what the model gives, or can't be made; nothing is left
            behind.
    """
    if record.judgement is None:
        raise ExportError(
            f"{folder}: the run is {record.status} and was not judged; a bundle holds its scores"
        )
    schema = build_schema(encoder, tables[0].dataset)
    data = record.data
    facts = {
        "studperf": studperf.__version__,
        "format": str(seals.FORMAT),
        "run": record.name,
        "model": record.model,
    }
    facts |= {"data_md5": data.md5 or "simulated", "target": data.target, "unit": data.unit}
    network = export_network(model, encoder.features)
    graph = join(network, encoder, schema, facts).SerializeToString()
    parity = check_parity(graph, model, encoder, schema, tables)
    # safetensors refuses tensors that share memory, or do not lie in one piece.
    weights = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    contents = {
        seals.WEIGHTS: save(weights, metadata=facts),
        seals.GRAPH: graph,
        seals.ENCODER: encoder.model_dump_json(indent=1).encode(),
        seals.SCHEMA: schema.model_dump_json(indent=1).encode(),
        seals.METRICS: _metrics(record, parity),
        seals.CARD: write_card(record).encode(),
        seals.CONFIG: write_document(record.config).encode(),
    }
    return _replace(folder / seals.FOLDER, contents, record)


def _count_rows_at_once(graph: bytes, model: Model) -> int:
    """Return how many rows may go through a graph at once.

    A graph that some reader would refuse is refused here.

    Raises:
        ExportError: it holds an operator that a bundle can't hold, or one whose cost can't be told.
    """
    try:
        return rows_at_once(read_graph(graph))
    except BundleError as error:
        raise ExportError(
            f"{model.kind}: its graph could not be read from a bundle, "
            f"which takes no operator whose cost it can't tell before it runs: {error}. "
            "Write the forward pass with other operators, or train with export=false."
        ) from error


def check_parity(
    graph: bytes, model: Model, encoder: Encoder, schema: Schema, tables: Sequence[Table]
) -> dict[str, Any]:
    """Compare the graph with the model on real rows, and on missing and unknown cells.

    Every missing value and unknown level for which the encoder has a rule is tried.

    Raises:
        ExportError: a prediction differs by more than `TOLERANCE`, or more than float32 can tell
            where the target is large; or the graph holds what no reader takes.
    """
    n_at_once = _count_rows_at_once(graph, model)
    session = open_session(graph)
    rows = [*tables, _edge_rows(tables[0], encoder)]
    by_model = []
    by_graph = []
    for table in rows:
        by_model.append(model.predict_rows(encode_table(table, encoder)))
        feeds, _ = to_feeds(_columns(table, schema), schema)
        by_graph.append(run_graph(session, feeds, n_at_once=n_at_once))
    expected = np.concatenate(by_model)
    given = np.concatenate(by_graph)

    # Large targets lie further apart in float32 than any fixed tolerance.
    spacing = float(np.spacing(np.float32(np.abs(expected).max())))
    tolerance = max(TOLERANCE, _N_ULPS * spacing)
    difference = float(np.abs(given - expected).max())
    if not difference <= tolerance:  # NaN is no parity either
        differences = np.nan_to_num(np.abs(given - expected), nan=np.inf)
        worst = int(np.argmax(differences))
        raise ExportError(
            f"The graph is not the model: predictions differ by up to {difference:.3g}, "
            f"{tolerance:.3g} is allowed (row {worst + 1} of {len(given)}: "
            f"{given[worst]:.8g} by the graph, {expected[worst]:.8g} by the model)"
        )
    return {"n_rows": len(given), "max_difference": difference, "tolerance": tolerance}


def _columns(table: Table, schema: Schema) -> dict[str, Any]:
    return {column.name: table.frame[column.name].to_numpy() for column in schema.columns}


def _edge_rows(table: Table, encoder: Encoder) -> Table:
    """Return copies of the first row, each with one cell missing or unknown.

    Only cells that a rule says how to read are changed.
    """
    frame = table.frame.iloc[:1]
    others = [code.name for code in encoder.categories if code.other is not None]
    cells: list[tuple[str, Any]] = []
    cells += [(code.name, None) for code in encoder.filled]
    cells += [(name, _UNHEARD_OF) for name in others]
    rows = [frame]
    for name, value in cells:
        cell = pd.Series([value], index=frame.index, dtype=frame[name].dtype)
        rows.append(frame.assign(**{name: cell}))
    return Table(pd.concat(rows, ignore_index=True), table.dataset)


def _metrics(record: RunRecord, parity: dict[str, Any]) -> bytes:
    judgement = json.loads(record.judgement.model_dump_json()) if record.judgement else {}
    # Slices of few rows could be about persons one knows: they do not leave the run.
    judgement["slices"] = [part for part in judgement["slices"] if part["n"] >= MIN_SLICE]
    judgement["noise_floor"] = record.data.noise_floor
    judgement["unit"] = record.data.unit
    judgement["parity"] = parity
    return (json.dumps(judgement, indent=1) + "\n").encode()


def _replace(folder: Path, contents: dict[str, bytes], record: RunRecord) -> Path:
    """Put a new bundle in the place of an old one.

    What fails on the way leaves the old one as it was.
    """
    try:
        with folder_written_whole(folder) as new:
            for name, content in contents.items():
                (new / name).write_bytes(content)
            seals.seal(
                new,
                studperf=studperf.__version__,
                run=record.name,
                model=record.model,
                created=now(),
                data_md5=record.data.md5,
                is_simulated=record.data.is_simulated,
                split_sha256=record.data.split_sha256,
                weights_sha256=record.weights_sha256,
            )
            seals.verify(new)
    except OSError as error:
        raise ExportError(f"{folder}: can't be written: {error.strerror}") from error
    return folder
