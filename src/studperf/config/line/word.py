"""A word of a command line, such as `model.dropout=0.1,0.2`, as Hydra's grammar reads it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException

from studperf.config.faults import Fault, unknown_key
from studperf.config.run import MAX_RUNS

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override

SWEEPER = "hydra.sweeper."
# Keys of Hydra's own sweeper, which makes a multirun without a study.
_OF_HYDRA = ("_target_", "params", "max_batch_size")


def is_of_study(override: Override) -> bool:
    """Return True if a word sets a key that the sweeper of a study alone has."""
    return (
        key_of(override).startswith(SWEEPER)
        and key_of(override).removeprefix(SWEEPER).split(".")[0] not in _OF_HYDRA
    )


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


def parse_words(
    words: Sequence[str],
    loader: ConfigLoader,
) -> tuple[list[Override], list[Fault]]:
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
            override = parse_word(text, loader)
        except HydraException as error:
            if is_given and _is_call(value):
                faults.append(Fault(key.lstrip("+"), why_refused(value, error)))
            else:
                what = "is not of the form key=value (quote it if the shell takes parts of it away)"
                faults.append(Fault(text, what))
            continue
        if override.is_range_sweep() and (wrong := why_no_range(override)):
            faults.append(Fault(key_of(override), f"{wrong}, got {value}"))
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
    n_values = length_of_range(override)
    if not n_values:
        return "the range is empty"
    if n_values > MAX_RUNS:
        return (
            f"the range holds {n_values:,} values, and {MAX_RUNS:,} are the most; "
            "a study takes int(interval(...))"
        )
    return None


def first_values(words: Sequence[str]) -> list[str]:
    """Return the words with the first value of each sweep.

    An `interval(...)` has no values, and its word is left out.
    """
    loader = GlobalHydra.instance().config_loader()
    kept = []
    for override in (parse_word(word, loader) for word in words):
        if not override.is_sweep_override():
            kept.append(str(override.input_line))
        elif override.is_discrete_sweep():
            kept.append(f"{override.get_key_element()}={values_of(override)[0]}")
    return kept


def parse_word(text: str, loader: ConfigLoader) -> Override:
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
        options = loader.get_group_options(key_of(override), config_name="train", overrides=[])
        names = ",".join(pattern.filter(options)) or "null"
        return parser.parse_override(f"{text.partition('=')[0]}={names}")
    return override


def _is_call(value: str) -> bool:
    """Return True if an unreadable value looks like a call of one of the grammar's functions.

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


def key_of(override: Override) -> str:
    """Return a word's key, without the plus that Hydra wants before some."""
    return str(override.get_key_element()).lstrip("+")


def text_of_value(override: Override) -> str:
    """Return an override's value as it was typed."""
    return str(override.input_line).partition("=")[2]


def values_of(override: Override) -> list[str]:
    """Return all values of a word, as texts; one if it varies nothing."""
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    return list(override.sweep_string_iterator()) or [""]


def length_of_range(override: Override) -> int:
    """Return how many values a `range(...)` holds."""
    value: Any = override.value()
    n_values: int = math.ceil((value.stop - value.start) / value.step)
    return max(0, n_values)


def is_plain(override: Override) -> bool:
    """Return True if Hydra reads the word as it reads `++key=value`.

    It may refuse a plus of the user's own, and a new block.
    """
    return (
        not override.is_sweep_override()
        and not str(override.input_line).startswith("+")
        and not isinstance(override.value(), dict)
    )


def is_interval(override: Override) -> bool:
    """Return True if a word varies its key over an interval, whose values can't be listed."""
    return override.is_sweep_override() and not override.is_discrete_sweep()


def is_no_sweep(override: Override) -> bool:
    """Return True for the word `sweeps=null`, which chooses no study.

    Hydra 1.3.8 ends in a traceback where a group is set to null.
    """
    return key_of(override) == "sweeps" and override.value() is None and not override.is_delete()
