"""Reads studies.

python -m studperf.sweeps list
python -m studperf.sweeps show STUDY
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.cli.command import read_keys, read_words
from studperf.cli.process import make_console, run_command
from studperf.config.console import print_line
from studperf.errors import ConfigError, counted

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.sweeps.view.archive import Saved

_USAGE = """Reads studies.

  python -m studperf.sweeps list              all studies below runs/sweeps, and those of STUDPERF_STORAGE
  python -m studperf.sweeps show STUDY        its trials, what mattered, and its winner
  python -m studperf.sweeps best STUDY        the command that repeats its winner, or its best trial
  python -m studperf.sweeps report STUDY      a page about it: report.html in its folder
  python -m studperf.sweeps export STUDY      trials.csv and best.yaml in its folder
  python -m studperf.sweeps delete STUDY      the study and the folders of its trials

STUDY is a name or a folder. runs=FOLDER says where studies lie; STUDPERF_STORAGE=ADDRESS names the database of shared ones.
optuna-dashboard opens the same storage: optuna-dashboard runs/sweeps/STUDY/study.journal, or with the database's address.
Flags: --debug shows tracebacks."""


def show_list(studies: list[Saved], console: Console) -> None:
    """Print a line for each study."""
    from rich.table import Table

    from studperf.report.views.study import DONE
    from studperf.scoring.numbers import short_number

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("study", "done", "best", "ended otherwise", "winner"):
        table.add_column(name, overflow="fold")
    for saved in studies:
        done = f"{saved.n_done}/{saved.facts.get('total', '?')}"

        best = saved.best
        best_text = ""
        if best is not None:
            best_text = f"{short_number(best.values[0])} {saved.objectives[0]}"

        counts = {kind: n for kind, n in saved.counts.items() if n and kind not in DONE}
        otherwise = ", ".join(f"{n} {kind}" for kind, n in counts.items())

        winner = saved.facts.get("winner")
        winner_text = f"trial {winner['trial']}" if winner else ""
        table.add_row(saved.name, done, best_text, otherwise, winner_text)
    console.print(table if studies else "There are no studies here.")


def show(saved: Saved, console: Console) -> None:
    """Print the trials of a study, the importance of its parameters, and its winner."""
    from studperf.sweeps.view.archive import view_study
    from studperf.sweeps.view.terminal import show_winner, trial_table

    view = view_study(saved)
    console.print(f"{view.name}: " + ", ".join(view.told_counts))
    console.print(trial_table(view.trials, view.trials.trials))

    if view.shares:
        n_complete = view.counts["complete"]
        parts = [f"{name} {share:.0%}" for name, share in view.shares.items()]
        print_line(console, f"What mattered, by {n_complete} trials: " + ", ".join(parts))
    if view.winner is not None:
        show_winner(view.winner, console)


def show_best(saved: Saved, console: Console) -> None:
    """Print the command line that repeats the winner, or the best trial."""
    from studperf.sweeps.view.archive import repeat_command

    print_line(console, repeat_command(saved))


def write_report(saved: Saved, console: Console) -> None:
    """Write the page about a study."""
    from studperf.sweeps.view.archive import write_page

    print_line(console, f"Written: {write_page(saved)}")


def export(saved: Saved, console: Console) -> None:
    """Write the trials and the best one as files for other programs."""
    import yaml

    from studperf.config.files import write_atomically
    from studperf.sweeps.view.archive import repeat_command, rows

    saved.folder.mkdir(parents=True, exist_ok=True)
    header, lines = rows(saved)
    trials_csv = saved.folder / "trials.csv"
    with trials_csv.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)
    print_line(console, f"Written: {trials_csv} ({counted(len(lines), 'trial')})")

    best = saved.best
    if best is None:
        return
    facts = {
        "trial": best.number,
        "values": list(best.values),
        "words": best.user_attrs["words"],
        "command": repeat_command(saved),
    }
    best_yaml = saved.folder / "best.yaml"
    write_atomically(best_yaml, yaml.safe_dump(facts, sort_keys=False))
    print_line(console, f"Written: {best_yaml}")


def delete(saved: Saved, console: Console) -> None:
    """Delete a study and the folders of its trials."""
    import optuna

    optuna.delete_study(study_name=saved.name, storage=saved.optuna._storage)  # noqa: SLF001 - the storage it was opened with
    shutil.rmtree(saved.folder, ignore_errors=True)
    print_line(console, f"Deleted: the study {saved.name} and {saved.folder}")


_COMMANDS: dict[str, Callable[[Saved, Console], None]] = {
    "show": show,
    "best": show_best,
    "report": write_report,
    "export": export,
    "delete": delete,
}


def main() -> None:
    """Run the command that the first word names.

    Raises:
        ConfigError: the command line names no command, no study or several.
    """
    from studperf.config.faults import unknown_key

    words = read_words(_USAGE)
    if words is None:
        return

    # A study's folder may hold a = as well.
    keys = [word for word in words if "=" in word and not Path(word).is_dir()]
    given = read_keys(keys, ["runs"])
    words = [word for word in words if "=" not in word or Path(word).is_dir()]
    if not words:
        raise ConfigError(f"name a command: list, {', '.join(_COMMANDS)}\n\n{_USAGE}")

    name, *studies = words
    if name != "list" and name not in _COMMANDS:
        raise ConfigError(f"{name}: {unknown_key(name, ['list', *_COMMANDS])}")

    runs = Path(given.get("runs", "runs"))
    if "runs" in given and not runs.is_dir():
        raise ConfigError(f"runs={runs}: there is no such folder")
    if name == "list" and studies:
        raise ConfigError(
            f"list takes no study, got {' '.join(studies)}; "
            f"to see one: python -m studperf.sweeps show {studies[0]}"
        )
    if name != "list" and len(studies) != 1:
        got = f", got {len(studies)}: {' '.join(studies)}" if studies else ""
        raise ConfigError(f"name one study{got}; say: python -m studperf.sweeps {name} STUDY")

    from studperf.sweeps.view.archive import find_studies, find_study

    console = make_console()
    if name == "list":
        show_list(find_studies(runs), console)
    else:
        _COMMANDS[name](find_study(studies[0], runs), console)


if __name__ == "__main__":
    run_command(main)
