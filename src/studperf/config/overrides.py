"""Finds every fault of a command line. Hydra stops at the first, names no neighbour and lets `+typo` through."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from studperf.config import config_dir
from studperf.config.faults import Fault, unknown_key
from studperf.config.interpolation import resolve_sweeper
from studperf.config.naming import take_hydra_off
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

Check = Callable[["DictConfig"], list[Fault]]
CheckStudy = Callable[[Sequence[str], dict[str, Any]], list[Fault]]
_SWEEPER = "hydra.sweeper."
_OF_HYDRA = ("_target_", "params", "max_batch_size")
"""Keys of Hydra's own sweeper, which makes a multirun without a study."""
_FUNCTIONS = (
    "bool",
    "choice",
    "float",
    "glob",
    "int",
    "interval",
    "range",
    "shuffle",
    "sort",
    "str",
    "tag",
)
"""Of Hydra's grammar."""


def group_names() -> set[str]:
    """The configuration groups: the folders of conf/, and those of a user's own ./conf. Asking Hydra takes as long as composing."""
    roots = [root for root in (config_dir(), Path.cwd() / "conf") if root.is_dir()]
    return {
        folder.name
        for root in roots
        for folder in root.iterdir()
        if folder.is_dir() and folder.name != "hydra"
    }


@dataclass(frozen=True)
class Line:
    """The words of a command line, read and checked.

    Args:
        overrides: the words that could be read.
        faults: of all words, those of every value of a sweep included, without repeats.
        groups: names of the configuration groups.
        cfg: what the words compose to, if that is one configuration without fault, and none of them is for Hydra itself to judge.
    """

    overrides: list[Override]
    faults: list[Fault]
    groups: set[str]
    cfg: DictConfig | None

    def words(self) -> list[str]:
        """As Hydra takes them. It wants `+` before a key that the YAML does not hold; we take any valid one without: `++key=value`."""
        return _with_plus(self.overrides, self.groups)


def read_line(
    overrides: Sequence[str], *, check: Check, check_study: CheckStudy | None = None
) -> Line:
    """Reads a command line and finds all of its faults.

    Args:
        overrides: words of the command line, such as `model=mlp` or `data.allow_leaks=[passed]`.
        check: gives the faults of a composed configuration.
        check_study: gives those of a study, from its words and the settings of its sweeper. A study does this itself as it begins; it is
            asked here where other faults keep it from beginning, so that all are told at once.
    """
    loader = GlobalHydra.instance().config_loader()
    groups = group_names()
    parsed, faults = _parse_all(overrides, loader)
    sweeper = _sweeper_of(parsed)
    # A study checks what it varies itself, before its first trial. Some keys exist only with some of its choices.
    its_own = {
        str(key) for block in sweeper.get("conditional") or [] for key in block.get("params") or []
    }
    seen = [o for o in parsed if _key(o) not in its_own]
    is_study = bool(sweeper) and not _is_multirun_of_hydra(sweeper)
    if sweeper and not is_study:
        seen += _sweeper_params(sweeper, parsed, loader)
    if not sweeper and not any(_key(o) in ("sweeps", "hydra/sweeper") for o in parsed):
        said = "an interval is varied by a study alone; add -m hydra/sweeper=optuna"
        faults += [Fault(_key(o), said) for o in parsed if _is_range_of_numbers(o)]
    if (keys := [o for o in parsed if _is_of_a_study(o)]) and _is_multirun_of_hydra(
        sweeper or _sweeper_of_groups(parsed, groups)
    ):
        faults += [
            Fault(_key(o), "is for a study; add -m sweeps=NAME, or -m hydra/sweeper=optuna")
            for o in keys
        ]
    for line in _combinations(seen):
        found, cfg = _check_values(line, groups=groups, loader=loader, check=check)
        faults += found
    if faults and is_study and check_study is not None:
        faults += check_study(
            [
                str(o.input_line)
                for o in parsed
                if not _is_told(o, faults) and not _key(o).startswith("hydra")
            ],
            sweeper,
        )
    is_one = not faults and not sweeper and all(_is_plain(o) for o in parsed)
    return Line(parsed, list(dict.fromkeys(faults)), groups, cfg if is_one else None)


def _parse_all(words: Sequence[str], loader: ConfigLoader) -> tuple[list[Override], list[Fault]]:
    """The words that can be read, and the faults of the others."""
    parsed: list[Override] = []
    faults: list[Fault] = []
    for text in words:
        key, is_given, value = text.partition("=")
        if not key.strip("+~ "):
            faults.append(
                Fault(text or "''", "the key is missing before '='" if is_given else "names no key")
            )
            continue
        try:
            override = _parse(text, loader)
        except HydraException as error:
            if is_given and _is_call(value):
                faults.append(Fault(key.lstrip("+"), why_refused(value, error)))
            else:
                faults.append(
                    Fault(
                        text,
                        "is not of the form key=value (quote it if the shell takes parts of it away)",
                    )
                )
            continue
        if override.is_range_sweep() and (empty := _why_empty(override)):
            faults.append(Fault(_key(override), f"{empty}, got {value}"))
        else:
            parsed.append(override)
    return parsed, faults


def _why_empty(override: Override) -> str | None:
    value: Any = override.value()
    if not value.step:
        return "a range's step must not be 0"
    return None if list(override.sweep_iterator()) else "the range is empty"


def first_values(words: Sequence[str]) -> list[str]:
    """Words with the first value of each that is swept over; a range has no values, and is left out."""
    loader = GlobalHydra.instance().config_loader()
    kept = []
    for override in (_parse(word, loader) for word in words):
        if not override.is_sweep_override():
            kept.append(str(override.input_line))
        elif override.is_discrete_sweep():
            kept.append(f"{override.get_key_element()}={_values_of(override)[0]}")
    return kept


def _parse(text: str, loader: ConfigLoader) -> Override:
    """An override; a value that Hydra's grammar can't read, such as a path with spaces or accents, is taken as plain text."""
    parser = OverridesParser.create(config_loader=loader)
    try:
        return parser.parse_override(text)
    except HydraException:
        key, is_given, value = text.partition("=")
        if not is_given or not value or value[0] in "[{'\"" or _is_call(value):
            raise
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return parser.parse_override(f"{key}='{quoted}'")


def _is_call(value: str) -> bool:
    """Whether a value that could not be read was meant as one of the grammar's functions, and not as a path such as `file(1)`."""
    name, is_open, _ = value.partition("(")
    return bool(is_open) and (
        name in _FUNCTIONS or bool(difflib.get_close_matches(name, _FUNCTIONS, n=1, cutoff=0.8))
    )


def why_refused(value: str, error: Exception) -> str:
    """Why Hydra's grammar refuses a value."""
    first = str(error).split("\n")[0]
    inner = value.replace(" ", "")
    if "choice(null" in inner or ",null" in inner:
        return f"choice(...) takes no null in Hydra; list the values without it: {value.removeprefix('choice(').removesuffix(')')}"
    if "Unknown function" in first:
        return f"{value.partition('(')[0]}: {unknown_key(value.partition('(')[0], _FUNCTIONS)}; got {value}"
    if " while evaluating " in first:
        return f"{first.split(': ', 1)[-1]}, got {value}"
    return (
        f"can't be read, do its brackets match? got {value}"
        if isinstance(error, HydraException)
        else f"{first}, got {value}"
    )


def _sweeper_of(overrides: Sequence[Override]) -> dict[str, Any]:
    """The configuration of the sweeper that the words choose; empty where they choose none."""
    chosen = [
        str(o.input_line)
        for o in overrides
        if _key(o) in ("sweeps", "hydra/sweeper") and not o.is_sweep_override()
    ]
    if not chosen:
        return {}
    groups = [str(o.input_line) for o in overrides if _key(o).startswith("hydra/sweeper/")]
    values = [
        f"++{str(o.input_line).lstrip('+')}"
        for o in overrides
        if _key(o).startswith(_SWEEPER) and not o.is_delete()
    ]
    for words in ([*chosen, *groups, *values], [*chosen, *values], chosen):
        if sweeper := _composed_sweeper(words):
            return sweeper
    return {}


def _sweeper_of_groups(overrides: Sequence[Override], groups: set[str]) -> dict[str, Any]:
    """The sweeper that stands behind the chosen groups: a file of the user's own may choose one, as those of sweeps/ do."""
    return _composed_sweeper(
        [str(o.input_line) for o in overrides if _key(o) in groups and not o.is_sweep_override()]
    )


def _composed_sweeper(words: list[str]) -> dict[str, Any]:
    """Empty where the words can't be composed, which is told with all other faults."""
    try:
        cfg = compose("train", overrides=words, return_hydra_config=True)
        return resolve_sweeper(cfg.hydra.sweeper)
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError):
        return {}


def _is_multirun_of_hydra(sweeper: dict[str, Any]) -> bool:
    """Whether Hydra's own sweeper goes through the values, without a study."""
    return str(sweeper.get("_target_")).startswith("hydra._internal")


def _sweeper_params(
    sweeper: dict[str, Any], overrides: Sequence[Override], loader: ConfigLoader
) -> list[Override]:
    """What the chosen file of sweeps/ varies, as overrides, so that its values are checked before the first run too."""
    given = {_key(o) for o in overrides}
    words = [
        f"{key}={value}"
        for key, value in (sweeper.get("params") or {}).items()
        if str(key).lstrip("+") not in given
    ]
    return list(OverridesParser.create(config_loader=loader).parse_overrides(words))


def _with_plus(overrides: Sequence[Override], groups: set[str]) -> list[str]:
    """The words, with `++` before each key that the YAML does not hold and before no other: sweepers match keys by their text."""
    # A sweeper's unknown key is for the sweeper to refuse, which knows its neighbours.
    added = [o for o in overrides if _key(o).startswith(_SWEEPER)]
    as_they_are = [o for o in overrides if o not in added and _is_taken_as_it_is(o, groups)]
    if keys := [o for o in overrides if o not in added and o not in as_they_are]:
        chosen = (
            f"{_key(o)}={_values_of(o)[0]}"
            if _key(o) in groups and not o.is_delete()
            else str(o.input_line)
            for o in as_they_are
        )
        base = compose("train", overrides=list(chosen))
        added += [o for o in keys if OmegaConf.select(base, _key(o), default=base) is base]
    return [
        f"++{str(o.input_line).lstrip('+')}" if o in added else str(o.input_line) for o in overrides
    ]


def _is_plain(override: Override) -> bool:
    """Whether Hydra makes of the word what it makes of `++key=value`; a plus of the user's own and a new block it may refuse."""
    return (
        not override.is_sweep_override()
        and not str(override.input_line).startswith("+")
        and not isinstance(override.value(), dict)
    )


def _is_range_of_numbers(override: Override) -> bool:
    return override.is_sweep_override() and not override.is_discrete_sweep()


def _is_of_a_study(override: Override) -> bool:
    return (
        _key(override).startswith(_SWEEPER)
        and _key(override).removeprefix(_SWEEPER).split(".")[0] not in _OF_HYDRA
    )


def _is_told(override: Override, faults: Sequence[Fault]) -> bool:
    return any(
        fault.where == _key(override)
        or fault.where.startswith((f"{_key(override)}=", f"{_key(override)}."))
        for fault in faults
    )


def _key(override: Override) -> str:
    return str(override.get_key_element()).lstrip("+")


def _is_taken_as_it_is(override: Override, groups: set[str]) -> bool:
    return (
        override.is_delete()
        or _key(override).split("@")[0] in groups
        or _key(override).startswith("hydra")
    )


def _combinations(overrides: Sequence[Override]) -> Iterator[list[tuple[Override, str]]]:
    """Each sweep value once, with the other sweeps at their first value: enough to see every value's faults.

    A sweep over a range has no values to try; it is left to the sweeper.
    """
    overrides = [o for o in overrides if not _is_range_of_numbers(o)]
    values = [_values_of(override) for override in overrides]
    yield [(override, v[0]) for override, v in zip(overrides, values, strict=True)]
    for i, several in enumerate(values):
        for value in several[1:]:
            yield [(o, value if i == j else values[j][0]) for j, o in enumerate(overrides)]


def _values_of(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    return list(override.sweep_string_iterator()) or [""]


def _check_values(
    line: Sequence[tuple[Override, str]], *, groups: set[str], loader: ConfigLoader, check: Check
) -> tuple[list[Fault], DictConfig | None]:
    """The faults of overrides with these values, and what they compose to."""
    faults: list[Fault] = []
    kept: list[str] = []
    for override, value in line:
        key = _key(override)
        group = key.split("@")[0]
        if key.startswith(_SWEEPER):
            continue
        if override.is_delete() or (key.startswith("hydra") and "/" not in key):
            kept.append(override.input_line or "")
        elif group == "sweeps" and value == "null":  # the one group that may be left out
            kept.append(f"{key}=null")
        elif group in groups or "/" in group:
            options = loader.get_group_options(group, config_name="train", overrides=[])
            if value in options:
                kept.append(f"{key}={value}")
            else:
                faults.append(
                    Fault(
                        f"{key}={value}",
                        f"there is no {group} of this name; {unknown_key(value, options)}",
                    )
                )
        else:
            kept.append(f"++{key}={value}")
    found, cfg = _check_words(kept, check=check)
    return faults + found, cfg


def _check_words(words: list[str], *, check: Check) -> tuple[list[Fault], DictConfig | None]:
    faults: list[Fault] = []
    cfg: DictConfig | None = None
    try:
        cfg = take_hydra_off(compose("train", overrides=words, return_hydra_config=True))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        # One word that can't be composed must not hide the faults of the others.
        guilty = {word: reason for word in words if (reason := _reason(word)) is not None}
        faults = [Fault(word.lstrip("+"), reason) for word, reason in guilty.items()] or [
            Fault("composition", _first_line(error))
        ]
        if guilty:
            cfg = compose("train", overrides=[word for word in words if word not in guilty])
    try:
        faults += [] if cfg is None else check(cfg)
    except ConfigError as error:
        faults.append(Fault("composition", str(error)))
    return faults, cfg


def _reason(word: str) -> str | None:
    """Why a word alone can't be composed; None if it can."""
    try:
        compose("train", overrides=[word])
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    lines = " ".join(str(error.__cause__ or error).split("\n")[:3]).split()
    if lines[:2] == ["Cannot", "merge"]:
        return "a list and a block of keys can't take each other's place"
    return " ".join(lines)
