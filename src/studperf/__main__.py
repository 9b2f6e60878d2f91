"""The `studperf` command: `studperf train model=mlp` is `python -m studperf.train model=mlp`."""

from __future__ import annotations

import runpy
import sys

_COMMANDS = {
    "train": "studperf.train",
    "evaluate": "studperf.evaluate",
    "compare": "studperf.compare",
    "reproduce": "studperf.reproduce",
    "report": "studperf.report",
    "export": "studperf.export",
    "bundle": "studperf.bundle",
    "serve": "studperf.serving",
    "data": "studperf.data",
    "sweeps": "studperf.sweeps",
    "tracking": "studperf.tracking",
    "cloud": "studperf.cloud",
}
"""Each command, and the module that is run for it."""
_USAGE = """Experiments on tabular data: tracked, judged against baselines, guarded against leaks.

  studperf train       a model, trained, judged and recorded; with -m several of them, or a study
  studperf evaluate    scores a finished run again, on its test rows or on another file
  studperf compare     sets runs side by side, and says which differences are noise
  studperf reproduce   runs a finished run again, and says IDENTICAL or what differs first
  studperf report      pages about a run, or about all of them
  studperf export      the bundle of a run: all that predicting needs
  studperf bundle      checks a bundle, shows it, predicts with it
  studperf serve       serves a bundle's predictions over HTTP
  studperf data        checks, describes, simulates and fetches tables; writes the YAML of a new one
  studperf sweeps      shows studies: trials, what mattered, the winner
  studperf tracking    uploads what was recorded offline; keeps the W&B dashboard
  studperf cloud       jobs on Vertex AI: their state, logs and results, and what is missing

Each answers to --help. --version prints studperf's own.
`python -m studperf.train` does the same as `studperf train`, from any Python that has studperf."""


def start() -> None:
    """Run the command that the first word names, as `python -m` would; the script's entry."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""

    if name in _COMMANDS:
        # The command's own first line must come first in the process: it decides how the process
        # ends. So nothing else of studperf is imported before it.
        del sys.argv[1]
        runpy.run_module(_COMMANDS[name], run_name="__main__", alter_sys=True)
        return

    from studperf.cli.process import run_command

    run_command(main)


def main() -> None:
    """Print the list of commands, or the version.

    Raises:
        ConfigError: the first word is no command.
    """
    from studperf import __version__
    from studperf.cli.command import read_words
    from studperf.cli.process import make_console
    from studperf.config.console import print_line
    from studperf.config.faults import unknown_key
    from studperf.errors import ConfigError

    if sys.argv[1:] == ["--version"]:
        make_console().print(f"studperf {__version__}", highlight=False)
        return

    words = read_words(_USAGE, ["--version"])
    if words is None:
        return
    if words:
        raise ConfigError(f"{words[0]}: {unknown_key(words[0], _COMMANDS)}\n\n{_USAGE}")
    print_line(make_console(), _USAGE)


if __name__ == "__main__":
    start()
