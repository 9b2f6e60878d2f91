"""What does a whole run cost, from the shell and back?

Fresh processes, bytecode compiled, W&B disabled. Peers: a project on a popular Lightning-Hydra template's structure (peers/template), and
the floor (peers/floor.py): imports of torch and lightning, the raw loop, a score on test; no checks, no baselines, nothing on disk.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from common import (
    CSV,
    Bar,
    Lane,
    Options,
    Report,
    Values,
    interleave,
    ratio,
    run_script,
    timed_process,
)

PEERS = Path(__file__).parent / "peers"
OURS, TEMPLATE, FLOOR = "studperf", "Lightning-Hydra template", "floor"
_PEER_ENV = {"PYTHONPATH": str(PEERS.parent)}
_PARTS = ("fit", "judge", "plots")
_LEAST = {32: 0.4, 256: 0.75}
"""Batch size -> what a run may cost at most, by the template's."""


def write_table(folder: str, n_rows: int) -> Values:
    """A simulated `table.csv`; in a process of its own, for memory that this one holds is counted as its children's."""
    from studperf.config.load import load_overrides
    from studperf.data.simulate import simulate

    frame = simulate(load_overrides(["data=simulated", f"data.source.simulate.rows={n_rows}"]).data)
    frame.to_csv(Path(folder) / "table.csv", index=False)
    return {}


def commands(table: Path, batch_size: int, n_epochs: int) -> dict[str, list[str]]:
    """Contender -> its command."""
    python, epochs = sys.executable, f"trainer.max_epochs={n_epochs}"
    ours = [
        "-m",
        "studperf.train",
        "model=mlp",
        epochs,
        f"batch_size={batch_size}",
        f"data.source.path={table}",
    ]
    template = [
        str(PEERS / "template" / "train.py"),
        f"data.path={table}",
        f"data.batch_size={batch_size}",
        epochs,
    ]
    return {
        OURS: [python, *ours, "trainer.accelerator=cpu", f"monitor.patience={n_epochs}"],
        TEMPLATE: [python, *template],
        FLOOR: [python, str(PEERS / "floor.py"), str(table), str(batch_size), str(n_epochs)],
    }


def measure(options: Options) -> list[Report]:
    """Whole runs at two batch sizes, then what answers before anything is trained."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, is_real = CSV, CSV.is_file() and not options.quick
        if not is_real:
            lane = Lane()
            lane.run(write_table, name, 400 if options.quick else 8000)
            lane.close()
            table = folder / "table.csv"
        batch_sizes = (256,) if options.quick else (256, 32)
        n_epochs = 2 if options.quick else 30
        runs = [
            whole_runs(table, batch_size, n_epochs, options, folder) for batch_size in batch_sizes
        ]
        questions = (
            list(START_UP)[:1] if options.quick else START_UP
        )  # the template imports all it has to answer one
        return [*runs, *(start_up(table, what, options, folder) for what in questions)]


def whole_runs(
    table: Path, batch_size: int, n_epochs: int, options: Options, folder: Path
) -> Report:
    """Whole processes at one batch size."""
    found = commands(table, batch_size, n_epochs)
    contenders: dict[str, Callable[[], Values]] = {
        name: partial(timed_process, command, cwd=folder, env=env_of(name))
        for name, command in found.items()
    }
    contenders[OURS] = partial(timed_run, found[OURS], folder)
    if not options.quick:
        for contender in contenders.values():
            contender()  # compiles bytecode, fills the page cache
    rounds = interleave(contenders, options.rounds)
    bars: tuple[Bar, ...] = ()
    if not options.quick:
        bars = (
            Bar(
                f"{OURS} / {TEMPLATE}",
                ratio(rounds, OURS, TEMPLATE, "wall s"),
                at_most=_LEAST[batch_size],
            ),
            Bar(f"{OURS} / {FLOOR}", ratio(rounds, OURS, FLOOR, "wall s"), at_most=1.3),
        )
    data = "the real table" if table == CSV else "a simulated table"
    return Report(
        title=f"a whole run: batch {batch_size}, {n_epochs} epochs of {data}",
        rounds=rounds,
        columns=("wall s", "CPU s", "peak MB", *(f"{part} s" for part in _PARTS)),
        against=FLOOR,
        bars=bars,
        notes=(
            "studperf checks the table, guards against leaks, fits baselines, judges with intervals, draws four plots and keeps a record.",
        ),
        ratios=("CPU s", "peak MB"),
    )


def timed_run(command: Sequence[str], folder: Path) -> Values:
    """A run of ours, and what its record says of its parts."""
    values = timed_process(command, cwd=folder)
    newest = max(folder.glob("runs/*/record.json"), key=lambda path: path.stat().st_mtime)
    timings = json.loads(newest.read_text(encoding="utf-8"))["timings_s"]
    return values | {f"{part} s": float(timings[part]) for part in _PARTS}


START_UP: dict[str, tuple[list[str], int, int | None]] = {
    "--cfg job": (["--cfg", "job"], 0, 0),
    "--help": (["--help"], 0, 0),
    "a key misspelt": (["trainer.max_epoch=5"], 2, 1),
    "a job, described": (["cloud=vertex", "cloud.dry_run=true", "data=simulated"], 0, None),
}
"""What is asked -> the words for it, studperf's exit code, the template's; None where the template has no such thing and shows --cfg job."""


def start_up(table: Path, what: str, options: Options, folder: Path) -> Report:
    """Commands that train nothing; the template stands for any Hydra script that imports at its top."""
    words, code, peer_code = START_UP[what]
    peer_words = words if peer_code is not None else START_UP["--cfg job"][0]
    ours = [sys.executable, "-m", "studperf.train", *words]
    template = [
        sys.executable,
        str(PEERS / "template" / "train.py"),
        f"data.path={table}",
        *peer_words,
    ]
    contenders = {
        OURS: partial(timed_process, ours, cwd=folder, env=env_of(OURS), code=code),
        TEMPLATE: partial(
            timed_process, template, cwd=folder, env=env_of(TEMPLATE), code=peer_code or 0
        ),
    }
    rounds = interleave(contenders, options.rounds)
    return Report(
        title=what,
        rounds=rounds,
        columns=("wall s", "CPU s", "peak MB"),
        against=TEMPLATE,
        ratios=("CPU s", "peak MB"),
    )


def env_of(name: str) -> dict[str, str]:
    """Peers are found below benchmarks/; studperf is installed."""
    return {} if name == OURS else _PEER_ENV


if __name__ == "__main__":
    run_script(measure)
