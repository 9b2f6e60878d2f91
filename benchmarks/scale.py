"""Does it hold at ten million rows: file to tensors, its memory, and an epoch's cost per row?

The table is drawn column by column from the real one (else from the simulator), with a target that follows the students' law, so that
there are no equal rows. Each measurement runs in a fresh process. Peer: pandas.read_csv or read_parquet, train_test_split, and a
ColumnTransformer(StandardScaler, OneHotEncoder) fitted on the training rows and applied to all, as float32; it checks nothing.
"""

from __future__ import annotations

import contextlib
import io
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from common import Bar, Lane, Options, Report, Values, interleave, open_lanes, ratio, run_script

OURS, PEER = "studperf", "pandas + ColumnTransformer"
_MANY, _FEW = 10_000_000, 100_000
_STEP = 500_000
_BATCH_SIZE = 8192
_N_ROUNDS = 3
Runner = Callable[..., Values]
_SHARE, _ABOVE = "peak MB above imports / tensors MB", "peak MB above imports"


def measure(options: Options) -> list[Report]:
    """Encoding from both kinds of file, then epochs."""
    n_rows, n_few = (20_000, 5_000) if options.quick else (_MANY, _FEW)
    n_rounds = min(options.rounds, _N_ROUNDS)
    with tempfile.TemporaryDirectory() as name, open_runner(options) as run:
        folder = Path(name)
        for n in (n_few, n_rows):
            run(write_table, folder, n)
        encoded = [
            encode(run, folder / f"{n_rows}.{kind}", n_rows, n_rounds, options)
            for kind in ("csv", "parquet")
        ]
        return [*encoded, epochs(run, folder, (n_few, n_rows), n_rounds, options)]


def encode(run: Runner, path: Path, n_rows: int, n_rounds: int, options: Options) -> Report:
    """File to tensors, with the split and the statistics of the training rows."""
    contenders = {OURS: partial(run, encode_ours, path), PEER: partial(run, encode_peer, path)}
    rounds = interleave(contenders, n_rounds)
    bars: tuple[Bar, ...] = ()
    if not options.quick:
        bars = (
            Bar(f"{PEER} / {OURS}, wall s", ratio(rounds, PEER, OURS, "wall s"), at_least=5),
            Bar(f"{OURS}, {_SHARE}", max(values[_SHARE] for values in rounds[OURS]), at_most=1.6),
        )
    return Report(
        title=f"{path.suffix[1:]} to tensors, {n_rows:,} rows x 22 features",
        rounds=rounds,
        columns=("wall s", "CPU s", _SHARE, "tensors MB", _ABOVE, "peak MB"),
        against=PEER,
        ratios=("CPU s",),
        bars=bars,
        notes=(
            f"At most {_N_ROUNDS} rounds, for one takes minutes. studperf reads in threads; its tensors hold codes, the peer's one-hot columns.",
        ),
    )


def epochs(
    run: Runner, folder: Path, sizes: tuple[int, int], n_rounds: int, options: Options
) -> Report:
    """An epoch's cost per training row, at few rows and at many."""
    contenders: dict[str, Callable[[], Values]] = {
        f"{n:,} rows": partial(run, time_epoch, folder / f"{n}.parquet") for n in sizes
    }
    rounds = interleave(contenders, n_rounds)
    few, many = contenders
    bars = (
        ()
        if options.quick
        else (Bar(f"{many} / {few}", ratio(rounds, many, few, "ns/row"), at_most=1.2),)
    )
    return Report(
        title=f"an epoch of the 64-32 MLP, batch {_BATCH_SIZE}",
        rounds=rounds,
        columns=("ns/row", "epoch s", "run CPU s", "run peak MB"),
        against=few,
        bars=bars,
        notes=(
            "The fastest epoch but the first, validation included. The whole run holds leak tests, baselines, a judgement and plots.",
        ),
    )


@contextlib.contextmanager
def open_runner(options: Options) -> Iterator[Runner]:
    """How each measurement is run: in a fresh process; with --quick, in one for all, for its imports take longer than the work."""
    if not options.quick:
        yield in_fresh_process
        return
    with open_lanes(["all"], options) as lanes:
        yield lanes["all"].run


def in_fresh_process(work: Callable[..., Values], *arguments: Any) -> Values:  # noqa: ANN401 - handed on to `work`
    """What `work` returns in a process that has done nothing yet."""
    lane = Lane()
    try:
        return lane.run(work, *arguments)
    finally:
        lane.close()


def write_table(folder: Path, n_rows: int) -> Values:
    """`<n_rows>.csv` and `<n_rows>.parquet`."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    tables = (pa.table(columns) for columns in draw(n_rows))
    first = next(tables)
    with (
        pyarrow.csv.CSVWriter(folder / f"{n_rows}.csv", first.schema) as csv,
        pq.ParquetWriter(folder / f"{n_rows}.parquet", first.schema) as parquet,
    ):
        for table in chain([first], tables):
            csv.write_table(table)
            parquet.write_table(table)
    return {}


def draw(n_rows: int) -> Iterator[dict[str, Any]]:
    """The table's columns, some rows at a time."""
    import numpy as np
    import pandas as pd

    from studperf.config.load import load_overrides
    from studperf.config.paths import find_file
    from studperf.data.simulate import simulate

    dataset = load_overrides(["data.source.simulate.rows=8000"]).data
    path, plan = find_file(str(dataset.source.path)), dataset.source.simulate
    if plan is None:
        raise ValueError("conf/data/students.yaml says nothing about simulation")
    real = pd.read_csv(path, keep_default_na=False) if path.is_file() else simulate(dataset)
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, _STEP):
        n = min(_STEP, n_rows - start)
        columns = {
            name: real[name].to_numpy()[rng.integers(0, len(real), n)] for name in real.columns
        }
        score = plan.intercept + rng.normal(0, plan.noise_sd, n)
        for name, weight in plan.law.items():
            score = score + weight * columns[name].astype(float)
        score = np.clip(np.round(score, 1), 0, 100)
        columns |= {"student_id": np.arange(start + 1, start + n + 1), dataset.target.column: score}
        for name, column in dataset.columns.items():
            if column.cut is not None:
                columns[name] = np.array(column.cut.labels)[
                    np.searchsorted(column.cut.at, score, side="right")
                ]
        yield columns


def encode_ours(path: Path) -> Values:
    """Checked, split and encoded, as `train` does it."""
    import torch  # noqa: F401 - an import, not to be counted

    from studperf.config.load import load_overrides
    from studperf.data.rows import open_good_rows

    config = load_overrides([f"data.source.path={path}"])
    clock = Clock()
    with open_good_rows(config.data) as rows:
        table = rows.encode(rows.fit(config.encode))
        return clock.read(table.n_bytes)


def encode_peer(path: Path) -> Values:
    """As one float32 array."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from studperf.config.load import load_overrides

    dataset = load_overrides([]).data
    clock = Clock()
    frame = (
        pd.read_parquet(path)
        if path.suffix == ".parquet"
        else pd.read_csv(path, keep_default_na=False, na_values=[""])
    )
    target = frame[dataset.target.column].to_numpy(dtype=np.float32)
    train, _ = train_test_split(np.arange(len(frame)), test_size=0.2, random_state=42)
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), list(dataset.of_kind("number"))),
            ("flags", "passthrough", list(dataset.of_kind("flag"))),
            (
                "categories",
                OneHotEncoder(sparse_output=False, dtype=np.float32),
                list(dataset.of_kind("category")),
            ),
        ]
    )
    columns.fit(frame.iloc[train])
    x = columns.transform(frame).astype(np.float32)
    return clock.read(x.nbytes + target.nbytes)


def time_epoch(path: Path) -> Values:
    """A run of three epochs."""
    from studperf.config.load import load_overrides
    from studperf.train.run import run

    clock = Clock()
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as runs,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        words = [
            f"data.source.path={path}",
            f"batch_size={_BATCH_SIZE}",
            "trainer.max_epochs=3",
            "progress=false",
            f"runs={runs}",
        ]
        record = run(load_overrides(words))
    epoch_s = min(
        float(after["seconds"]) - float(before["seconds"])
        for before, after in pairwise(record.history)
    )
    spent = clock.read(1)
    per_row = epoch_s / record.data.n_train * 1e9
    return {
        "ns/row": per_row,
        "epoch s": epoch_s,
        "run CPU s": spent["CPU s"],
        "run peak MB": spent["peak MB"],
    }


class Clock:
    """Seconds and peak memory from here on."""

    def __init__(self) -> None:
        self.held = _peak_mb()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self, n_bytes: int) -> Values:
        """So far; `n_bytes` is what the tensors take."""
        wall, cpu, peak = (
            time.perf_counter() - self.wall,
            time.process_time() - self.cpu,
            _peak_mb(),
        )
        above, tensors = peak - self.held, n_bytes / 2**20
        return {
            "wall s": wall,
            "CPU s": cpu,
            _SHARE: above / tensors,
            "tensors MB": tensors,
            _ABOVE: above,
            "peak MB": peak,
        }


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    run_script(measure)
