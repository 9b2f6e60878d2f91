"""From the words of a trial to its checked configuration, without asking Hydra each time: it takes 70 ms, this 1."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from studperf.config.faults import Fault
from studperf.config.interpolation import MISSING, escape_text, find_references, to_raw, walk
from studperf.config.line.overrides import group_names, write_group
from studperf.config.load import compose, load, resolve_references
from studperf.config.run import RunConfig
from studperf.errors import ConfigError, listing
from studperf.sweeps.space import Space, Word, read, write

_PLAIN = re.compile(r"[\w./:-]+")
FORCED = {"score_on": "val", "progress": False, "resume": None}
"""What a trial may not choose: the test split stays closed, and the terminal belongs to the study."""


class Composer:
    """Composes once for each choice of groups, and then sets plain values in a copy.

    Args:
        fixed: words that hold for every trial, and the groups among them.
        threads: torch threads of a trial; None leaves the configuration's.
    """

    def __init__(self, fixed: Sequence[Word], *, threads: int | None = None) -> None:
        self.fixed = list(fixed)
        self.threads = threads
        self._bases: dict[tuple[str, ...], dict[str, Any]] = {}

    @cached_property
    def _groups(self) -> set[str]:
        return group_names()

    def plain(self, words: Sequence[Word]) -> dict[str, Any]:
        """The composed configuration of a trial, not checked yet."""
        base, values = self._part(words)
        config = copy.deepcopy(base)
        for word in values:
            _set(config, word)
        config |= FORCED
        if self.threads is not None:
            config["threads"] = self.threads
        return _resolve(config) if _has_interpolation(config) else config

    def config(self, words: Sequence[Word]) -> RunConfig:
        """The checked configuration of a trial.

        Raises:
            ConfigError: it was refused.
        """
        return load(self.plain(words))

    def repeat(self, words: Sequence[Word]) -> list[str]:
        """Words that make the same run without the sweep's file, which would start the sweep again: groups, then what differs from them."""
        from omegaconf import OmegaConf

        composed = cache(lambda *words: compose(words, return_hydra_config=True))
        groups = self._last([word for word in [*self.fixed, *words] if self._is_group(word)])
        choices = composed(*map(self._write, groups)).hydra.runtime.choices
        defaults = composed().hydra.runtime.choices
        chosen = [
            write_group(k, str(v))
            for k, v in choices.items()
            if k in self._groups and k != "sweeps" and str(defaults.get(k)) != str(v)
        ]
        cfg = composed(*chosen)
        base = _resolve(
            to_raw(OmegaConf.masked_copy(cfg, [key for key in map(str, cfg) if key != "hydra"]))
        )
        # References are followed once: what a table holds may look like one afterwards.
        wanted = {key: value for key, value in self.plain(words).items() if key not in FORCED}
        return [*chosen, *_difference("", wanted, base)]

    @staticmethod
    def _last(words: Sequence[Word]) -> list[Word]:
        return list({word.key: word for word in words}.values())

    def _part(self, words: Sequence[Word]) -> tuple[dict[str, Any], list[Word]]:
        """The composition that the words' groups ask for, and the words that are no groups."""
        groups = [word for word in words if word.key.split("@")[0] in self._groups]
        rest = [word for word in words if word not in groups]
        key = tuple(map(str, groups))
        if key not in self._bases:
            self._bases[key] = self._compose(groups)
        return self._bases[key], rest

    def _compose(self, groups: Sequence[Word]) -> dict[str, Any]:
        taken = {word.key for word in groups}
        fixed = [
            self._write(word) if self._is_group(word) else f"++{word}"
            for word in self.fixed
            if word.key not in taken
        ]
        chosen = [*fixed, *map(self._write, groups)]
        return to_raw(compose(chosen))

    def _write(self, word: Word) -> str:
        """A word that stands as it is, such as a deletion, or one that chooses a group."""
        is_group = word.key.split("@")[0] in self._groups
        return write_group(word.key, word.text) if is_group else str(word)

    def _is_group(self, word: Word) -> bool:
        return word.key.split("@")[0] in self._groups or word.key.startswith(("hydra", "~"))


def find_faults(space: Space, composer: Composer) -> list[Fault]:
    """Every fault that a trial of this space could have by itself: each end of each domain is composed and checked."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    faults: list[Fault] = []
    for words in space.probes():
        try:
            composer.config(words)
        except ConfigError as error:
            faults += _as_faults(error)
        except (HydraException, OmegaConfBaseException) as error:
            faults.append(
                Fault(" ".join(map(str, words)) or "composition", " ".join(str(error).split()))
            )
    return list(dict.fromkeys(faults))


def _as_faults(error: ConfigError) -> Iterable[Fault]:
    lines = str(error).split("\n  - ")
    for line in lines[1:] or lines:
        where, _, what = line.partition(": ")
        yield Fault(where, what)


def _set(config: dict[str, Any], word: Word) -> None:
    """Sets a value at a dotted key; what is not there yet is made, and refused later by the shape."""
    *path, last = word.key.split(".")
    node = config
    for part in path:
        below = node.get(part)
        if not isinstance(below, dict):
            below = node[part] = {}
        node = below
    value = copy.deepcopy(word.value)
    node[last] = (
        {**node[last], **value}
        if isinstance(value, dict) and isinstance(node.get(last), dict)
        else value
    )


def _difference(prefix: str, wanted: Any, base: Any) -> list[str]:  # noqa: ANN401 - whatever YAML held
    """Words that turn the base into what is wanted."""
    if isinstance(wanted, dict) and isinstance(base, dict):
        dot = f"{prefix}." if prefix else ""
        return [
            word
            for key, value in wanted.items()
            for word in _difference(f"{dot}{key}", value, base.get(key))
        ]
    return [] if wanted == base else [f"{prefix}={_quoted(wanted)}"]


def _quoted(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    """A value in Hydra's grammar."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_quoted, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_quoted(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, str) and (
        not value or not _PLAIN.fullmatch(value) or read(value) != value
    ):
        return QuotedString(escape_text(value), Quote.single).with_quotes()
    return write(value)


def _has_interpolation(node: Any) -> bool:  # noqa: ANN401 - whatever YAML held
    return any(
        isinstance(text, str) and ("${" in text or text == MISSING) for _, text in walk(node)
    )


def _resolve(config: dict[str, Any]) -> dict[str, Any]:
    """Return a trial's values with every reference followed; some of its words come from a storage that others write to.

    Raises:
        ConfigError: a reference stands where none may.
    """
    if faults := find_references(config):
        raise ConfigError(listing("The trial was refused", [str(fault) for fault in faults]))
    return resolve_references(config)
