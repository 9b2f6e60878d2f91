"""The command that writes pages about runs, from their records alone.

python -m studperf.report run=runs/FOLDER
python -m studperf.report runs=runs/
"""

from __future__ import annotations

from pathlib import Path

from studperf.cli.command import is_on, read_keys, read_words
from studperf.cli.process import check_output, make_console, run_command
from studperf.config.console import print_line
from studperf.errors import ConfigError, RunError

_USAGE = """Pages about runs, from their records alone: one HTML file each, which asks no other site for anything.

  python -m studperf.report run=runs/FOLDER    one run: runs/FOLDER/report.html, and its model card runs/FOLDER/card.md
  python -m studperf.report runs=runs/         all runs below a folder: leaderboard, curves, choices; in runs/report.html

out=FILE writes the page elsewhere; open=true shows it in the browser. Flags: --debug shows tracebacks."""
_KEYS = ("run", "runs", "out", "open")


def report_run(folder: Path, out: Path | None) -> list[Path]:
    """Write the page and the card of one run, and return their paths.

    Raises:
        RunError: the folder is no run.
    """
    from studperf.record.record import RunRecord
    from studperf.report.pages.card import write_card
    from studperf.report.pages.run import render_run

    record = RunRecord.load(folder)
    page = out or folder / "report.html"
    card = folder / "card.md"
    _write(page, render_run(record, folder))
    _write(card, write_card(record))
    return [page, card]


def report_runs(folder: Path, out: Path | None) -> list[Path]:
    """Write the page over all runs below a folder, and return its path.

    Raises:
        RunError: there is none.
    """
    from studperf.judge.ranking import find_runs
    from studperf.report.pages.runs import render_runs

    page = out or folder / "report.html"
    _write(page, render_runs(find_runs([folder]), folder))
    return [page]


def _write(path: Path, text: str) -> None:
    from studperf.config.files import write_atomically

    try:
        write_atomically(path, text)
    except OSError as error:
        raise RunError(f"{path}: can't be written: {error.strerror}") from error


def main() -> None:
    """Run the command."""
    if (words := read_words(_USAGE)) is None:
        return
    given = read_keys(words, _KEYS)
    is_opened = is_on(given, "open")
    if ("run" in given) == ("runs" in given):
        raise ConfigError(
            f"name one run with run=runs/FOLDER, or a folder of runs with runs=runs/\n\n{_USAGE}"
        )
    out = Path(given["out"]) if "out" in given else None
    if out is not None:
        check_output("out", out, is_file=True)
    if "run" in given:
        pages = report_run(Path(given["run"]), out)
    else:
        pages = report_runs(Path(given["runs"]), out)
    for page in pages:
        print_line(make_console(), f"Wrote {page}")
    if is_opened:
        import webbrowser

        webbrowser.open(pages[0].resolve().as_uri())


if __name__ == "__main__":
    run_command(main)
