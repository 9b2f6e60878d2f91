"""Search for every fault of a command line.

Hydra stops at the first fault, offers no near name and lets `+typo` through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from studperf.config.code.grown import find_idle_keys
from studperf.config.faults import Fault
from studperf.config.line.composition import Check, check_values, combine_values, why_not_composed
from studperf.config.line.groups import group_names, is_group
from studperf.config.line.hydra_keys import Given, find_hydra_faults, find_refused_words
from studperf.config.line.hydra_words import is_about_hydra, words_for_hydra
from studperf.config.line.sweeper import (
    conditional_keys,
    find_sweeper,
    find_sweeper_of_groups,
    find_varied,
)
from studperf.config.line.word import (
    first_values,
    is_interval,
    is_of_study,
    is_plain,
    key_of,
    length_of_range,
    parse_words,
    text_of_value,
    values_of,
)
from studperf.config.run import MAX_RUNS
from studperf.config.study import is_plain_multirun

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

CheckStudy = Callable[[Sequence[str], dict[str, Any]], list[Fault]]
_SWEEPER_WORD = "hydra/sweeper=multirun"


@dataclass(frozen=True)
class Line:
    """The words of a command line, read and checked.

    Args:
        overrides: the words that could be read.
        faults: of all words, those of every value of a sweep included, without repeats.
        groups: names of the configuration groups.
        cfg: what the words compose to, if that is one configuration without fault, and none of them
            is for Hydra itself to judge.
        is_study: whether an own sweeper goes through the values, and not Hydra's plain one.
    """

    overrides: list[Override]
    faults: list[Fault]
    groups: set[str]
    cfg: DictConfig | None
    is_study: bool = False

    def words(self) -> list[str]:
        """Return the words as Hydra takes them.

        Hydra wants `+` before a key that the YAML does not hold. We take any valid key without it,
        and pass it on as `++key=value`.
        """
        return words_for_hydra(self.overrides, self.groups)

    def words_of_command(self) -> list[str]:
        """Return the words for `hydra.main`.

        Without a study they choose the sweeper that hands back what the runs of a multirun
        ended with.
        """
        words = self.words()
        if self.is_study:
            return words
        others = [word for word in words if not word.startswith("hydra/sweeper=")]
        return [*others, _SWEEPER_WORD]


def read_line(
    overrides: Sequence[str],
    *,
    check: Check,
    check_study: CheckStudy | None = None,
    is_multirun: bool | None = None,
) -> Line:
    """Read a command line and find all of its faults.

    Args:
        overrides: words of the command line, such as `model=mlp` or `data.allow_leaks=[passed]`.
        check: gives the faults of a composed configuration.
        check_study: gives those of a study, from its words and the settings of its sweeper. A study
            does this itself as it begins; it is asked here where other faults keep it from
            beginning, so that all are listed at once.
        is_multirun: whether -m stands on the command line; None where that is not known.
    """
    loader = GlobalHydra.instance().config_loader()
    groups = group_names()
    parsed, faults = parse_words(overrides, loader)
    # In code, words are put together, and the last one counts.
    if is_multirun is not None:
        faults += _find_repeated(parsed, groups)
    faults += _find_not_varied(parsed)
    faults += find_refused_words(_given_to_hydra(parsed))
    parsed = [o for o in parsed if not _has_fault(o, faults)]

    sweeper = find_sweeper(parsed)
    # A study checks what it varies itself, before its first trial. Some keys exist only with some
    # of its choices.
    conditional = conditional_keys(sweeper)
    seen = [o for o in parsed if key_of(o) not in conditional]
    own_sweeper = sweeper or find_sweeper_of_groups(parsed, groups)
    is_study = bool(own_sweeper) and not is_plain_multirun(own_sweeper.get("_target_"))
    if sweeper and not is_study:
        seen += find_varied(sweeper, parsed, loader)

    if not sweeper:
        faults += _find_intervals(parsed)
    if not is_study:
        faults += _find_words_of_studies(parsed)
        too_many = _find_too_many(parsed)
        if too_many:
            return Line(parsed, [*faults, *too_many], groups, None)

    # Name -> node of each model that the words ask for.
    models: dict[str, dict[str, Any]] = {}
    for line in combine_values(seen):
        found, cfg = check_values(line, groups=groups, loader=loader, check=check)
        faults += found
        models |= _model_of(cfg)
    faults += find_idle_keys(map(key_of, seen), models)
    if not faults and any(is_about_hydra(o, groups) for o in parsed):
        faults += _find_faults_of_hydra(parsed, groups, is_multirun=is_multirun)
    if faults and is_study and check_study is not None:
        faultless = [o for o in parsed if not _has_fault(o, faults)]
        words = [str(o.input_line) for o in faultless if not key_of(o).startswith("hydra")]
        faults += check_study(words, sweeper)

    is_one = not faults and not sweeper and all(is_plain(o) for o in parsed)
    if not is_one:
        cfg = None
    return Line(parsed, list(dict.fromkeys(faults)), groups, cfg, is_study)


def _model_of(cfg: DictConfig | None) -> dict[str, dict[str, Any]]:
    """Return the node of a configuration's model by the model's name; nothing if it has none."""
    if cfg is None:
        return {}
    node = OmegaConf.select(cfg, "model")
    if not isinstance(node, DictConfig):
        return {}
    plain: Any = OmegaConf.to_container(node, resolve=False)
    return {str(cfg.get("model_name")): plain}


def _find_repeated(overrides: Sequence[Override], groups: set[str]) -> list[Fault]:
    """Find the groups that are chosen twice.

    Of a key that is no group the last value counts, as everywhere in Hydra.
    """
    first: dict[str, str] = {}
    faults = []
    for override in overrides:
        key = key_of(override)
        value = text_of_value(override)
        if not is_group(key, groups) or override.is_delete():
            continue
        if first.setdefault(key, value) != value:
            what = f"is given twice, as {first[key]} and {value}"
            faults.append(Fault(key, f"{what}; several runs: -m {key}={first[key]},{value}"))

    explained = []
    for fault in faults:
        if fault.where == "sweeps" or fault.where.startswith("hydra"):
            what = fault.what.partition(";")[0]
            explained.append(Fault(fault.where, f"{what}; each study is a command of its own"))
        else:
            explained.append(fault)
    return explained


def _find_not_varied(overrides: Sequence[Override]) -> list[Fault]:
    """Find keys with several values that apply to a whole command and so take one."""
    faults = []
    for override in overrides:
        key = key_of(override)
        if not override.is_sweep_override():
            continue
        if key == "sweeps":
            faults.append(Fault(key, "one study at a time; each is a command of its own"))
        elif key.startswith("hydra"):
            faults.append(Fault(key, "holds for the whole command, so it takes one value"))
    return faults


def _find_intervals(overrides: Sequence[Override]) -> list[Fault]:
    """Find what is varied over an interval, where no word names a sweeper."""
    if any(key_of(o) in ("sweeps", "hydra/sweeper") for o in overrides):
        return []
    why = "an interval is varied by a study alone; add -m hydra/sweeper=optuna"
    return [Fault(key_of(o), why) for o in overrides if is_interval(o)]


def _find_words_of_studies(overrides: Sequence[Override]) -> list[Fault]:
    """Find the settings of a study, where there is none."""
    why = "is for a study; add -m sweeps=NAME, or -m hydra/sweeper=optuna"
    return [Fault(key_of(o), why) for o in overrides if is_of_study(o)]


def _find_too_many(overrides: Sequence[Override]) -> list[Fault]:
    """Find values that together make more runs than a multirun takes."""
    varied = [o for o in overrides if o.is_sweep_override() and o.is_discrete_sweep()]
    n_runs = math.prod(_count_values(o) for o in varied)
    if n_runs <= MAX_RUNS:
        return []
    keys = " ".join(map(key_of, varied))
    return [Fault(keys, f"{n_runs:,} runs; a multirun takes {MAX_RUNS:,} at most")]


def _count_values(override: Override) -> int:
    if override.is_range_sweep():
        return length_of_range(override)
    return len(values_of(override))


def _given_to_hydra(overrides: Sequence[Override]) -> list[Given]:
    given = []
    for override in overrides:
        key = key_of(override).lstrip("~")
        first = key.split(".")[0].split("/")[0]
        if first == "hydra":
            given.append(Given(key, text_of_value(override), override.is_delete()))
    return given


def _find_faults_of_hydra(
    overrides: Sequence[Override], groups: set[str], *, is_multirun: bool | None
) -> list[Fault]:
    words = first_values(words_for_hydra(overrides, groups))
    given = _given_to_hydra(overrides)
    try:
        cfg = compose("train", overrides=words, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return [Fault("composition", why_not_composed(error))]
    base = compose("train", overrides=[], return_hydra_config=True)
    return find_hydra_faults(given, cfg, base, is_multirun=is_multirun)


def _has_fault(override: Override, faults: Sequence[Fault]) -> bool:
    return any(
        fault.where == key_of(override)
        or fault.where.startswith((f"{key_of(override)}=", f"{key_of(override)}."))
        for fault in faults
    )
