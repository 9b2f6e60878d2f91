"""Experiments on tabular data: tracked, judged against baselines, guarded against leaks.

For notebooks and scripts, in the words of the command line:

    import studperf

    run = studperf.fit("data=my", "model=mlp", "trainer.max_epochs=30")
    run.verdict, run.scores["rmse"], run.folder
    studperf.load("runs/FOLDER").predict(frame)
    studperf.rank("runs/A", "runs/B")
    studperf.compose("model=tabm")

Importing it imports nothing else; errors are `studperf.errors.StudperfError`s, in the words of the
terminal.
"""

from studperf.cli.telemetry import switch_off as _switch_off

# Type checkers take it for true. Importing it from `typing` would cost each command a package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from studperf.train.door import Run, compose, fit, load, rank

__all__ = ["Run", "compose", "fit", "load", "rank"]
__version__ = "0.1.0"

# Here, as whatever is imported from this package, by a command or by somebody's script, comes later.
_switch_off()


def __getattr__(name: str) -> object:
    if name in __all__:
        from studperf.train import door

        return getattr(door, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
