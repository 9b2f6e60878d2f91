"""The frame of a command's process: exit codes, explained errors, the terminal."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf.errors import ConfigError, StudperfError, as_shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


_OUR_FAULT = 1

_INTERRUPTED = 130

_DEBUG = "STUDPERF_DEBUG"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

# Errors that the system may raise about a path.
_OF_A_PATH = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
    *(errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV, errno.ETXTBSY),
)

# The exit code of `run_command`, for the exit handler of `end_at_once`.
_exit_code: list[int] = []


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command and end the process with its exit code.

    The codes are 0 done, 1 our fault, 2 the user's, 130 interrupted. A user's mistake is explained
    in one message; `--debug` or STUDPERF_DEBUG=1 adds the traceback.
    """
    if "--debug" in sys.argv:
        sys.argv.remove("--debug")
        os.environ[_DEBUG] = "1"
    try:
        code = command() or 0
        sys.stdout.flush()
    except StudperfError as error:
        code = _refuse(str(error), error.exit_code)
    except KeyboardInterrupt as error:
        print_error(str(error) or "interrupted")
        code = _INTERRUPTED
    except SystemExit as left:  # Hydra's --help
        if isinstance(left.code, int):
            _exit_code.append(left.code)
        else:
            _exit_code.append(int(left.code is not None))
        raise
    except BrokenPipeError:  # `... | head` has read enough
        code = 0
    except Exception as error:  # noqa: BLE001 - Python would print it with the secrets in it
        words = _explain_os_error(error) if isinstance(error, OSError) else None
        if words is None:
            _print_traceback()
            code = _OUR_FAULT
        else:
            code = _refuse(words, ConfigError.exit_code)
    _silence_closed_pipes()
    _exit_code.append(code)
    sys.exit(code)


def _refuse(message: str, exit_code: int) -> int:
    """Print why a command was refused, and return its exit code.

    The traceback comes first, if it was asked for.
    """
    if os.environ.get(_DEBUG) == "1":
        _print_traceback()
    print_error(message)
    return exit_code


def _explain_os_error(error: OSError) -> str | None:
    """Return what the system refused, or None for what no user can mend."""
    where = f"{error.filename}: " if error.filename is not None else ""
    if error.errno in _NO_ROOM:
        return (
            f"{where}{error.strerror}. Make room, or name a folder elsewhere: "
            "runs=FOLDER, for temporary files TMPDIR=FOLDER"
        )
    if where and error.errno in _OF_A_PATH:
        return (
            f"{where}{error.strerror}. Name a file or folder that can be read and written here; "
            "--debug shows what was tried"
        )
    return None


def _silence_closed_pipes() -> None:
    """Keep Python from complaining about a closed pipe as it ends.

    It writes what is left in its buffers then, though nobody may read any more.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())


def end_at_once() -> None:
    """End the process as soon as the last exit handler has run.

    This has to be the first call of a process. Python would first take apart every object that
    torch and lightning made, which takes a second. mypy ends itself this way.
    """

    # Handlers run in reverse order, so that the first to be registered is the last to run.
    def end() -> None:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(_exit_code[-1] if _exit_code else 1)

    atexit.register(end)


def _print_traceback() -> None:
    """Write the traceback of the current error to stderr, with secrets masked.

    A library's own message may hold an address with its password.
    """
    from studperf.config.secrets import mask

    sys.stderr.write(mask(traceback.format_exc()))


def print_error(message: str) -> None:
    """Write a message to stderr, marked as an error."""
    _write_line(f"error: {message}")


def print_warning(message: str) -> None:
    """Write a warning to stderr, as stdout is for a command's results."""
    _write_line(f"warning: {message}")


def _write_line(text: str) -> None:
    """Write a line to stderr, safe to show in a terminal.

    Secrets are masked, and characters that would steer the terminal are escaped.
    """
    from studperf.config.secrets import mask

    with suppress(BrokenPipeError):
        sys.stderr.write(as_shown(mask(text)) + "\n")


def check_output(key: str, path: Path, *, is_file: bool = False) -> None:
    """Refuse a place that can't be written, before the work for it begins.

    Args:
        key: the key that named the place, such as `out`.
        path: a file or a folder, there or not yet; missing folders above it are made when it is
            written.
        is_file: a file is written there, so that it can't be a folder.

    Raises:
        ConfigError: says what is in the way.
    """
    import tempfile

    if is_file and path.is_dir():
        raise ConfigError(f"{key}={path}: is a folder; name a file in it")
    try:
        if path.is_dir():
            near = path
        else:
            near = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.TemporaryDirectory(dir=near, prefix=".studperf-"):
            pass  # trying is surer than the permission bits: /proc says that it can be written
        if path.exists() and not path.is_dir() and not path.is_file():
            raise ConfigError(f"{key}={path}: is no regular file; name one, or a new one")
    except OSError as error:
        raise ConfigError(f"{key}={path}: can't be written: {error.strerror}") from error


@contextmanager
def importing() -> Iterator[None]:
    """Switch the garbage collector off while packages are imported.

    What they made is never looked through again. Imports allocate much and free nothing, and each
    pass goes over all that is there: lightning takes 2.3 s instead of 3.2 s.
    """
    was_enabled = gc.isenabled()
    n_modules = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        # In a process that has the modules already, freezing would only keep its garbage.
        if len(sys.modules) > n_modules:
            gc.freeze()
            atexit.register(gc.unfreeze)  # what is still frozen then, nanobind reports as leaks
        if was_enabled:
            gc.enable()


def make_console(*, is_quiet: bool = False) -> Console:
    """Return the terminal, or a console that shows nothing if it is to be quiet.

    Where output is not a terminal, tables get a width that fits a log, or $COLUMNS. Whatever is
    shown is text and no markup: a column may be called `rate [/min]`, a file `t[bold].csv`.
    """
    from rich.console import Console

    class PlainConsole(Console):
        """A console that shows text as it is, and lets a closed pipe raise an error."""

        def on_broken_pipe(self) -> None:
            # rich would end the process with exit code 1
            raise BrokenPipeError

        def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - rich's own
            return super().render_str(as_shown(text), **options)

    return PlainConsole(
        quiet=is_quiet,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120,
    )
