"""Hydra's own keys (`hydra.*`): the ones that are heeded, and what to use instead of the others.

studperf gives each run a folder, a record and a log of its own, so many of Hydra's keys would
change nothing. A key that changes nothing is refused with the way out; none is accepted and then
ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from studperf.config.faults import Fault
from studperf.config.study import is_plain_multirun

if TYPE_CHECKING:
    from omegaconf import DictConfig

_ABSENT = object()
_BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
_SET_BY_HYDRA = "is filled in by Hydra itself, and can't be chosen"
_FOLDERS = (
    "each run has a folder of its own, named by time, model and seed; "
    "runs=FOLDER says below which one, and of a multirun hydra.sweep.dir=FOLDER"
)
_LOGS = "changes nothing here: all that is logged is in log.txt of the run's folder"
# The reason why a key is refused, and the key to use instead; the longest name that fits counts.
_INSTEAD = {
    "defaults": _SET_BY_HYDRA,
    "searchpath": "say --config-dir FOLDER, or put your groups into ./conf/",
    "run": _FOLDERS,
    "sweep.subdir": _FOLDERS,
    "output_subdir": "config.yaml, overrides.yaml and record.json are in the run's folder anyway",
    "verbose": f"{_LOGS}; --debug shows tracebacks",
    "job_logging": _LOGS,
    "hydra_logging": _LOGS,
    "job.chdir": (
        "a run stays in the folder in which it was started; runs=FOLDER says where it lies"
    ),
    "job.name": (
        "names nothing here; tracking.wandb.name names a run at W&B, hydra.sweeper.study a study"
    ),
    "job.config": "names no folder here; overrides.yaml in the run's folder has the words",
    "job.env_copy": (
        "would write the variables' values to disk; "
        "what is started here has this shell's variables anyway"
    ),
    "job": _SET_BY_HYDRA,
    "help": "what --help says is not changed by the command line",
    "hydra_help": "what --hydra-help says is not changed by the command line",
    "overrides": _SET_BY_HYDRA,
    "runtime": _SET_BY_HYDRA,
}
_HEEDED = ("mode", "sweep.dir", "launcher", "sweeper", "callbacks", "job.env_set")
# Keys that each composition fills in anew, so that a difference says nothing.
_COMPUTED = ("overrides", "runtime", "job.override_dirname", "job.name")


@dataclass(frozen=True)
class Given:
    """A command-line word about Hydra: `hydra.job.chdir=true` or `hydra/launcher=joblib`."""

    key: str
    value: str
    is_deletion: bool = False


def find_refused_words(given: Iterable[Given]) -> list[Fault]:
    """Find the words that can't be composed, or should not be.

    Hydra 1.3.8 answers some of them with a traceback.
    """
    faults = []
    for word in given:
        name = word.key.removeprefix("hydra.")
        if word.is_deletion and not _is_below(name, ("sweeper", "callbacks", "job.env_set")):
            faults.append(Fault(word.key, "is a part of Hydra, and can't be taken away"))
        elif "/" not in word.key and not word.key.startswith("hydra."):
            faults.append(Fault(word.key, "is no key; --hydra-help lists those that are heeded"))
        elif _is_below(name, ("job.env_copy", "searchpath", *_COMPUTED)):
            faults.append(Fault(word.key, _explain_refusal(name)))
    return faults


def find_hydra_faults(
    given: Iterable[Given], cfg: DictConfig, base: DictConfig, *, is_multirun: bool | None
) -> list[Fault]:
    """Find the keys of Hydra that would change nothing, and those that contradict each other.

    Args:
        given: Hydra's words of the command line.
        cfg: what the command line composes to, with Hydra's own part; a YAML of the user's may have
            set keys as well.
        base: what an empty command line composes to.
        is_multirun: whether -m stands on the command line; None where that is not known, as outside
            of a command.
    """
    words = {word.key: word.value for word in given}
    faults = list(_find_changed(cfg.hydra, base.hydra))
    mode = str(cfg.hydra.mode).rpartition(".")[2]
    if is_multirun and mode == "RUN":
        faults.append(Fault("hydra.mode", "RUN contradicts -m; drop one of them"))
    elif is_multirun or mode == "MULTIRUN":
        faults += _find_unused_in_multirun(cfg, base)
    elif is_multirun is False:
        faults += _find_unused_in_run(words, cfg)
    return list(dict.fromkeys(faults))


def _find_changed(hydra: DictConfig, base: DictConfig) -> Iterator[Fault]:
    """Find the keys that differ from Hydra's defaults.

    Each fault stands at the name that `_INSTEAD` has for the key.
    """
    wanted = OmegaConf.to_container(hydra, resolve=False)
    usual = OmegaConf.to_container(base, resolve=False)
    for name in _find_changes("", wanted, usual):
        if not _is_below(name, _HEEDED) and not _is_below(name, _COMPUTED):
            yield Fault(f"hydra.{_find_known_part(name)}", _explain_refusal(name))


def _find_changes(prefix: str, wanted: Any, usual: Any) -> Iterator[str]:  # noqa: ANN401 - any YAML
    if isinstance(wanted, dict) and isinstance(usual, dict):
        for key in {**usual, **wanted}:
            name = f"{prefix}.{key}" if prefix else str(key)
            yield from _find_changes(name, wanted.get(key, _ABSENT), usual.get(key, _ABSENT))
    elif wanted != usual:
        yield prefix


def _find_unused_in_multirun(cfg: DictConfig, base: DictConfig) -> Iterator[Fault]:
    sweeper, launcher = cfg.hydra.sweeper, cfg.hydra.launcher
    has_launcher = launcher.get("_target_") != _BASIC_LAUNCHER
    if is_plain_multirun(sweeper.get("_target_")):
        size = sweeper.get("max_batch_size")
        if size is not None and size < 1:
            yield Fault("hydra.sweeper.max_batch_size", f"must be at least 1, got {size}")
        if has_launcher and cfg.get("engine") == "stacked" and cfg.get("repeat") == 1:
            yield Fault(
                "engine",
                "stacked trains the runs of a multirun together, in this process, "
                "and a launcher trains each by itself; "
                "drop hydra/launcher, or give each run several seeds to be trained together: "
                "repeat=8",
            )
        return
    mode = sweeper.get("mode")
    if has_launcher and mode == "worker":
        yield Fault(
            "hydra/launcher",
            "is not asked by the workers of a study; hydra.sweeper.mode=batch trains its trials "
            "by this launcher, "
            "and hydra.sweeper.n_jobs=2 starts two workers here",
        )
    if _sweep_dir(cfg) != _sweep_dir(base):
        yield Fault(
            "hydra.sweep.dir",
            "is for a multirun without a study; a study lies in runs/sweeps/NAME: "
            "runs=FOLDER hydra.sweeper.study=NAME",
        )
    if mode == "worker" and cfg.hydra.job.get("env_set"):
        yield Fault(
            "hydra.job.env_set",
            "is for runs and launchers; a study's workers have the variables of the shell that "
            "starts them",
        )


def _sweep_dir(cfg: DictConfig) -> object:
    """Return the sweep folder unresolved.

    The default one holds the time, so that two resolved ones would never be equal.
    """
    sweep = OmegaConf.to_container(cfg.hydra.sweep, resolve=False)
    return sweep.get("dir") if isinstance(sweep, dict) else None


def _find_unused_in_run(words: dict[str, str], cfg: DictConfig) -> Iterator[Fault]:
    """Find the keys for several runs where only one run is asked for."""
    for key in words:
        name = key.removeprefix("hydra/").removeprefix("hydra.").split("/")[0]
        if _is_below(name, ("sweep.dir", "launcher", "sweeper")):
            yield Fault(key, "is for several runs; add -m")
    if "hydra.mode" in words and not is_plain_multirun(cfg.hydra.sweeper.get("_target_")):
        yield Fault("hydra.mode", "RUN leaves out the study that is asked for beside it; drop one")
    if cfg.hydra.launcher.get("_target_") != _BASIC_LAUNCHER and not words:
        yield Fault("hydra/launcher", "is for several runs; add -m")


def _is_below(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _find_known_part(name: str) -> str:
    """Return the longest part of a dotted name that `_INSTEAD` has, or else the whole name."""
    known = [key for key in _INSTEAD if _is_below(name, [key])]
    longest = max(known, key=len, default=name)
    return name if longest in ("job", "run", "sweep") else longest


def _explain_refusal(name: str) -> str:
    known = [key for key in _INSTEAD if _is_below(name, [key])]
    return _INSTEAD[max(known, key=len)] if known else "changes nothing here; drop it"
