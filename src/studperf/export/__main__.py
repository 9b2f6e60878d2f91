"""The command that writes the bundle of a finished run.

python -m studperf.export run=runs/FOLDER
"""

from __future__ import annotations

from pathlib import Path

from studperf.cli.command import read_keys, read_words
from studperf.cli.process import make_console, run_command
from studperf.config.console import print_line
from studperf.errors import ConfigError

_USAGE = """Writes the bundle of a finished run to runs/FOLDER/bundle: weights, encoder, schema, ONNX graph, metrics, card, manifest.

  python -m studperf.export run=runs/FOLDER

The graph takes raw columns and is tried on the run's own rows, so these must still be where they were.
export=true in studperf.train does the same at the end of the run. Flags: --debug shows tracebacks."""


def main() -> None:
    """Run the command."""
    if (words := read_words(_USAGE)) is None:
        return
    given = read_keys(words, ["run"])
    if "run" not in given:
        raise ConfigError(f"name the run: run=runs/FOLDER\n\n{_USAGE}")
    from studperf.record.record import RunRecord

    RunRecord.load(Path(given["run"]))  # refused, if it is, before torch is imported
    from studperf.export.write import export_run

    console = make_console()
    with console.status("exporting"):
        folder = export_run(Path(given["run"]))
    size = sum(file.stat().st_size for file in folder.iterdir())
    print_line(
        console,
        f"Wrote {folder} ({size / 1e6:.2f} MB). Try it: python -m studperf.bundle show {folder}",
    )


if __name__ == "__main__":
    run_command(main)
