"""Sets runs side by side and says which differences are noise.

python -m studperf.compare runs/A runs/B ...
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studperf.cli import end_at_once, make_console, run_command, split_words
from studperf.errors import RunError

if TYPE_CHECKING:
    from rich.table import Table

    from studperf.record import RunRecord

_USAGE = """Sets runs side by side: scores, paired intervals against the best, and which differences are noise.

  python -m studperf.compare runs/A runs/B ...

A folder that holds several runs, such as a multirun's, stands for all of them. Flags: --debug shows tracebacks."""


def compare(runs: list[tuple[Path, RunRecord]]) -> Table:
    """A row for each run, best first, with the RMSE difference to the best and whether it is noise.

    Runs scored on the same rows are compared in pairs; others by the intervals of two independent samples, and marked so.

    Raises:
        RunError: a run was not scored, or the runs predict different targets.
    """
    from rich.table import Table

    from studperf.metrics import paired_difference, unpaired_difference
    from studperf.record import read_predictions
    from studperf.report import interval_text

    for folder, record in runs:
        if record.judgement is None:
            raise RunError(f"{folder}: is {record.status} and was not scored; go on with it first: studperf.train resume={folder}")
    if len({(record.data.target, record.data.unit) for _, record in runs}) > 1:
        raise RunError("these runs predict different targets: " + ", ".join(sorted({r.data.target for _, r in runs})))
    scored = []
    for folder, record in runs:
        judgement = record.judgement
        if judgement is not None:
            frame = read_predictions(folder)
            frame = frame[frame["split"] == judgement.scored_on]
            scored.append((judgement.scores.rmse.value, folder, record, judgement, frame))
    scored.sort(key=lambda row: row[0])
    _, _, best_record, best_judgement, best_frame = scored[0]
    table = Table(title="Runs, best first", title_justify="left")
    for name in ("run", "model", "seed", "RMSE", "MAE", "against the best", ""):
        table.add_column(name, justify="left" if name in ("run", "model", "") else "right", overflow="fold")
    for i, (_, folder, record, judgement, frame) in enumerate(scored):
        difference, remark = "", "best"
        if i:
            same_rows = (
                record.data.split_sha256 == best_record.data.split_sha256
                and record.data.md5 == best_record.data.md5
                and judgement.scored_on == best_judgement.scored_on
                and frame["actual"].to_numpy().tolist() == best_frame["actual"].to_numpy().tolist()
            )
            predicted, actual = frame["predicted"].to_numpy(), frame["actual"].to_numpy()
            if same_rows:
                interval = paired_difference(predicted, best_frame["predicted"].to_numpy(), actual)
            else:
                interval = unpaired_difference((predicted, actual), (best_frame["predicted"].to_numpy(), best_frame["actual"].to_numpy()))
            difference = interval_text(interval, digits=3)
            remark = ("worse" if interval.low > 0 else "noise") + ("" if same_rows else " (other rows, unpaired)")
        scores = judgement.scores
        table.add_row(
            str(folder),
            record.model,
            str(record.seed),
            interval_text(scores.rmse, digits=3),
            interval_text(scores.mae, digits=3),
            difference,
            remark,
        )
    return table


def main() -> None:
    """The command."""
    flags, words = split_words()
    console = make_console()
    if {"-h", "--help"} & set(flags):
        console.print(_USAGE, markup=False)
        return
    if not words:
        raise RunError(f"name the runs to compare.\n\n{_USAGE}")
    from studperf.summary import find_runs

    runs = find_runs([Path(word) for word in words])
    console.print(compare(runs))
    if len(runs) > 1:
        console.print("noise: the 95 % interval of the difference in RMSE holds 0", style="dim")


if __name__ == "__main__":
    end_at_once()
    run_command(main)
