"""The errors a user can cause, each with the exit code its command ends with."""

import re
from collections.abc import Sequence

# Control characters but for the line feed, line and paragraph separators, and those that turn
# the direction of writing.
_STEERING = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class StudperfError(Exception):
    """The base of errors that the user can mend; they are shown without a traceback."""

    exit_code = 2


class ConfigError(StudperfError):
    """The configuration was refused; the message lists every fault."""


class DataError(StudperfError):
    """The table can't be used as the dataset describes it; the message lists every fault."""


class LeakError(DataError):
    """A feature gives the target away."""


class RunError(StudperfError):
    """A run folder can't be used for what was asked of it."""


class ExportError(StudperfError):
    """A run's model can't be written as a bundle; nothing of it was left behind."""


class BundleError(StudperfError):
    """A bundle is not what its manifest says, or of a format that this version does not read."""


class CloudError(StudperfError):
    """Google Cloud refused, or was not reached; the message names the command that mends it."""


class TooLargeError(StudperfError):
    """The model needs more memory than there is; the message names its sizes."""


class DivergedError(StudperfError):
    """The loss left the finite numbers before there was a usable model."""


class ModelCodeError(StudperfError):
    """A model of the user's own failed in its own code; the message names the file and the line."""


class PrunedError(StudperfError):
    """A trial was stopped early, as others were better by then."""


class SweepError(StudperfError):
    """A study could not finish: too many of its trials failed, or its workers died."""

    exit_code = 1


class Interrupted(KeyboardInterrupt):
    """The command was stopped by Ctrl-C or SIGTERM; what was done so far is on disk.

    A multirun stops with it, where it goes on after an error.
    """


def listing(head: str, faults: Sequence[str]) -> str:
    """Return one message of several faults: the head with their number, then a line each."""
    first = f"{head} ({counted(len(faults), 'fault')}):"
    lines = [f"  - {fault}" for fault in faults]
    return "\n".join([first, *lines])


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, as `1 fault` or `2 faults`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def as_shown(text: str) -> str:
    r"""Return a text with the characters that steer a terminal spelt out, such as `\x1b`.

    Names and cells come from files: an escape sequence could rewrite what stands on the screen,
    and a character that turns the direction of writing could make a line read as another one.
    Line feeds stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return _STEERING.sub(_spell_out, text)


def _spell_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without its full stop, or its type's name."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0].rstrip(".")


def one_line(text: str) -> str:
    """Return a text with its line feeds spelt out too, as for a name."""
    return as_shown(text).replace("\n", "\\n")


def brief(text: str, n_characters: int = 1_000) -> str:
    """Return a text, cut if it is long, with its number of characters."""
    if len(text) <= n_characters:
        return text
    return f"{text[:n_characters]}... ({len(text):,} characters)"
