"""Rows of a table that is read at once, by pandas: what reading in chunks is held against."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from studperf.config.dataset import Dataset
from studperf.config.run import Encode
from studperf.data.encode import Encoder
from studperf.data.hashes import Hashes, hash_features
from studperf.data.schema import Table, inspect_table
from studperf.data.simulate import simulate
from studperf.data.source import Provenance, find_origin, find_source, read_file
from studperf.data.split import Split, split_rows, split_table
from studperf.data.tensors import EncodedTable, encode_table


def read_source(dataset: Dataset) -> tuple[pd.DataFrame, Provenance]:
    """Return the dataset's raw table and its origin."""
    path = find_source(dataset)
    frame = simulate(dataset) if path is None else read_file(path, dataset.source)
    return frame, find_origin(dataset)


class PlainRows:
    """What `studperf.data.rows.Rows` offers, without its engine."""

    def __init__(self, dataset: Dataset) -> None:
        raw, self.origin = read_source(dataset)
        self._table, self.findings = inspect_table(raw, dataset)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def split(self) -> Split:
        return split_table(self._table)

    def table(self, index: np.ndarray) -> Table:
        return self._table.rows(index)

    def target(self, index: np.ndarray) -> np.ndarray:
        return np.asarray(self._table.target[index])

    def numbers(self, index: np.ndarray) -> np.ndarray:
        return np.asarray(self._table.frame.index[index]) + 1

    def hashes(self, index: np.ndarray) -> Hashes:
        return hash_features(self._table.rows(index))

    def fit(self, encode: Encode) -> Encoder:
        return Encoder.fit(self._table.rows(self.split.train), encode)

    def encode(self, encoder: Encoder) -> EncodedTable:
        return encode_parts(split_rows(self._table, self.split), encoder)


def encode_parts(parts: Mapping[str, Table], encoder: Encoder) -> EncodedTable:
    """Return the encoded rows of tables, one after the other."""
    encoded = [encode_table(part, encoder) for part in parts.values()]
    ends = np.cumsum([len(part) for part in parts.values()])
    rows = {
        name: torch.arange(end - len(part), end)
        for (name, part), end in zip(parts.items(), ends, strict=True)
    }
    return EncodedTable(*(torch.cat(tensors) for tensors in zip(*encoded, strict=True)), rows=rows)
