"""The words of a command line in the form that Hydra takes.

Hydra wants `+` before a key that the YAML does not hold, and before some groups; a user need not
know which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra import compose
from omegaconf import OmegaConf

from studperf.config.line.groups import (
    group_of,
    group_roots,
    read_option,
    write_group,
    write_option,
)
from studperf.config.line.word import SWEEPER, is_no_sweep, key_of, text_of_value, values_of

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_FREE = ("hydra.job.env_set", "hydra.callbacks")


def words_for_hydra(overrides: Sequence[Override], groups: set[str]) -> list[str]:
    """Return the words with `++` before each key that the YAML does not hold.

    No other key gets one: sweepers match keys by their text.
    """
    overrides = [o for o in overrides if not is_no_sweep(o)]
    # A sweeper's unknown key is for the sweeper to refuse, which knows its neighbours.
    added = [o for o in overrides if key_of(o).startswith(SWEEPER) or is_free_key(o)]
    as_they_are = [o for o in overrides if o not in added and _is_taken_as_it_is(o, groups)]
    if keys := [o for o in overrides if o not in added and o not in as_they_are]:
        chosen = [_with_first_option(o, groups) for o in as_they_are]
        base = compose("train", overrides=chosen)
        for override in keys:
            # `base` itself stands for a key that is not there; None may be a key's value.
            found = OmegaConf.select(base, key_of(override), default=base)
            if found is base:
                added.append(override)
    return [word_for_hydra(o, groups, is_added=o in added) for o in overrides]


def _with_first_option(override: Override, groups: set[str]) -> str:
    """Return the word of a group with its first option, and any other word as it is."""
    if key_of(override) in groups and not override.is_delete():
        first = read_option(values_of(override)[0])
        return write_group(key_of(override), write_option(first))
    return str(override.input_line)


def word_for_hydra(override: Override, groups: set[str], *, is_added: bool) -> str:
    """Return a word as Hydra takes it; `is_added` says that the YAML does not hold its key."""
    text = str(override.input_line)
    if is_added:
        return f"++{text.lstrip('+')}"
    if group_of(key_of(override)) in groups and not override.is_delete():
        word = write_group(key_of(override), _write_options(override))
        # A plus of the user's own stays, for Hydra to judge.
        is_plus_lost = text.startswith("+") and not word.startswith("+")
        return text if is_plus_lost else word
    return text


def _write_options(override: Override) -> str:
    """Return the options of a group's word as typed, or quoted where Hydra needs it."""
    names = [read_option(value) for value in values_of(override)]
    written = [write_option(name) for name in names]
    return text_of_value(override) if written == names else ",".join(written)


def is_free_key(override: Override) -> bool:
    """Return True if a key of Hydra's holds names of the user's own.

    Hydra wants a plus before those.
    """
    return key_of(override).startswith(_FREE) and not override.is_delete()


def _is_taken_as_it_is(override: Override, groups: set[str]) -> bool:
    return (
        override.is_delete()
        or group_of(key_of(override)) in groups
        or key_of(override).startswith("hydra")
    )


def is_about_hydra(override: Override, groups: set[str]) -> bool:
    """Return True if a word sets a key of Hydra's, or chooses a file that may do so.

    The files of sweeps/ do.
    """
    group = group_of(key_of(override))
    if group.startswith("hydra"):
        return True
    if group not in groups or override.is_delete():
        return False
    options = [read_option(value) for value in values_of(override)]
    for root in group_roots():
        for option in options:
            file = root / group / f"{option}.yaml"
            if file.is_file() and "hydra" in file.read_text(encoding="utf-8", errors="replace"):
                return True
    return False
