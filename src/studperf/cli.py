"""What every command shares: errors for people, exit codes, `--debug`."""

from __future__ import annotations

import atexit
import errno
import functools
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from studperf.errors import ConfigError, StudperfError, as_shown

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig
    from rich.console import Console
    from rich.text import Text

    from studperf.config.overrides import CheckStudy

_OUR_FAULT = 1
_INTERRUPTED = 130
_DEBUG = "STUDPERF_DEBUG"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_OF_A_PATH = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV, errno.ETXTBSY, errno.EINVAL),
)
"""What a path can be refused for."""
_exit_code: list[int] = []
"""What `run_command` ended with."""
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
_NO_COMPLETION = "Hydra completes the words of files and programs, and of no `python -m`; --help lists groups and keys"
_NO_OTHER_ROOT = "all is checked against conf/train.yaml; put what is yours into ./conf/experiment/NAME.yaml, and say experiment=NAME"
_WITHOUT_EFFECT = {
    "--shell-completion": _NO_COMPLETION,
    "-sc": _NO_COMPLETION,
    "--config-path": _NO_OTHER_ROOT,
    "-cp": _NO_OTHER_ROOT,
    "--config-name": _NO_OTHER_ROOT,
    "-cn": _NO_OTHER_ROOT,
}
"""Flags of Hydra that can't do here what they say, and what to do instead."""
_HYDRA_HELP = """Hydra composes the configuration of studperf.train; its grammar: https://hydra.cc

Flags:
  --help, -h            the groups, keys and defaults of studperf.train
  --cfg, -c             shows what a command line composes to, and runs nothing: --cfg job, --cfg hydra, --cfg all
  --resolve             with --cfg: with the values that ${oc.env:...} and the like stand for
  --package, -p         with --cfg: one part of it, such as --package optimizer
  --multirun, -m        several runs, or a study
  --config-dir, -cd     a folder with groups of your own, beside ./conf/
  --info, -i            all, config, defaults, defaults-tree, plugins, searchpath
  --debug               tracebacks

Keys of Hydra that are heeded:
  hydra.sweep.dir=FOLDER        where the runs of a multirun lie
  hydra/launcher=NAME           who starts the runs of a multirun, or the trials of a study with hydra.sweeper.mode=batch
  hydra/sweeper=optuna          makes a study of any command line; its keys are below hydra.sweeper, such as hydra.sweeper.n_trials=100
  hydra/sweeper/sampler=NAME    cmaes, gp, grid, nsga2, qmc, random, tpe
  hydra/sweeper/pruner=NAME     hyperband, median, none, percentile, successive_halving
  hydra.job.env_set.NAME=VALUE  an environment variable of each run
  hydra.callbacks               Hydra's callbacks
The others are refused, with the key that does their work here."""
"""Hydra's own text recommends flags and keys that are refused here."""
_MULTIRUN = {"-m", "--multirun"}
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


def run_command(command: Callable[[], int | None]) -> None:
    """Runs a command and ends the process: 0 done, 1 our fault, 2 the user's, 130 interrupted.

    A user's mistake is told in words; `--debug` or STUDPERF_DEBUG=1 adds the traceback.
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
        _exit_code.append(left.code if isinstance(left.code, int) else int(left.code is not None))
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
    """Print why a command was refused, with the traceback where it was asked for; return its exit code."""
    if os.environ.get(_DEBUG) == "1":
        _print_traceback()
    print_error(message)
    return exit_code


def _explain_os_error(error: OSError) -> str | None:
    """What the system refused, in words; None for what no user can mend."""
    where = f"{error.filename}: " if error.filename is not None else ""
    if error.errno in _NO_ROOM:
        return f"{where}{error.strerror}. Make room, or name a folder elsewhere: runs=FOLDER, for temporary files TMPDIR=FOLDER"
    if where and error.errno in _OF_A_PATH:
        return f"{where}{error.strerror}. Name a file or folder that can be read and written here; --debug shows what was tried"
    return None


def _silence_closed_pipes() -> None:
    """Python writes what is left in its buffers as it ends, and complains where nobody reads any more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def end_at_once() -> None:
    """For the first line of a process: once all is done and every exit handler has run, the process ends there.

    Python would first take apart every object that torch and lightning made, which takes a second. mypy ends itself this way.
    """

    def end() -> (
        None
    ):  # handlers run in reverse order, so the first to be registered is the last to run
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(_exit_code[-1] if _exit_code else 1)

    atexit.register(end)


def _print_traceback() -> None:
    """Write the traceback of the error at hand; a library's own message may hold an address with its password."""
    from studperf.config.secrets import mask

    sys.stderr.write(mask(traceback.format_exc()))


def print_error(message: str) -> None:
    """Write a message to stderr, its first line marked."""
    _write_line(f"error: {message}")


def print_warning(message: str) -> None:
    """Write a warning to stderr, where stdout is for what a command makes."""
    _write_line(f"warning: {message}")


def _write_line(text: str) -> None:
    """Write a line to stderr: no secret in it, and no character that would steer a terminal."""
    from studperf.config.secrets import mask

    with suppress(BrokenPipeError):
        sys.stderr.write(as_shown(mask(text)) + "\n")


def check_output(key: str, path: Path) -> None:
    """Refuse a place that can't be written, before the work whose result it is to hold.

    Args:
        key: that named the place, such as `out`.
        path: a file or a folder, there or not yet; missing folders above it are made when it is written.

    Raises:
        ConfigError: says what is in the way.
    """
    import tempfile

    try:
        if path.is_dir():
            near = path
        else:
            near = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.TemporaryDirectory(dir=near, prefix=".studperf-"):
            pass  # trying tells more than the permission bits: /proc says that it can be written
        if path.exists() and not path.is_dir() and not path.is_file():
            raise ConfigError(f"{key}={path}: is no regular file; name one, or a new one")
    except OSError as error:
        raise ConfigError(f"{key}={path}: can't be written: {error.strerror}") from error


@contextmanager
def importing() -> Iterator[None]:
    """No garbage is looked for while packages are imported, and what they left is never looked through again.

    Imports allocate much and free nothing, and each pass goes over all that is there: lightning takes 2.3 s instead of 3.2 s.
    """
    was_enabled, n_modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if (
            len(sys.modules) > n_modules
        ):  # in a process that has them already, freezing would only keep its garbage
            gc.freeze()
            atexit.register(gc.unfreeze)  # what is still frozen then, nanobind reports as leaks
        if was_enabled:
            gc.enable()


def make_console(*, is_quiet: bool = False) -> Console:
    """Return the terminal; a quiet one shows nothing. Where output is not a terminal, tables get a width that fits a log, or $COLUMNS.

    Whatever is shown is text and no markup: a column may be called `rate [/min]`, a file `t[bold].csv`.
    """
    from rich.console import Console

    class PlainConsole(Console):
        """A console that shows text as it is, and whose reader may go."""

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


def split_words() -> tuple[list[str], list[str]]:
    """The command line parted into flags, with the values that follow them, and the words that are no flags."""
    flags: list[str] = []
    words: list[str] = []
    arguments = iter(sys.argv[1:])
    for word in arguments:
        if word.startswith("-"):
            flags += [word, *([next(arguments, "")] if word in _TAKE_VALUES else [])]
        elif word in _PARTS_OF_INFO and flags and flags[-1] in ("--info", "-i"):
            flags.append(word)
        else:
            words.append(word)
    return flags, words


def only_shows(flags: Iterable[str]) -> bool:
    """Whether flags ask for help or the composed configuration, and for no run."""
    return bool(_ONLY_SHOW & {flag.split("=")[0] for flag in flags})


def read_words(usage: str, flags: Sequence[str] = ()) -> list[str] | None:
    """The words of the command line; None where help was asked for, and shown.

    Args:
        usage: shown as help.
        flags: that the command has beside those of all, for a misspelt one; it must have taken them away by now.

    Raises:
        ConfigError: a flag is not known.
    """
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        make_console().print(usage, markup=False, soft_wrap=True)
        return None
    check_flags([word for word in words if word.startswith("-")], ("--help", "--debug", *flags))
    return words


def check_flags(flags: Iterable[str], known: Iterable[str]) -> None:
    """Sees that all flags are known.

    Raises:
        ConfigError: names each that is not, and the nearest one.
    """
    names = [flag.split("=")[0] for flag in flags]
    if faults := [f"{name}: {_unknown_flag(name, known)}" for name in names if name not in known]:
        raise ConfigError("; ".join(faults))


def _unknown_flag(name: str, known: Iterable[str]) -> str:
    from studperf.config.faults import unknown_key

    if not name.startswith("--"):  # one letter is as near as any other
        return "unknown; --help shows what there is"
    return unknown_key(name, [flag for flag in known if flag.startswith("--")])


def read_keys(words: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Words of the form key=value.

    Raises:
        ConfigError: lists the keys that are not known, with the nearest one, and those that have no value, or two.
    """
    from studperf.config.faults import unknown_key

    given: dict[str, str] = {}
    faults = []
    for key, _, value in (word.partition("=") for word in words):
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
    """Return a whole number from `low` to `high`, given in plain digits: Python's `int` would take those of any script.

    Raises:
        ConfigError: says what was expected.
    """
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(high))
    if not is_number or not low <= int(text) <= high:
        raise ConfigError(f"{key}: must be a whole number from {low} to {high}, got {text!r}")
    return int(text)


def is_on(given: Mapping[str, str], key: str) -> bool:
    """Whether a key=true is there.

    Raises:
        ConfigError: its value is neither true nor false.
    """
    value = given.get(key, "false")
    if value not in ("true", "false"):
        raise ConfigError(f"{key}: must be true or false, got {value!r}")
    return value == "true"


def run_command_of(
    commands: Mapping[str, Callable[[list[str]], None]], usage: str, flags: Sequence[str] = ()
) -> None:
    """Hands the words of the command line to the command that the first one names; arguments as of `read_words`.

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


def _check_hydra_flags(flags: Sequence[str]) -> None:
    """Hydra would answer with its usage: every flag it has, and not the nearest one.

    Raises:
        ConfigError: a flag is unknown, or its value is; or it is a key, which has no dashes.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise ConfigError(message)

    names = {flag.split("=")[0] for flag in flags if flag.startswith("-")}
    faults = [f"{name}: {why}" for name, why in _WITHOUT_EFFECT.items() if name in names]
    if faults:
        raise ConfigError("; ".join(faults))
    parser = get_args_parser()
    known = {name for action in parser._actions for name in action.option_strings}  # noqa: SLF001 - argparse has no public way
    known = known - {"--experimental-rerun"} | {"--debug"}
    given = [flag for flag in flags if flag.startswith("-")]
    for name in (flag.split("=")[0] for flag in given):
        if name not in known and (key := _nearest_key(name, known)):
            raise ConfigError(
                f"{name}: is no flag; a key of the configuration has no dashes: {key}=..."
            )
    check_flags(given, known)
    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(
        [flag for flag in flags if flag]
    )  # one that lacks its value is followed by an empty word
    if names & {"--package", "-p"} and not names & {"--cfg", "-c"}:
        raise ConfigError("--package: says which part --cfg shows; add --cfg job")


def _nearest_key(flag: str, known: Iterable[str]) -> str | None:
    """The key that was meant, where it is nearer than any flag."""
    import difflib

    from studperf.config.overrides import group_names
    from studperf.config.shape import RunConfig

    keys = group_names() | RunConfig.model_fields.keys()
    first, *rest = flag.lstrip("-").split(".")
    near = difflib.get_close_matches(first, [*keys, *(name.lstrip("-") for name in known)], n=1)
    return ".".join([near[0], *rest]) if near and near[0] in keys else None


def run_hydra(
    task: Callable[[DictConfig], object],
    *,
    check_study: CheckStudy | None = None,
    begin_multirun: Callable[[str], object] | None = None,
    end_jobs: Callable[[Sequence[JobReturn]], object] | None = None,
) -> None:
    """Runs a task under `@hydra.main`, once every fault of the command line, each sweep value's included, was looked for.

    Args:
        task: takes the composed configuration.
        check_study: see `config.overrides.read_line`.
        begin_multirun: takes the folder of a multirun, before its first job.
        end_jobs: takes what the jobs of a multirun returned, whichever process or machine they ran on.

    Raises:
        ConfigError: the command line was refused.
    """
    gc.disable()  # composing allocates much and frees nothing: a tenth of the time to an answer
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from studperf.config import accept_command, config_dir, register_resolvers

    @functools.wraps(task)
    def with_gc(cfg: DictConfig) -> object:
        gc.enable()
        return task(cfg)

    # The sweeper is made by Hydra, and knows of the command only this function.
    for name, taker in (("begin_multirun", begin_multirun), ("end_jobs", end_jobs)):
        setattr(with_gc, name, taker)
    flags, words = split_words()
    if only_shows(flags) and hasattr(signal, "SIGPIPE"):
        # Hydra logs each line of --info, and `logging` tells of each that nobody reads. Nothing that only shows opens a socket,
        # for which this signal would be the end.
        signal.signal(signal.SIGPIPE, lambda *_: os._exit(0))
    _check_hydra_flags(flags)
    if "--hydra-help" in flags:
        make_console().print(_HYDRA_HELP, markup=False, soft_wrap=True)
        return
    flags = _take_config_dir(flags)
    register_resolvers()
    os.environ["HYDRA_FULL_ERROR"] = (
        "1"  # hands exceptions on instead of printing them and exiting with 1
    )
    # Showing the bare configuration needs no check, and is to be instant.
    if words or not only_shows(flags):
        is_multirun = bool(_MULTIRUN & set(flags))
        accepted = accept_command(words, is_multirun=is_multirun, check_study=check_study)
        sys.argv[1:] = [*flags, *accepted]
    else:
        sys.argv[1:] = flags
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")(
            with_gc
        )()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"The configuration was refused: {error}") from error
    except ValueError as error:
        if str(error).startswith(
            ("Only one of --", "The --resolve flag")
        ):  # Hydra's flags, used together
            raise ConfigError(str(error)) from error
        raise


def _take_config_dir(flags: Sequence[str]) -> list[str]:
    """Take --config-dir out of the flags, and make its folder known to every composition, those of worker processes included.

    Raises:
        ConfigError: there is no such folder.
    """
    from studperf.config import CONFIG_DIR

    kept: list[str] = []
    given = iter(flags)
    for flag in given:
        name, is_joined, value = flag.partition("=")
        if name not in ("--config-dir", "-cd"):
            kept.append(flag)
            continue
        folder = Path(value if is_joined else next(given))
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {folder}: there is no such folder")
        os.environ[CONFIG_DIR] = str(folder.resolve())
    return kept
