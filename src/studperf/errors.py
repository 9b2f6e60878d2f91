"""The errors a user can cause, each with the exit code its command ends with."""

from collections.abc import Sequence


class StudperfError(Exception):
    """Something the user can mend; shown without a traceback."""

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
    """Google Cloud refused, or could not be reached; the message names the command that mends it."""


class TooLargeError(StudperfError):
    """The model needs more memory than there is; the message names its sizes."""


class DivergedError(StudperfError):
    """The loss left the finite numbers before there was a usable model."""


class ModelCodeError(StudperfError):
    """A model of the user's own failed in its own code; the message names the file and the line."""


class PrunedError(StudperfError):
    """A trial was stopped early, as others were better by then."""


class SweepError(StudperfError):
    """A study came to no end: too many of its trials failed, or its workers died."""

    exit_code = 1


class Interrupted(KeyboardInterrupt):
    """Stopped by Ctrl-C or SIGTERM; what was done so far is on disk. A multirun stops with it, where it goes on after an error."""


def listing(head: str, faults: Sequence[str]) -> str:
    """One message out of several faults: the head with their number, then a line each."""
    return "\n".join(
        [f"{head} ({counted(len(faults), 'fault')}):", *(f"  - {fault}" for fault in faults)]
    )


def counted(n: int, noun: str) -> str:
    """`1 fault`, `2 faults`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
