"""What commands there are.

python -m studperf [--version]
"""

from __future__ import annotations

import sys

from studperf import __version__
from studperf.cli import make_console, read_words, run_command
from studperf.errors import ConfigError

_USAGE = """Experiments on tabular data: tracked, judged against baselines, guarded against leaks.

  python -m studperf.train       a model, trained, judged and recorded; with -m several of them, or a study
  python -m studperf.evaluate    scores a finished run again, on its test rows or on another file
  python -m studperf.compare     sets runs side by side, and says which differences are noise
  python -m studperf.reproduce   runs a finished run again, and says IDENTICAL or what differs first
  python -m studperf.report      pages about a run, or about all of them
  python -m studperf.export      the bundle of a run: all that predicting needs
  python -m studperf.bundle      checks a bundle, shows it, predicts with it
  python -m studperf.serving     serves a bundle's predictions over HTTP
  python -m studperf.data        checks, describes, simulates and fetches tables; writes the YAML of a new one
  python -m studperf.sweeps      shows studies: trials, what mattered, the winner
  python -m studperf.tracking    uploads what was recorded offline; keeps the W&B dashboard
  python -m studperf.cloud       jobs on Vertex AI: their state, logs and results, and what is missing

Each answers to --help. --version tells studperf's own."""


def main() -> None:
    """The command."""
    if sys.argv[1:] == ["--version"]:
        make_console().print(f"studperf {__version__}", highlight=False)
        return
    words = read_words(_USAGE, ["--version"])
    if words:
        raise ConfigError(
            f"{words[0]}: a command is written with a dot: python -m studperf.COMMAND\n\n{_USAGE}"
        )
    if words is not None:
        make_console().print(_USAGE, markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
