"""The sweeper that a command line chooses, and what its file varies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from studperf.config.interpolation import resolve_sweeper
from studperf.config.line.hydra_words import is_about_hydra, word_for_hydra
from studperf.config.line.word import SWEEPER, is_no_sweep, key_of

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override


def find_sweeper(overrides: Sequence[Override]) -> dict[str, Any]:
    """Return the configuration of the sweeper that the words choose, empty if they choose none."""
    chosen = [
        str(o.input_line)
        for o in overrides
        if key_of(o) in ("sweeps", "hydra/sweeper")
        and not o.is_sweep_override()
        and not is_no_sweep(o)
    ]
    if not chosen:
        return {}
    groups = [str(o.input_line) for o in overrides if key_of(o).startswith("hydra/sweeper/")]
    values = [
        f"++{str(o.input_line).lstrip('+')}"
        for o in overrides
        if key_of(o).startswith(SWEEPER) and not o.is_delete()
    ]
    # A faulty word must not hide the sweeper: with fewer words it may still be composed.
    for words in ([*chosen, *groups, *values], [*chosen, *values], chosen):
        if sweeper := _composed_sweeper(words):
            return sweeper
    return {}


def find_sweeper_of_groups(overrides: Sequence[Override], groups: set[str]) -> dict[str, Any]:
    """Return the sweeper that a file of the chosen groups sets, empty if none does.

    A user's own file may choose a sweeper, as those of sweeps/ do.
    """
    chosen = [o for o in overrides if key_of(o) in groups and not o.is_sweep_override()]
    if not any(is_about_hydra(o, groups) for o in chosen):
        return {}
    return _composed_sweeper([word_for_hydra(o, groups, is_added=False) for o in chosen])


def _composed_sweeper(words: list[str]) -> dict[str, Any]:
    """Return the sweeper that words compose to, empty if they can't be composed.

    That fault is reported later, with all others.
    """
    try:
        cfg = compose("train", overrides=words, return_hydra_config=True)
        return resolve_sweeper(cfg.hydra.sweeper)
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError):
        return {}


def find_varied(
    sweeper: dict[str, Any], overrides: Sequence[Override], loader: ConfigLoader
) -> list[Override]:
    """Return what the chosen file of sweeps/ varies, as overrides.

    So its values are checked before the first run too.
    """
    given = {key_of(o) for o in overrides}
    words = [
        f"{key}={value}"
        for key, value in (sweeper.get("params") or {}).items()
        if str(key).lstrip("+") not in given
    ]
    return list(OverridesParser.create(config_loader=loader).parse_overrides(words))


def conditional_keys(sweeper: dict[str, Any]) -> set[str]:
    """Return the keys that a study varies only where others have certain values."""
    keys: set[str] = set()
    for block in sweeper.get("conditional") or []:
        keys |= {str(key) for key in block.get("params") or []}
    return keys
