"""A finished run, read back from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.config.load import load
from studperf.errors import RunError

if TYPE_CHECKING:
    from studperf.config.run import RunConfig
    from studperf.data.encode import Encoder
    from studperf.data.rows import Rows
    from studperf.data.schema import Table
    from studperf.record.record import RunRecord
    from studperf.scoring.metrics import FloatArray
    from studperf.train.learner import Model

_N_TRIED = 100_000


@dataclass(frozen=True)
class FinishedRun:
    """A finished run with its model, ready to predict."""

    folder: Path
    record: RunRecord
    config: RunConfig
    encoder: Encoder
    module: Model

    @classmethod
    def load(cls, folder: Path) -> FinishedRun:
        """Read a run's folder.

        Raises:
            RunError: the folder is no run, the run has not finished, or its weights are not those
                of the record.
        """
        from studperf.record.files import read_encoder
        from studperf.record.record import RunRecord

        record = RunRecord.load(folder)  # refuses what is no run, before torch is imported
        if record.status != "finished" or record.judgement is None:
            raise RunError(
                f"{folder}: is {record.status}; go on with it first: "
                f"python -m studperf.train resume={folder}"
            )
        config = load(record.config, is_trusted=False)

        import torch

        from studperf.train.choice import read_model

        encoder = read_encoder(folder)
        # The order of a sum depends on the number of threads, and the recorded numbers are to be
        # found to the last bit.
        torch.set_num_threads(record.hardware.n_threads if record.hardware else 1)
        module, sha256 = read_model(config, encoder.features, folder)
        if sha256 != record.weights_sha256:
            raise RunError(
                f"{folder}: the weights have sha256 {sha256}, "
                f"the record says {record.weights_sha256}: the file was changed"
            )
        return cls(folder, record, config, encoder, module)

    def predict(self, table: Table) -> FloatArray:
        """Return the predictions, (N,), in the target's unit."""
        from studperf.data.tensors import encode_table

        return self.module.predict_rows(encode_table(table, self.encoder))

    def read_scored(self) -> list[Table]:
        """Return the rows that the run was scored on, and val, read from their source again.

        Of large parts these are the first rows.

        Raises:
            RunError: the rows are others now, or fall into other parts.
        """
        from studperf.data.rows import open_good_rows

        facts = self.record.data
        with open_good_rows(self.config.data) as rows:
            origin = rows.origin
            if origin.md5 != facts.md5 or origin.is_simulated != facts.is_simulated:
                was = _name_rows(facts.md5)
                now = _name_rows(origin.md5)
                raise RunError(
                    f"{self.folder}: the run was trained on {was}, "
                    f"and {facts.path or 'its source'} now gives {now}; bring the rows back"
                )
            if rows.split.sha256 != facts.split_sha256:
                raise RunError(
                    f"{self.folder}: these rows split differently than when the run was recorded "
                    f"({rows.split.sha256})"
                )
            return scored_tables(rows, self.record)


def _name_rows(md5: str | None) -> str:
    """Return a message's name of rows: their md5, or that they are simulated."""
    return f"md5 {md5}" if md5 else "simulated rows"


def scored_tables(rows: Rows, record: RunRecord) -> list[Table]:
    """Return val and, if it was opened, test, with their rows in the order of predictions.

    Of large parts these are the first `_N_TRIED` rows.
    """
    parts = [rows.split.val]
    if record.judgement is not None and record.judgement.scored_on == "test":
        parts.append(rows.split.test)
    return [rows.table(part[:_N_TRIED]) for part in parts]
