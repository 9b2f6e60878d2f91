"""The faults of what words compose to, each value of a sweep tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from hydra import compose
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from studperf.config.faults import Fault, unknown_key
from studperf.config.line.groups import group_of, read_option, write_group, write_option
from studperf.config.line.hydra_words import is_free_key, word_for_hydra
from studperf.config.line.word import SWEEPER, is_interval, key_of, values_of
from studperf.config.naming import take_hydra_off
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

Check = Callable[["DictConfig"], list[Fault]]


def combine_values(overrides: Sequence[Override]) -> Iterator[list[tuple[Override, str]]]:
    """Yield each sweep value once, with the other sweeps at their first value.

    That is enough to see every value's faults. A sweep over an interval has no values to try; it is
    left to the sweeper.
    """
    overrides = [o for o in overrides if not is_interval(o)]
    values = [_values_to_try(override) for override in overrides]
    firsts = [several[0] for several in values]
    yield list(zip(overrides, firsts, strict=True))
    for i, several in enumerate(values):
        for value in several[1:]:
            tried = [*firsts[:i], value, *firsts[i + 1 :]]
            yield list(zip(overrides, tried, strict=True))


def _values_to_try(override: Override) -> list[str]:
    """Return an override's values, of a range only the first two and the last.

    Each composition takes as long as a whole command's start.
    """
    values = values_of(override)
    if override.is_sweep_override() and override.is_range_sweep():
        return list(dict.fromkeys([*values[:2], values[-1]]))
    return values


def check_values(
    line: Sequence[tuple[Override, str]],
    *,
    groups: set[str],
    loader: ConfigLoader,
    check: Check,
) -> tuple[list[Fault], DictConfig | None]:
    """Return the faults of overrides with these values, and what they compose to."""
    faults: list[Fault] = []
    kept: list[str] = []
    for override, value in line:
        key = key_of(override)
        group = group_of(key)
        if key.startswith(SWEEPER):
            continue
        if override.is_delete() or (key.startswith("hydra") and "/" not in key):
            kept.append(word_for_hydra(override, groups, is_added=is_free_key(override)))
        elif group == "sweeps" and value == "null":
            continue
        elif group in groups or "/" in group:
            options = loader.get_group_options(group, config_name="train", overrides=[])
            name = read_option(value)
            if name in options:
                kept.append(write_group(key, write_option(name)))
            else:
                what = f"there is no {group} of this name; {unknown_key(name, options)}"
                faults.append(Fault(f"{key}={name}", what))
        else:
            kept.append(f"++{key}={value}")
    found, cfg = _check_words(kept, check=check)
    keys = {key_of(override) for override, _ in line} - groups
    found = [_explain_group(fault, keys, groups) for fault in found]
    return faults + found, cfg


def _explain_group(fault: Fault, keys: set[str], groups: set[str]) -> Fault:
    """Return a fault that explains how to make a group, if an unknown key is the name of one.

    It says how to make a group of the user's own, or that its file lacks the header.
    """
    name = fault.where.split("=")[0]
    if name in groups and fault.what.startswith("unknown"):
        header = "# @package _global_"
        return Fault(name, f"a YAML of {name}/ must begin with the line: {header}")
    if name == "experiment" and name in keys:
        where = f"./conf/{name}/NAME.yaml, or FOLDER/{name}/NAME.yaml with --config-dir FOLDER"
        return Fault(
            name,
            f"there is no such group yet; make {where}, which begins with the line "
            f"`# @package _global_` and holds the keys to change, and say {name}=NAME",
        )
    return fault


def _check_words(
    words: list[str],
    *,
    check: Check,
) -> tuple[list[Fault], DictConfig | None]:
    faults: list[Fault] = []
    cfg: DictConfig | None = None
    try:
        cfg = take_hydra_off(compose("train", overrides=words, return_hydra_config=True))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        # One word that can't be composed must not hide the faults of the others.
        chosen = [word for word in words if "/" in word.partition("=")[0]]
        guilty: dict[str, str] = {}
        for word in words:
            reason = _explain_word(word, [other for other in chosen if other != word])
            if reason is not None:
                guilty[word] = reason
        faults = [Fault(word.lstrip("+"), reason) for word, reason in guilty.items()]
        if guilty:
            cfg = compose("train", overrides=[word for word in words if word not in guilty])
        else:
            faults = [Fault("composition", why_not_composed(error))]
    try:
        if cfg is not None:
            faults += check(cfg)
    except ConfigError as error:
        faults.append(Fault("composition", str(error)))
    return faults, cfg


def _explain_word(word: str, chosen: Sequence[str]) -> str | None:
    """Return why a word can't be composed, or None if it can.

    It is composed beside the groups of Hydra that are chosen for it.
    """
    try:
        compose("train", overrides=[*chosen, word])
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return why_not_composed(error)
    return None


def why_not_composed(error: Exception) -> str:
    """Return why Hydra could not compose, in words."""
    # OmegaConf's own error: the text that Hydra puts around it recommends a plus before the key.
    cause = error.__cause__ or error
    lines = " ".join(str(cause).split("\n")[:3]).split()
    if lines[:2] == ["Cannot", "merge"]:
        return "a list and a block of keys can't take each other's place"
    if "BasicLauncherConf" in lines:
        return "is a launcher's key; name the launcher too, such as hydra/launcher=joblib"
    if any(line.startswith("full_key:hydra.") or line == "full_key:" for line in lines) and (
        lines[0] == "Key" and "hydra." in " ".join(lines)
    ):
        return "unknown; --hydra-help lists the keys of Hydra that are heeded"
    return " ".join(lines)
