"""The checked configuration of a trial, made from its words.

Hydra takes 70 ms to compose one, this 1 ms: only groups are composed by Hydra.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from studperf.config.faults import Fault
from studperf.config.interpolation import MISSING, escape_text, find_references, to_raw, walk
from studperf.config.line.groups import group_names, write_group, write_option
from studperf.config.load import compose, load, resolve_references
from studperf.config.run import RunConfig
from studperf.errors import ConfigError, listing
from studperf.sweeps.space import Space, Word, read, write

_PLAIN = re.compile(r"[\w./:-]+")
FORCED = {"score_on": "val", "progress": False, "resume": None}
"""Values that no trial may choose: the test split is closed, the terminal is the study's."""


class Composer:
    """Compose once for each choice of groups, then set plain values in a copy.

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
        """Return the composed configuration of a trial, not checked yet."""
        base, values = self._part(words)
        config = copy.deepcopy(base)
        for word in values:
            _set(config, word)
        config |= FORCED
        if self.threads is not None:
            config["threads"] = self.threads
        if _has_interpolation(config):
            return _resolve(config)
        return config

    def config(self, words: Sequence[Word]) -> RunConfig:
        """Return the checked configuration of a trial.

        Raises:
            ConfigError: it was refused.
        """
        return load(self.plain(words))

    def repeat(self, words: Sequence[Word]) -> list[str]:
        """Return the words that make the same run without the sweep's file.

        The file would start the sweep again. Groups come first, then the values that differ
        from theirs.
        """
        from omegaconf import OmegaConf

        composed = cache(lambda *words: compose(words, return_hydra_config=True))
        all_words = [*self.fixed, *words]
        groups = self._last([word for word in all_words if self._is_group(word)])
        choices = composed(*map(self._write, groups)).hydra.runtime.choices
        defaults = composed().hydra.runtime.choices
        chosen = []
        for group, choice in choices.items():
            if group not in self._groups or group == "sweeps":
                continue
            if str(defaults.get(group)) != str(choice):
                chosen.append(write_group(group, write_option(str(choice))))

        cfg = composed(*chosen)
        keys = [key for key in map(str, cfg) if key != "hydra"]
        base = _resolve(to_raw(OmegaConf.masked_copy(cfg, keys)))

        # References are followed once: what a table holds may look like one afterwards.
        wanted = self.plain(words)
        for key in FORCED:
            wanted.pop(key)
        return [*chosen, *_difference("", wanted, base)]

    @staticmethod
    def _last(words: Sequence[Word]) -> list[Word]:
        """Return the last word of each key."""
        return list({word.key: word for word in words}.values())

    def _part(self, words: Sequence[Word]) -> tuple[dict[str, Any], list[Word]]:
        """Return the composition that the words' groups ask for, and the other words."""
        groups = [word for word in words if word.key.split("@")[0] in self._groups]
        rest = [word for word in words if word not in groups]
        key = tuple(map(str, groups))
        if key not in self._bases:
            self._bases[key] = self._compose(groups)
        return self._bases[key], rest

    def _compose(self, groups: Sequence[Word]) -> dict[str, Any]:
        """Return what Hydra composes of the fixed words and a choice of groups."""
        taken = {word.key for word in groups}
        fixed = []
        for word in self.fixed:
            if word.key in taken:
                continue
            if self._is_group(word):
                fixed.append(self._write(word))
            else:
                fixed.append(f"++{word}")
        chosen = [*fixed, *map(self._write, groups)]
        return to_raw(compose(chosen))

    def _write(self, word: Word) -> str:
        """Return a word that chooses a group, or another one as it is, such as a deletion."""
        if word.key.split("@")[0] in self._groups:
            return write_group(word.key, word.text)
        return str(word)

    def _is_group(self, word: Word) -> bool:
        """Return True if Hydra has to compose the word: a group, Hydra's own, or a deletion."""
        if word.key.startswith(("hydra", "~")):
            return True
        return word.key.split("@")[0] in self._groups


def find_faults(space: Space, composer: Composer) -> list[Fault]:
    """Return every fault that a trial of this space could have by itself.

    Each end of each domain is composed and checked.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    faults: list[Fault] = []
    for words in space.probes():
        try:
            composer.config(words)
        except ConfigError as error:
            faults += _as_faults(error)
        except (HydraException, OmegaConfBaseException) as error:
            where = " ".join(map(str, words)) or "composition"
            what = " ".join(str(error).split())
            faults.append(Fault(where, what))
    return list(dict.fromkeys(faults))


def _as_faults(error: ConfigError) -> Iterable[Fault]:
    lines = str(error).split("\n  - ")
    for line in lines[1:] or lines:
        where, _, what = line.partition(": ")
        yield Fault(where, what)


def _set(config: dict[str, Any], word: Word) -> None:
    """Set a value at a dotted key.

    A node that is not there yet is made; the check of the configuration refuses it later.
    """
    *path, last = word.key.split(".")
    node = config
    for part in path:
        below = node.get(part)
        if not isinstance(below, dict):
            below = node[part] = {}
        node = below

    value = copy.deepcopy(word.value)
    if isinstance(value, dict) and isinstance(node.get(last), dict):
        value = {**node[last], **value}
    node[last] = value


def _difference(prefix: str, wanted: Any, base: Any) -> list[str]:  # noqa: ANN401 - whatever YAML held
    """Return the words that turn the base into the wanted values."""
    if isinstance(wanted, dict) and isinstance(base, dict):
        dot = f"{prefix}." if prefix else ""
        words: list[str] = []
        for key, value in wanted.items():
            words += _difference(f"{dot}{key}", value, base.get(key))
        return words
    if wanted == base:
        return []
    return [f"{prefix}={_quoted(wanted)}"]


def _quoted(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    """Return a value in Hydra's grammar."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_quoted, value))}]"
    if isinstance(value, dict):
        pairs = [f"{key}:{_quoted(inner)}" for key, inner in value.items()]
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, str):
        # A text that Hydra would read back as a number, or not at all, stands in quotes.
        is_plain = _PLAIN.fullmatch(value) is not None and read(value) == value
        if not is_plain:
            return QuotedString(escape_text(value), Quote.single).with_quotes()
    return write(value)


def _has_interpolation(node: Any) -> bool:  # noqa: ANN401 - whatever YAML held
    texts = [leaf for _, leaf in walk(node) if isinstance(leaf, str)]
    return any("${" in text or text == MISSING for text in texts)


def _resolve(config: dict[str, Any]) -> dict[str, Any]:
    """Return a trial's values with every reference followed.

    They are checked first: some of its words come from a storage that others write to.

    Raises:
        ConfigError: a reference stands where none may.
    """
    faults = find_references(config)
    if faults:
        raise ConfigError(listing("The trial was refused", [str(fault) for fault in faults]))
    return resolve_references(config)
