"""Search for every fault of a command line.

Hydra stops at the first fault, offers no near name and lets `+typo` through.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from studperf.config.faults import Fault, unknown_key
from studperf.config.grown import find_idle_keys
from studperf.config.interpolation import resolve_sweeper
from studperf.config.line.hydra_keys import Given, find_hydra_faults, find_refused_words
from studperf.config.naming import take_hydra_off
from studperf.config.paths import CONFIG_DIR, config_dir
from studperf.config.study import is_plain_multirun
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override

Check = Callable[["DictConfig"], list[Fault]]
CheckStudy = Callable[[Sequence[str], dict[str, Any]], list[Fault]]
_SWEEPER = "hydra.sweeper."
_SWEEPER_WORD = "hydra/sweeper=multirun"
# Keys of Hydra's own sweeper, which makes a multirun without a study.
_OF_HYDRA = ("_target_", "params", "max_batch_size")
# The functions of Hydra's grammar.
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


_FREE = ("hydra.job.env_set", "hydra.callbacks")
# Runs of one multirun: more would take days, and the list of a mistyped range would fill the memory
# before anybody sees it.
_MAX_RUNS = 10_000


def group_names() -> set[str]:
    """Return the configuration groups: the folders of conf/ and of a user's own.

    Asking Hydra for them takes as long as composing.
    """
    names: set[str] = set()
    for root in _roots():
        names |= {folder.name for folder in root.iterdir() if folder.is_dir()}
    return names - {"hydra"}


def _roots() -> list[Path]:
    """Return the folders that hold configuration groups.

    These are studperf's, ./conf, and that of --config-dir.
    """
    roots = [config_dir(), Path.cwd() / "conf"]
    if CONFIG_DIR in os.environ:
        roots.append(Path(os.environ[CONFIG_DIR]))
    return [root for root in roots if root.is_dir()]


def write_group(group: str, option: str) -> str:
    """Return the word that chooses a group's option.

    Hydra wants a plus before a group that the root configuration does not name, such as
    `+experiment=first`, and none before the others.
    """
    file = config_dir() / "train.yaml"
    named = _groups_of_root(file, file.stat().st_mtime_ns)
    if _group_of(group) in named or group.startswith("hydra"):
        return f"{group}={option}"
    return f"+{group}={option}"


@cache
def _groups_of_root(file: Path, mtime_ns: int) -> frozenset[str]:  # noqa: ARG001 - for the cache
    """Return the groups in the defaults list of the root configuration.

    With the time of its last change as an argument, a changed file is read again.
    """
    root = OmegaConf.to_container(OmegaConf.load(file))
    entries = root.get("defaults") or []  # type: ignore[union-attr] # a mapping
    keys: list[str] = []
    for entry in entries:
        if isinstance(entry, dict):
            keys += [str(key) for key in entry]
    names = [key.removeprefix("optional ").removeprefix("override ") for key in keys]
    return frozenset(name.lstrip("/").split("@")[0] for name in names)


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
        return _with_plus(self.overrides, self.groups)

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
    parsed, faults = _parse_all(overrides, loader)
    # In code, words are put together, and the last one counts.
    if is_multirun is not None:
        faults += _find_repeated(parsed, groups)
    faults += _find_not_varied(parsed)
    faults += find_refused_words(_given_to_hydra(parsed))
    parsed = [o for o in parsed if not _has_fault(o, faults)]

    sweeper = _sweeper_of(parsed)
    # A study checks what it varies itself, before its first trial. Some keys exist only with some
    # of its choices.
    conditional = _conditional_keys(sweeper)
    seen = [o for o in parsed if _key(o) not in conditional]
    own_sweeper = sweeper or _sweeper_of_groups(parsed, groups)
    is_study = bool(own_sweeper) and not is_plain_multirun(own_sweeper.get("_target_"))
    if sweeper and not is_study:
        seen += _sweeper_params(sweeper, parsed, loader)

    names_sweeper = any(_key(o) in ("sweeps", "hydra/sweeper") for o in parsed)
    if not sweeper and not names_sweeper:
        why = "an interval is varied by a study alone; add -m hydra/sweeper=optuna"
        faults += [Fault(_key(o), why) for o in parsed if _is_range_of_numbers(o)]
    if not is_study:
        why = "is for a study; add -m sweeps=NAME, or -m hydra/sweeper=optuna"
        faults += [Fault(_key(o), why) for o in parsed if _is_of_a_study(o)]
        if too_many := _find_too_many(parsed):
            return Line(parsed, [*faults, *too_many], groups, None)

    # Name -> node of each model that the words ask for.
    models: dict[str, dict[str, Any]] = {}
    for line in _combinations(seen):
        found, cfg = _check_values(line, groups=groups, loader=loader, check=check)
        faults += found
        models |= _model_of(cfg)
    faults += find_idle_keys(map(_key, seen), models)
    if not faults and any(_is_about_hydra(o, groups) for o in parsed):
        faults += _find_faults_of_hydra(parsed, groups, is_multirun=is_multirun)
    if faults and is_study and check_study is not None:
        faultless = [o for o in parsed if not _has_fault(o, faults)]
        words = [str(o.input_line) for o in faultless if not _key(o).startswith("hydra")]
        faults += check_study(words, sweeper)

    is_one = not faults and not sweeper and all(_is_plain(o) for o in parsed)
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


def _conditional_keys(sweeper: dict[str, Any]) -> set[str]:
    """Return the keys that a study varies only where others have certain values."""
    keys: set[str] = set()
    for block in sweeper.get("conditional") or []:
        keys |= {str(key) for key in block.get("params") or []}
    return keys


def _find_repeated(overrides: Sequence[Override], groups: set[str]) -> list[Fault]:
    """Find the groups that are chosen twice.

    Of a key that is no group the last value counts, as everywhere in Hydra.
    """
    first: dict[str, str] = {}
    faults = []
    for override in overrides:
        key = _key(override)
        value = _text_of_value(override)
        if not _is_group(key, groups) or override.is_delete():
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
    """Find what holds for a whole command, and yet was given several values."""
    faults = []
    for override in overrides:
        key = _key(override)
        if not override.is_sweep_override():
            continue
        if key == "sweeps":
            faults.append(Fault(key, "one study at a time; each is a command of its own"))
        elif key.startswith("hydra"):
            faults.append(Fault(key, "holds for the whole command, so it takes one value"))
    return faults


def _find_too_many(overrides: Sequence[Override]) -> list[Fault]:
    """Find values that together are more runs than one multirun can be meant for."""
    varied = [o for o in overrides if o.is_sweep_override() and o.is_discrete_sweep()]
    n_runs = math.prod(_count_values(o) for o in varied)
    if n_runs <= _MAX_RUNS:
        return []
    keys = " ".join(map(_key, varied))
    return [Fault(keys, f"{n_runs:,} runs; a multirun takes {_MAX_RUNS:,} at most")]


def _count_values(override: Override) -> int:
    if override.is_range_sweep():
        return _length_of_range(override)
    return len(_values_of(override))


def _length_of_range(override: Override) -> int:
    value: Any = override.value()
    n_values: int = math.ceil((value.stop - value.start) / value.step)
    return max(0, n_values)


def _is_group(key: str, groups: set[str]) -> bool:
    group = _group_of(key)
    return group in groups or "/" in group


def _is_about_hydra(override: Override, groups: set[str]) -> bool:
    """Return True if a word sets a key of Hydra's, or chooses a file that may do so.

    The files of sweeps/ do.
    """
    group = _group_of(_key(override))
    if group.startswith("hydra"):
        return True
    if group not in groups or override.is_delete():
        return False
    options = _values_of(override)
    for root in _roots():
        for option in options:
            file = root / group / f"{option}.yaml"
            if file.is_file() and "hydra" in file.read_text(encoding="utf-8", errors="replace"):
                return True
    return False


def _given_to_hydra(overrides: Sequence[Override]) -> list[Given]:
    given = []
    for override in overrides:
        key = _key(override).lstrip("~")
        first = key.split(".")[0].split("/")[0]
        if first == "hydra":
            given.append(Given(key, _text_of_value(override), override.is_delete()))
    return given


def _find_faults_of_hydra(
    overrides: Sequence[Override], groups: set[str], *, is_multirun: bool | None
) -> list[Fault]:
    words = first_values(_with_plus(overrides, groups))
    given = _given_to_hydra(overrides)
    try:
        cfg = compose("train", overrides=words, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return [Fault("composition", _why_not_composed(error))]
    base = compose("train", overrides=[], return_hydra_config=True)
    return find_hydra_faults(given, cfg, base, is_multirun=is_multirun)


def _parse_all(words: Sequence[str], loader: ConfigLoader) -> tuple[list[Override], list[Fault]]:
    """Return the words that can be parsed, and the faults of the others."""
    parsed: list[Override] = []
    faults: list[Fault] = []
    for text in words:
        key, is_given, value = text.partition("=")
        if not key.strip("+~ "):
            what = "the key is missing before '='" if is_given else "names no key"
            faults.append(Fault(text or "''", what))
            continue
        try:
            override = _parse(text, loader)
        except HydraException as error:
            if is_given and _is_call(value):
                faults.append(Fault(key.lstrip("+"), why_refused(value, error)))
            else:
                what = "is not of the form key=value (quote it if the shell takes parts of it away)"
                faults.append(Fault(text, what))
            continue
        if override.is_range_sweep() and (wrong := why_no_range(override)):
            faults.append(Fault(_key(override), f"{wrong}, got {value}"))
        else:
            parsed.append(override)
    return parsed, faults


def why_no_range(override: Override) -> str | None:
    """Return what is wrong with a `range(...)`, or None if nothing is."""
    value: Any = override.value()
    numbers = (value.start, value.stop, value.step)
    if not all(math.isfinite(number) for number in numbers):
        return "a range's ends and its step must be finite"
    if not value.step:
        return "a range's step must not be 0"
    n_values = _length_of_range(override)
    if not n_values:
        return "the range is empty"
    if n_values > _MAX_RUNS:
        return (
            f"the range holds {n_values:,} values, and {_MAX_RUNS:,} are the most; "
            "a study takes int(interval(...))"
        )
    return None


def first_values(words: Sequence[str]) -> list[str]:
    """Return the words with the first value of each sweep.

    An `interval(...)` has no values, and its word is left out.
    """
    loader = GlobalHydra.instance().config_loader()
    kept = []
    for override in (_parse(word, loader) for word in words):
        if not override.is_sweep_override():
            kept.append(str(override.input_line))
        elif override.is_discrete_sweep():
            kept.append(f"{override.get_key_element()}={_values_of(override)[0]}")
    return kept


def _parse(text: str, loader: ConfigLoader) -> Override:
    """Parse an override.

    A value that Hydra's grammar can't read, such as a path with spaces or accents, is taken as
    plain text. A `glob(...)` becomes the options that it stands for: Hydra 1.3.8 looks for them in
    its own folders alone, and not in ./conf.
    """
    parser = OverridesParser.create(config_loader=loader)
    try:
        override = parser.parse_override(text)
    except HydraException:
        key, is_given, value = text.partition("=")
        if not is_given or not value or value[0] in "[{'\"" or _is_call(value):
            raise
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        override = parser.parse_override(f"{key}='{quoted}'")
    pattern: object = override.value()
    if isinstance(pattern, Glob):
        options = loader.get_group_options(_key(override), config_name="train", overrides=[])
        names = ",".join(pattern.filter(options)) or "null"
        return parser.parse_override(f"{text.partition('=')[0]}={names}")
    return override


def _is_call(value: str) -> bool:
    """Return True if an unreadable value was meant as a call of a grammar function.

    `file(1)` is a path, and no call.
    """
    name, is_open, _ = value.partition("(")
    if not is_open:
        return False
    near = difflib.get_close_matches(name, _FUNCTIONS, n=1, cutoff=0.8)
    return name in _FUNCTIONS or bool(near)


def why_refused(value: str, error: Exception) -> str:
    """Return why Hydra's grammar refuses a value."""
    first = str(error).split("\n")[0]
    inner = value.replace(" ", "")
    if "choice(null" in inner or ",null" in inner:
        values = value.removeprefix("choice(").removesuffix(")")
        return f"choice(...) takes no null in Hydra; list the values without it: {values}"
    if "Unknown function" in first:
        name = value.partition("(")[0]
        return f"{name}: {unknown_key(name, _FUNCTIONS)}; got {value}"
    if " while evaluating " in first:
        return f"{first.split(': ', 1)[-1]}, got {value}"
    if isinstance(error, HydraException):
        return f"can't be read, do its brackets match? got {value}"
    return f"{first}, got {value}"


def _sweeper_of(overrides: Sequence[Override]) -> dict[str, Any]:
    """Return the configuration of the sweeper that the words choose, empty if they choose none."""
    chosen = [
        str(o.input_line)
        for o in overrides
        if _key(o) in ("sweeps", "hydra/sweeper")
        and not o.is_sweep_override()
        and not _is_no_sweep(o)
    ]
    if not chosen:
        return {}
    groups = [str(o.input_line) for o in overrides if _key(o).startswith("hydra/sweeper/")]
    values = [
        f"++{str(o.input_line).lstrip('+')}"
        for o in overrides
        if _key(o).startswith(_SWEEPER) and not o.is_delete()
    ]
    # A faulty word must not hide the sweeper: with fewer words it may still be composed.
    for words in ([*chosen, *groups, *values], [*chosen, *values], chosen):
        if sweeper := _composed_sweeper(words):
            return sweeper
    return {}


def _sweeper_of_groups(overrides: Sequence[Override], groups: set[str]) -> dict[str, Any]:
    """Return the sweeper that a file of the chosen groups sets, empty if none does.

    A user's own file may choose a sweeper, as those of sweeps/ do.
    """
    chosen = [o for o in overrides if _key(o) in groups and not o.is_sweep_override()]
    if not any(_is_about_hydra(o, groups) for o in chosen):
        return {}
    return _composed_sweeper([_as_hydra_takes_it(o, groups, is_added=False) for o in chosen])


def _composed_sweeper(words: list[str]) -> dict[str, Any]:
    """Return the sweeper that words compose to, empty if they can't be composed.

    That fault is reported later, with all others.
    """
    try:
        cfg = compose("train", overrides=words, return_hydra_config=True)
        return resolve_sweeper(cfg.hydra.sweeper)
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError):
        return {}


def _sweeper_params(
    sweeper: dict[str, Any], overrides: Sequence[Override], loader: ConfigLoader
) -> list[Override]:
    """Return what the chosen file of sweeps/ varies, as overrides.

    So its values are checked before the first run too.
    """
    given = {_key(o) for o in overrides}
    words = [
        f"{key}={value}"
        for key, value in (sweeper.get("params") or {}).items()
        if str(key).lstrip("+") not in given
    ]
    return list(OverridesParser.create(config_loader=loader).parse_overrides(words))


def _with_plus(overrides: Sequence[Override], groups: set[str]) -> list[str]:
    """Return the words with `++` before each key that the YAML does not hold.

    No other key gets one: sweepers match keys by their text.
    """
    overrides = [o for o in overrides if not _is_no_sweep(o)]
    # A sweeper's unknown key is for the sweeper to refuse, which knows its neighbours.
    added = [o for o in overrides if _key(o).startswith(_SWEEPER) or _is_free_key(o)]
    as_they_are = [o for o in overrides if o not in added and _is_taken_as_it_is(o, groups)]
    if keys := [o for o in overrides if o not in added and o not in as_they_are]:
        chosen = [_with_first_option(o, groups) for o in as_they_are]
        base = compose("train", overrides=chosen)
        # `base` itself stands for a key that is not there; None may be a key's value.
        added += [o for o in keys if OmegaConf.select(base, _key(o), default=base) is base]
    return [_as_hydra_takes_it(o, groups, is_added=o in added) for o in overrides]


def _with_first_option(override: Override, groups: set[str]) -> str:
    """Return the word of a group with its first option, and any other word as it is."""
    if _key(override) in groups and not override.is_delete():
        return write_group(_key(override), _values_of(override)[0])
    return str(override.input_line)


def _as_hydra_takes_it(override: Override, groups: set[str], *, is_added: bool) -> str:
    text = str(override.input_line)
    if is_added:
        return f"++{text.lstrip('+')}"
    if _group_of(_key(override)) in groups and not override.is_delete():
        word = write_group(_key(override), _text_of_value(override))
        # A plus of the user's own stays, for Hydra to judge.
        is_plus_lost = text.startswith("+") and not word.startswith("+")
        return text if is_plus_lost else word
    return text


def _is_free_key(override: Override) -> bool:
    """Return True if a key of Hydra's holds names of the user's own.

    Hydra wants a plus before those.
    """
    return _key(override).startswith(_FREE) and not override.is_delete()


def _is_no_sweep(override: Override) -> bool:
    """Return True if a word says that there is no study: `sweeps=null`.

    Hydra 1.3.8 ends in a traceback where a group is set to null.
    """
    return _key(override) == "sweeps" and override.value() is None and not override.is_delete()


def _is_plain(override: Override) -> bool:
    """Return True if Hydra reads the word as it reads `++key=value`.

    It may refuse a plus of the user's own, and a new block.
    """
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


def _has_fault(override: Override, faults: Sequence[Fault]) -> bool:
    return any(
        fault.where == _key(override)
        or fault.where.startswith((f"{_key(override)}=", f"{_key(override)}."))
        for fault in faults
    )


def _key(override: Override) -> str:
    return str(override.get_key_element()).lstrip("+")


def _group_of(key: str) -> str:
    """Return the group of a key such as `group@package`."""
    return key.split("@", maxsplit=1)[0]


def _text_of_value(override: Override) -> str:
    """Return an override's value as it was typed."""
    return str(override.input_line).partition("=")[2]


def _is_taken_as_it_is(override: Override, groups: set[str]) -> bool:
    return (
        override.is_delete()
        or _group_of(_key(override)) in groups
        or _key(override).startswith("hydra")
    )


def _combinations(overrides: Sequence[Override]) -> Iterator[list[tuple[Override, str]]]:
    """Yield each sweep value once, with the other sweeps at their first value.

    That is enough to see every value's faults. A sweep over an interval has no values to try; it is
    left to the sweeper.
    """
    overrides = [o for o in overrides if not _is_range_of_numbers(o)]
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
    values = _values_of(override)
    if override.is_sweep_override() and override.is_range_sweep():
        return list(dict.fromkeys([*values[:2], values[-1]]))
    return values


def _values_of(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    return list(override.sweep_string_iterator()) or [""]


def _check_values(
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
        key = _key(override)
        group = _group_of(key)
        if key.startswith(_SWEEPER):
            continue
        if override.is_delete() or (key.startswith("hydra") and "/" not in key):
            kept.append(_as_hydra_takes_it(override, groups, is_added=_is_free_key(override)))
        elif group == "sweeps" and value == "null":
            continue
        elif group in groups or "/" in group:
            options = loader.get_group_options(group, config_name="train", overrides=[])
            if value in options:
                kept.append(write_group(key, value))
            else:
                what = f"there is no {group} of this name; {unknown_key(value, options)}"
                faults.append(Fault(f"{key}={value}", what))
        else:
            kept.append(f"++{key}={value}")
    found, cfg = _check_words(kept, check=check)
    keys = {_key(override) for override, _ in line} - groups
    found = [_explain_group(fault, keys, groups) for fault in found]
    return faults + found, cfg


def _explain_group(fault: Fault, keys: set[str], groups: set[str]) -> Fault:
    """Return a fault that explains a group, if an unknown key was meant as one.

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


def _check_words(words: list[str], *, check: Check) -> tuple[list[Fault], DictConfig | None]:
    faults: list[Fault] = []
    cfg: DictConfig | None = None
    try:
        cfg = take_hydra_off(compose("train", overrides=words, return_hydra_config=True))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        # One word that can't be composed must not hide the faults of the others.
        chosen = [word for word in words if "/" in word.partition("=")[0]]
        guilty: dict[str, str] = {}
        for word in words:
            reason = _reason(word, [other for other in chosen if other != word])
            if reason is not None:
                guilty[word] = reason
        faults = [Fault(word.lstrip("+"), reason) for word, reason in guilty.items()]
        if guilty:
            cfg = compose("train", overrides=[word for word in words if word not in guilty])
        else:
            faults = [Fault("composition", _why_not_composed(error))]
    try:
        if cfg is not None:
            faults += check(cfg)
    except ConfigError as error:
        faults.append(Fault("composition", str(error)))
    return faults, cfg


def _reason(word: str, chosen: Sequence[str]) -> str | None:
    """Return why a word can't be composed, or None if it can.

    It is composed beside the groups of Hydra that are chosen for it.
    """
    try:
        compose("train", overrides=[*chosen, word])
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return _why_not_composed(error)
    return None


def _why_not_composed(error: Exception) -> str:
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
