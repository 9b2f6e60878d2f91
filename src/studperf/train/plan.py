"""The plan of a multirun: every run that it is to make, written before the first one begins.

With it a resumed multirun finds the runs that were never begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hydra.experimental.callback import Callback

from studperf.config.interpolation import typed_words
from studperf.config.load import compose, load
from studperf.config.study import is_plain_multirun
from studperf.errors import ConfigError, RunError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from studperf.config.run import RunConfig

PLAN = "plan.yaml"
# Holds the words and the configuration of the runs of `repeat=`.
REPEAT = "repeat.yaml"
_OUR_MODELS = "studperf.models."
_NAMES_CODE = "_target_"
_INTERPOLATES = "${"


@dataclass(frozen=True)
class Planned:
    """A run of a multirun, or the several of one that `repeat=` stands for.

    Args:
        number: its place in the multirun, from 0; the names of its folders begin with it.
        words: as Hydra takes them, its value of each sweep among them.
        n_runs: how many seeds it is trained with.
    """

    number: int
    words: tuple[str, ...]
    n_runs: int

    @property
    def plain_words(self) -> list[str]:
        """The run's words as a record has them."""
        return [word.lstrip("+") for word in self.words]

    def find_begun(self, folder: Path) -> list[Path]:
        """Return the folders of its runs that have begun."""
        from studperf.record.files import RECORD

        records = folder.glob(f"{self.number}_*/{RECORD}")
        return sorted(record.parent for record in records)

    def compose(self, folder: Path) -> RunConfig:
        """Return the run's configuration, composed from its words as on the first day.

        Args:
            folder: the multirun's, which messages name.

        Raises:
            RunError: its words name code, or what the environment holds: these are for a person to
                type, not for a file to bring.
            ConfigError: the configuration is refused, or can't be composed any more.
        """
        config = _compose_words(self.words)
        if config is None:
            raise RunError(
                f"{folder / PLAN}: run {self.number} was asked for with a word that is not taken "
                "from a file; "
                f"start it yourself: python -m studperf.train {' '.join(self.plain_words)}"
            )
        return config


@dataclass(frozen=True)
class Plan:
    """All runs of a multirun, in Hydra's order."""

    runs: tuple[Planned, ...]

    @classmethod
    def of_sweep(cls, sweeps: Sequence[Sequence[str]], *, repeat: int) -> Self:
        """Return the plan of these runs.

        Args:
            sweeps: the words of each.
            repeat: how many seeds each is trained with, where its words don't say.
        """
        runs = (
            Planned(number, tuple(words), _repeat_of(words, repeat))
            for number, words in enumerate(sweeps)
        )
        return cls(tuple(runs))

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read the plan of a multirun's folder, or None if none was written.

        Raises:
            RunError: it can't be read.
        """
        import yaml

        path = folder / PLAN
        if not path.is_file():
            return None
        try:
            plain = yaml.safe_load(path.read_text(encoding="utf-8"))
            sweeps = [[str(word) for word in run["words"]] for run in plain["runs"]]
            repeats = [int(run["repeat"]) for run in plain["runs"]]
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
            raise RunError(
                f"{path}: is no plan of a multirun: {type(error).__name__}; "
                "take it away, and the runs that have begun can be gone on with"
            ) from error
        if not sweeps:
            raise RunError(f"{path}: is no plan of a multirun: it names no run")
        runs: list[Planned] = []
        for words, n_runs in zip(sweeps, repeats, strict=True):
            runs.append(Planned(len(runs), tuple(words), n_runs))
        return cls(tuple(runs))

    def save(self, folder: Path) -> None:
        """Write the plan, whole or not at all."""
        import yaml

        from studperf.config.files import write_atomically

        runs = [{"words": list(run.words), "repeat": run.n_runs} for run in self.runs]
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / PLAN, yaml.safe_dump({"runs": runs}, allow_unicode=True))


class WritePlan(Callback):
    """Callback of Hydra's by which a multirun writes its plan.

    A study has its own place for what it will try.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401, ARG002 - Hydra's
        """Write the plan below the multirun's folder, before its first run is composed."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
        from hydra.core.override_parser.overrides_parser import OverridesParser

        sweeper = config.hydra.sweeper
        if not is_plain_multirun(sweeper._target_):
            return
        # As `BasicSweeper.sweep` does it: only so do the numbers of the runs agree.
        words = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
        words += typed_words(config.hydra)
        overrides = OverridesParser.create().parse_overrides(words)
        (sweeps,) = BasicSweeper.split_arguments(overrides, None)
        plan = Plan.of_sweep(sweeps, repeat=int(config.get("repeat", 1)))
        plan.save(Path(config.hydra.sweep.dir))


@dataclass(frozen=True)
class Progress:
    """Progress of the runs of a folder.

    Args:
        n_planned: how many there are to be; None for a multirun of an earlier version, which wrote
            no plan.
        not_begun: number and own words, or the seed, of each that has not begun.
    """

    n_planned: int | None
    not_begun: tuple[str, ...] = ()


def find_progress(folder: Path) -> Progress:
    """Return how far the runs of a folder of several have come, held against its plan.

    Raises:
        RunError: the plan can't be read.
    """
    from studperf.record.files import RECORD

    if (folder / REPEAT).is_file():
        seeds = _seeds_of_repeat(folder)
        missing = (f"seed={s}" for s in seeds if not (folder / f"seed{s}" / RECORD).is_file())
        return Progress(len(seeds), tuple(missing))
    plan = Plan.load(folder)
    if plan is None:
        return Progress(None)

    common = set.intersection(*(set(run.plain_words) for run in plan.runs))
    not_begun: list[str] = []
    for run in plan.runs:
        n_missing = run.n_runs - len(run.find_begun(folder))
        own = [word for word in run.plain_words if word not in common]
        not_begun += [" ".join([f"{run.number}:", *own])] * n_missing
    return Progress(sum(run.n_runs for run in plan.runs), tuple(not_begun))


def load_recorded(recorded: dict[str, Any], words: Sequence[str]) -> RunConfig:
    """Return the configuration of a run to go on with.

    A model that is not ours is taken where the words that the run began with still give the same
    configuration, word by word, by way of the user's own ./conf: then it is that folder which names
    the code, not the run's.

    Raises:
        ConfigError: it is refused.
    """
    model = recorded.get("model")
    if isinstance(model, Mapping) and not str(model.get(_NAMES_CODE)).startswith(_OUR_MODELS):
        try:
            config = _compose_words([_as_set(word) for word in words])
        except ConfigError:
            config = None
        if config is not None and config.model_dump(mode="json") == recorded:
            return config
    return load(recorded, is_trusted=False)


def _compose_words(words: Sequence[str]) -> RunConfig | None:
    """Return the configuration that words read from a file compose to.

    None if one of them may not come from a file.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if any(_NAMES_CODE in word or _INTERPOLATES in word for word in words):
        return None
    own = [word for word in words if not word.startswith("hydra")]
    try:
        return load(compose(own))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{' '.join(words)}: {error}") from error


def _as_set(word: str) -> str:
    """Return a word with `++`, which sets a key whether or not the YAML holds it.

    A choice of a group stays as it is.
    """
    from studperf.config.line.groups import group_names

    key = word.partition("=")[0]
    group = key.split("@")[0]
    is_choice = group in group_names() or "/" in key or key.startswith("~")
    return word if is_choice else f"++{word}"


def _repeat_of(words: Sequence[str], default: int) -> int:
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key == "repeat" and value.isdecimal():
            return int(value)
    return default


def _seeds_of_repeat(folder: Path) -> range:
    import yaml

    path = folder / REPEAT
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))["config"]
        return range(config["seed"], config["seed"] + config["repeat"])
    except (OSError, TypeError, KeyError, yaml.YAMLError) as error:
        raise RunError(f"{path}: can't be read: {type(error).__name__}") from error


def holds_several(folder: Path) -> bool:
    """Return True if a folder is that of several runs, begun or not."""
    from studperf.record.files import RECORD

    plans = [folder / REPEAT, folder / PLAN]
    return any(plan.is_file() for plan in plans) or any(folder.glob(f"*/{RECORD}"))
