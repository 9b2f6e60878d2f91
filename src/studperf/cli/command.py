"""The words of a command line: flags, keys with their values, and names of commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from studperf.cli.process import make_console
from studperf.errors import ConfigError

_ONLY_SHOW = {
    "--cfg",
    "-c",
    "--help",
    "-h",
    "--hydra-help",
    "--info",
    "-i",
    "--version",
    "--shell-completion",
    "-sc",
}

_PARTS_OF_INFO = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}

MULTIRUN = {"-m", "--multirun"}

_TAKE_VALUES = {
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
}


def split_words() -> tuple[list[str], list[str]]:
    """Return the command line parted into flags and words that are no flags.

    A value that follows a flag stands among the flags.
    """
    flags: list[str] = []
    words: list[str] = []
    arguments = iter(sys.argv[1:])
    for word in arguments:
        if word.startswith("-"):
            flags.append(word)
            if word in _TAKE_VALUES:
                flags.append(next(arguments, ""))
        elif word in _PARTS_OF_INFO and flags and flags[-1] in ("--info", "-i"):
            flags.append(word)
        else:
            words.append(word)
    return flags, words


def only_shows(flags: Iterable[str]) -> bool:
    """Return True if flags ask for help or the composed configuration, and for no run."""
    return bool(_ONLY_SHOW & {flag.split("=")[0] for flag in flags})


def read_words(usage: str, flags: Sequence[str] = ()) -> list[str] | None:
    """Return the words of the command line, or None if help was asked for, and shown.

    Args:
        usage: shown as help.
        flags: flags of this command beside the common ones, as near names of a misspelt one; the
            command must have taken them away by now.

    Raises:
        ConfigError: a flag is not known.
    """
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        make_console().print(usage, markup=False, soft_wrap=True)
        return None
    given = [word for word in words if word.startswith("-")]
    check_flags(given, ("--help", "--debug", *flags))
    return words


def check_flags(flags: Iterable[str], known: Iterable[str]) -> None:
    """Check that all flags are known.

    Raises:
        ConfigError: names each that is not, and the nearest one.
    """
    names = [flag.split("=")[0] for flag in flags]
    faults = [f"{name}: {_unknown_flag(name, known)}" for name in names if name not in known]
    if faults:
        raise ConfigError("; ".join(faults))


def _unknown_flag(name: str, known: Iterable[str]) -> str:
    from studperf.config.faults import unknown_key

    if not name.startswith("--"):  # one letter is as near as any other
        return "unknown; --help shows what there is"
    return unknown_key(name, [flag for flag in known if flag.startswith("--")])


def read_keys(words: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return the keys and values of words of the form key=value.

    Raises:
        ConfigError: lists the keys that are not known, with the nearest one, and those that have no
            value, or two.
    """
    from studperf.config.faults import unknown_key

    given: dict[str, str] = {}
    faults = []
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            faults.append(f"{key}: {unknown_key(key, known)}")
        elif key in given:
            faults.append(f"{key}: is given twice, as {given[key]} and {value}")
        elif not value:
            faults.append(f"{key}: has no value; say {key}=...")
        given.setdefault(key, value)
    if faults:
        raise ConfigError("; ".join(faults))
    return given


def read_whole(key: str, text: str, *, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`, given in plain digits.

    Python's `int` would take the digits of any script.

    Raises:
        ConfigError: says what was expected.
    """
    is_plain = text.isascii() and text.isdigit()
    is_short = len(text) <= len(str(high))
    if not (is_plain and is_short) or not low <= int(text) <= high:
        raise ConfigError(f"{key}: must be a whole number from {low} to {high}, got {text!r}")
    return int(text)


def is_on(given: Mapping[str, str], key: str) -> bool:
    """Return True if key=true is given.

    Raises:
        ConfigError: its value is neither true nor false.
    """
    value = given.get(key, "false")
    if value not in ("true", "false"):
        raise ConfigError(f"{key}: must be true or false, got {value!r}")
    return value == "true"


def run_command_of(
    commands: Mapping[str, Callable[[list[str]], None]],
    usage: str,
    flags: Sequence[str] = (),
) -> None:
    """Run the command that the first word of the command line names.

    It takes the words that follow. The other arguments are those of `read_words`.

    Raises:
        ConfigError: it names none.
    """
    from studperf.config.faults import unknown_key

    if (words := read_words(usage, flags)) is None:
        return
    if not words:
        raise ConfigError(f"name a command: {', '.join(commands)}\n\n{usage}")
    name, *others = words
    if name not in commands:
        raise ConfigError(f"{name}: {unknown_key(name, commands)}")
    commands[name](others)
