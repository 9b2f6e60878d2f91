"""Hydra's main for our commands, with its flags checked first and its errors explained."""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from studperf.cli.command import MULTIRUN, check_flags, only_shows, split_words
from studperf.cli.process import make_console
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

    from studperf.config.line.overrides import CheckStudy


_NO_COMPLETION = (
    "Hydra completes the words of files and programs, and of no `python -m`; "
    "--help lists groups and keys"
)

_NO_OTHER_ROOT = (
    "all is checked against conf/train.yaml; put what is yours into ./conf/experiment/NAME.yaml, "
    "and say experiment=NAME"
)

# Flags of Hydra that can't do here what they say, and what to do instead.
_WITHOUT_EFFECT = {
    "--shell-completion": _NO_COMPLETION,
    "-sc": _NO_COMPLETION,
    "--config-path": _NO_OTHER_ROOT,
    "-cp": _NO_OTHER_ROOT,
    "--config-name": _NO_OTHER_ROOT,
    "-cn": _NO_OTHER_ROOT,
}

# Hydra's own text recommends flags and keys that are refused here.
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


def _check_hydra_flags(flags: Sequence[str]) -> None:
    """Check the flags for Hydra, and name the nearest one of an unknown flag.

    Hydra would answer with its usage, which is every flag that it has.

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
    known = {"--debug"}
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way
        known.update(action.option_strings)
    known.discard("--experimental-rerun")

    given = [flag for flag in flags if flag.startswith("-")]
    for flag in given:
        name = flag.split("=")[0]
        if name not in known and (key := _nearest_key(name, known)):
            raise ConfigError(
                f"{name}: is no flag; a key of the configuration has no dashes: {key}=..."
            )
    check_flags(given, known)

    parser.error = refuse  # type: ignore[method-assign] # argparse's own would end the process
    # A flag that lacks its value is followed by an empty word, see `split_words`.
    parser.parse_args([flag for flag in flags if flag])
    if names & {"--package", "-p"} and not names & {"--cfg", "-c"}:
        raise ConfigError("--package: says which part --cfg shows; add --cfg job")


def _nearest_key(flag: str, known: Iterable[str]) -> str | None:
    """Return the key that a flag was meant as, if one is nearer than any flag."""
    import difflib

    from studperf.config.line.groups import group_names
    from studperf.config.run import RunConfig

    keys = group_names() | RunConfig.model_fields.keys()
    first, *rest = flag.lstrip("-").split(".")
    flag_names = [name.lstrip("-") for name in known]
    near = difflib.get_close_matches(first, [*keys, *flag_names], n=1)
    if near and near[0] in keys:
        return ".".join([near[0], *rest])
    return None


def run_hydra(
    task: Callable[[DictConfig], object],
    *,
    check_study: CheckStudy | None = None,
    begin_multirun: Callable[[str], object] | None = None,
    end_jobs: Callable[[Sequence[JobReturn]], object] | None = None,
    runner: object = None,
) -> None:
    """Run a task under `@hydra.main`, after checking the whole command line.

    Each value of a sweep is checked too.

    Args:
        task: takes the composed configuration.
        check_study: see `config.line.overrides.read_line`.
        begin_multirun: takes the folder of a multirun, before its first job.
        end_jobs: takes what the jobs of a multirun returned, whichever process or machine they ran
            on.
        runner: what does the runs of a study, as `sweeps.request.run_sweep` takes it.

    Raises:
        ConfigError: the command line was refused.
    """
    # Composing allocates much and frees nothing: collecting garbage would take a tenth of the time
    # to an answer.
    gc.disable()
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from studperf.config.load import accept_command, register_resolvers
    from studperf.config.paths import config_dir

    @functools.wraps(task)
    def with_gc(cfg: DictConfig) -> object:
        gc.enable()
        return task(cfg)

    # The sweeper is made by Hydra, and knows of the command only this function.
    known = {"begin_multirun": begin_multirun, "end_jobs": end_jobs, "runner": runner}
    for name, value in known.items():
        setattr(with_gc, name, value)

    flags, words = split_words()
    words = _without_added(words)
    _check_hydra_flags(flags)
    if "--hydra-help" in flags:
        make_console().print(_HYDRA_HELP, markup=False, soft_wrap=True)
        return
    flags = _take_config_dir(flags)
    register_resolvers()
    # Hydra then hands exceptions on, instead of printing them and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    # Showing the bare configuration needs no check, and is to be instant.
    if words or not only_shows(flags):
        is_multirun = bool(MULTIRUN & set(flags))
        accepted = accept_command(words, is_multirun=is_multirun, check_study=check_study)
        sys.argv[1:] = [*flags, *accepted]
    else:
        sys.argv[1:] = flags

    as_main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
    try:
        with _ending_at_a_closed_pipe(is_wanted=only_shows(flags)):
            as_main(with_gc)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"The configuration was refused: {error}") from error
    except ValueError as error:
        # Hydra's own complaints of flags that were used together.
        if str(error).startswith(("Only one of --", "The --resolve flag")):
            raise ConfigError(str(error)) from error
        raise


def _without_added(words: Sequence[str]) -> list[str]:
    """Return the words without those that were added for the further processes of a run.

    Lightning starts them with the words of the first one, to which we have added our sweeper, and
    gives each a folder and a name of Hydra's. None of these is the user's, who would be refused.
    """
    if "LOCAL_RANK" not in os.environ:
        return list(words)
    added = (
        "hydra/sweeper=multirun",
        "hydra.run.dir=",
        "hydra.job.name=",
        "hydra.output_subdir=null",
    )
    return [word for word in words if not word.startswith(added)]


@contextmanager
def _ending_at_a_closed_pipe(*, is_wanted: bool) -> Iterator[None]:
    """End the process as soon as nobody reads its output, where it is wanted.

    Hydra logs each line of --info, and after `| head` logging prints an error for each line that
    nobody reads. This signal would also end a process whose socket was closed, but nothing that
    only shows opens a socket.
    """
    if not is_wanted or not hasattr(signal, "SIGPIPE"):
        yield
        return
    before = signal.signal(signal.SIGPIPE, lambda *_: os._exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


def _take_config_dir(flags: Sequence[str]) -> list[str]:
    """Take --config-dir out of the flags, and pass its folder on to every composition.

    It is passed through the environment, so that worker processes find it too.

    Raises:
        ConfigError: there is no such folder.
    """
    from studperf.config.paths import CONFIG_DIR

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
