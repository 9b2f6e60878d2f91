"""The functions that `import studperf` offers to notebooks and scripts.

What they need is imported inside them, so that composing a configuration brings no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from studperf.config.run import RunConfig
    from studperf.record.record import RunRecord
    from studperf.record.shape import Judgement
    from studperf.scoring.metrics import Interval
    from studperf.train.finished import FinishedRun


@dataclass(frozen=True)
class Run:
    """A finished run: its verdict and scores, and predictions by its model.

    Attributes:
        folder: holds the record, the weights and the plots.
        record: all that `record.json` says.
    """

    folder: Path
    record: RunRecord

    @property
    def verdict(self) -> str:
        """The judgement against the baselines, in one line."""
        return self._judgement.verdict.line

    @property
    def scores(self) -> Mapping[str, Interval]:
        """Scores by name (rmse, mae, r2, bias), each with its 95 % interval."""
        scores = self._judgement.scores
        return {name: getattr(scores, name) for name in type(scores).model_fields}

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict raw rows.

        Args:
            frame: (N, columns) as the dataset describes them; the target may be missing.

        Returns:
            (N, 3) `prediction`, `low` and `high` in the target's unit, with the frame's index;
            `low` and `high` are left out where the run learnt no band.

        Raises:
            DataError: lists every column and cell that the model was not made for.
        """
        import pandas as pd

        from studperf.data.schema import check_table

        dataset = self._model.config.data
        table = check_table(frame, dataset, for_training=False)
        predicted = self._model.predict(table)

        columns = {"prediction": predicted}
        band = self._judgement.conformal
        if band is not None:
            columns["low"] = predicted - band.half_width
            columns["high"] = predicted + band.half_width
        return pd.DataFrame(columns, index=frame.index)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.record.model}, {self.verdict!r})"

    @property
    def _judgement(self) -> Judgement:
        judgement = self.record.judgement
        if judgement is None:
            from studperf.errors import RunError

            raise RunError(f"{self.folder}: the run was not judged")
        return judgement

    @cached_property
    def _model(self) -> FinishedRun:
        from studperf.cli.process import importing
        from studperf.train.finished import FinishedRun

        with importing():
            return FinishedRun.load(self.folder)


def compose(*overrides: str) -> RunConfig:
    """Compose and check a configuration.

    Args:
        overrides: `key=value` or `group=option`, as on the command line.

    Raises:
        ConfigError: lists every fault, with the nearest valid name.
    """
    from studperf.config.load import load_overrides

    return load_overrides(_words(overrides))


def fit(*overrides: str, verbose: bool = False) -> Run:
    """Train one model on one table, judge it and record it: `studperf train`.

    Args:
        overrides: `key=value` or `group=option`, as on the command line.
        verbose: print what the command prints, progress included.

    Raises:
        StudperfError: the configuration or the table was refused, or the run failed.
        Interrupted: stopped by Ctrl-C; the record says so.
    """
    from studperf.cli.process import importing, make_console
    from studperf.errors import ConfigError

    config = compose(*overrides)
    if config.repeat > 1 or config.resume is not None or config.cloud.name != "local":
        raise ConfigError(
            "studperf.fit trains one run here; "
            "repeat=, resume= and cloud= are for the command line: studperf train"
        )
    if not verbose:
        config = config.model_copy(update={"progress": False})

    with importing():
        from studperf.train.run import run

    console = make_console(is_quiet=not verbose)
    record = run(config, overrides=_words(overrides), console=console)
    return Run(Path(config.runs) / record.name, record)


def load(folder: str | PathLike[str]) -> Run:
    """Read a finished run back from its folder.

    Raises:
        RunError: the folder holds no run, or the run has not finished.
    """
    from studperf.errors import RunError
    from studperf.record.record import RunRecord

    path = Path(folder)
    record = RunRecord.load(path)
    if record.judgement is None:
        raise RunError(
            f"{path}: is {record.status}; go on with it first: studperf train resume={path}"
        )
    return Run(path, record)


def rank(*folders: str | PathLike[str]) -> pd.DataFrame:
    """Hold runs against each other, best first.

    Args:
        folders: of runs, or of several runs such as a multirun's.

    Returns:
        A row for each scored run: folder, model, seed, rmse, the difference to the best with its
        95 % interval, `place` (best, noise or worse), and `rows`: what it was scored on. Runs that
        were scored on other rows are ranked apart, below the first ones.

    Raises:
        RunError: a folder holds no run.
    """
    import pandas as pd

    from studperf.judge.ranking import find_runs, rank_apart

    ranking = rank_apart(find_runs([Path(folder) for folder in folders]))
    rows = []
    for group in ranking.groups:
        for standing in group.items:
            difference = standing.difference
            rows.append(
                {
                    "folder": str(standing.folder),
                    "model": standing.record.model,
                    "seed": standing.record.seed,
                    "rmse": standing.judgement.scores.rmse.value,
                    "difference": None if difference is None else difference.value,
                    "low": None if difference is None else difference.low,
                    "high": None if difference is None else difference.high,
                    "place": standing.place,
                    "rows": group.ground.text,
                }
            )
    return pd.DataFrame(rows)


def _words(overrides: Iterable[str]) -> list[str]:
    from studperf.errors import ConfigError

    words = list(overrides)
    for word in words:
        if not isinstance(word, str):
            raise ConfigError(f"{word!r}: must be text of the form key=value")
    return words
