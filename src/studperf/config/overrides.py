"""Finds every fault of a command line. Hydra stops at the first, names no neighbour and lets `+typo` through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from studperf.config.faults import Fault, unknown_key

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

Check = Callable[["DictConfig"], list[Fault]]


def find_faults(overrides: Sequence[str], *, check: Check) -> tuple[list[Fault], list[str]]:
    """All faults of the overrides, those of every value of a sweep included, without repeats; and the words for Hydra.

    Hydra wants `+` before a key that the YAML does not hold. We check every key ourselves, so any valid one is taken without:
    its words say `++key=value`.

    Args:
        overrides: words of the command line, such as `model=mlp` or `data.allow_leaks=[passed]`.
        check: gives the faults of a composed configuration.
    """
    loader = GlobalHydra.instance().config_loader()
    groups = {name for name in loader.get_group_options("", ObjectType.GROUP, "train", []) if name != "hydra"}
    faults: list[Fault] = []
    parsed: list[Override] = []
    for text in overrides:
        try:
            parsed += OverridesParser.create(config_loader=loader).parse_overrides([text])
        except HydraException:
            faults.append(Fault(text, "is not of the form key=value (quote it if the shell takes parts of it away)"))
    for line in _combinations(parsed):
        faults += _faults_of_line(line, groups=groups, loader=loader, check=check)
    return list(dict.fromkeys(faults)), [] if faults else _with_plus(parsed, groups)


def _with_plus(overrides: Sequence[Override], groups: set[str]) -> list[str]:
    """The words, with `++` before each key that the YAML does not hold and before no other: sweepers match keys by their text."""
    as_they_are = [o for o in overrides if _is_taken_as_it_is(o, groups)]
    base = compose("train", overrides=[f"{_key(o)}={_values_of(o)[0]}" if _key(o) in groups else str(o.input_line) for o in as_they_are])
    words = []
    for override in overrides:
        text = str(override.input_line)
        is_known = override in as_they_are or OmegaConf.select(base, _key(override), default=base) is not base
        words.append(text if is_known else f"++{text.lstrip('+')}")
    return words


def _key(override: Override) -> str:
    return str(override.get_key_element()).lstrip("+")


def _is_taken_as_it_is(override: Override, groups: set[str]) -> bool:
    return override.is_delete() or _key(override).split("@")[0] in groups or _key(override).startswith("hydra")


def _combinations(overrides: Sequence[Override]) -> Iterator[list[tuple[Override, str]]]:
    """Each sweep value once, with the other sweeps at their first value: enough to see every value's faults."""
    values = [_values_of(override) for override in overrides]
    yield [(override, v[0]) for override, v in zip(overrides, values, strict=True)]
    for i, several in enumerate(values):
        for value in several[1:]:
            yield [(o, value if i == j else values[j][0]) for j, o in enumerate(overrides)]


def _values_of(override: Override) -> list[str]:
    if override.is_sweep_override() and override.is_discrete_sweep():
        return list(override.sweep_string_iterator()) or [""]
    return [override.get_value_element_as_str()]


def _faults_of_line(line: Sequence[tuple[Override, str]], *, groups: set[str], loader: ConfigLoader, check: Check) -> list[Fault]:
    faults: list[Fault] = []
    kept: list[str] = []
    for override, value in line:
        key = _key(override)
        group = key.split("@")[0]
        if override.is_delete() or key.startswith("hydra"):
            kept.append(override.input_line or "")
        elif group in groups and value == "null":
            kept.append(f"{key}=null")
        elif group in groups:
            options = loader.get_group_options(group, config_name="train", overrides=[])
            if value in options:
                kept.append(f"{key}={value}")
            else:
                faults.append(Fault(f"{key}={value}", f"there is no {group} of this name; {unknown_key(value, options)}"))
        else:
            kept.append(f"++{key}={value}")
    try:
        cfg = compose("train", overrides=kept)
    except (HydraException, OmegaConfBaseException) as error:
        return [*faults, Fault("composition", _first_line(error))]
    from studperf.errors import ConfigError

    try:
        return [*faults, *check(cfg)]
    except ConfigError as error:
        return [*faults, Fault("composition", str(error))]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
