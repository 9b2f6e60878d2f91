"""From YAML and overrides to a checked `RunConfig`, or one message that lists every fault.

Nothing here imports torch: a bad configuration is refused in the time it takes to read it.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf.config.paths import CONFIG_DIR, config_dir
from studperf.errors import ConfigError, listing

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from studperf.config.faults import Fault
    from studperf.config.line.overrides import CheckStudy, Line
    from studperf.config.run import RunConfig

_HEAD = "The configuration was refused"


def load(cfg: DictConfig | dict[str, Any], *, is_trusted: bool = True) -> RunConfig:
    """Check a composed configuration as a whole and return it.

    Every entry point begins with it.

    Args:
        cfg: composed by Hydra, or the plain values that a run recorded.
        is_trusted: False for what came with a run folder: a `_target_` names code to be run, so
            only our models are accepted.

    Returns:
        The configuration as frozen plain values; past this line there is no DictConfig.

    Raises:
        ConfigError: lists every fault, each with its key and the nearest valid name.
    """
    from studperf.config.check import check_run, find_foreign_targets
    from studperf.config.secrets import find_secrets

    plain = _to_plain(cfg)
    if not is_trusted:
        plain = _fill(plain, _to_plain(compose()))
    _name_model(plain, cfg)

    if secrets := list(find_secrets(plain)):
        raise ConfigError(listing(_HEAD, [str(fault) for fault in secrets]))
    faults, config = check_run(plain)
    if not is_trusted and config is not None:
        faults += find_foreign_targets(plain)
    if faults or config is None:
        raise ConfigError(listing(_HEAD, [str(fault) for fault in faults]))
    return config


def _fill(recorded: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return a run's values, with defaults for keys that are newer than its record.

    Its data, model and trainer stay as they are.
    """
    new = {key: value for key, value in defaults.items() if key not in recorded}
    for key, value in recorded.items():
        default = defaults.get(key)
        is_block = (
            isinstance(value, dict)
            and isinstance(default, dict)
            and key not in ("data", "model", "trainer")
        )
        new[key] = _fill(value, default or {}) if is_block else value
    if "model_name" not in recorded and "model" in recorded:
        new["model_name"] = "auto"  # the default's own model has its name there
    return new


def _name_model(plain: dict[str, Any], cfg: DictConfig | dict[str, Any]) -> None:
    """Put the model's name in the place of `auto`.

    A run that was recorded without a name gets the one that it had then.
    """
    from hydra.core.hydra_config import HydraConfig

    from studperf.config.interpolation import typed_words
    from studperf.config.naming import AUTO, name_of_choice, name_of_target

    model = plain.get("model")
    if plain.get("model_name") != AUTO or not isinstance(model, dict):
        return
    target = str(model.get("_target_"))
    plain["model_name"] = name_of_target(target)
    if not isinstance(cfg, dict) and HydraConfig.initialized():
        hydra = HydraConfig.get()
        choice = str(hydra.runtime.choices["model"])
        plain["model_name"] = name_of_choice(choice, target, typed_words(hydra))


def compose(overrides: Sequence[str] = (), *, return_hydra_config: bool = False) -> DictConfig:
    """Compose `conf/train.yaml` with overrides, outside of `@hydra.main`.

    Hydra's own part is left out unless it is asked for.
    """
    from hydra import compose as hydra_compose

    from studperf.config.naming import put_name, take_hydra_off

    with _hydra():
        cfg = hydra_compose("train", overrides=list(overrides), return_hydra_config=True)
    if not return_hydra_config:
        return take_hydra_off(cfg)
    put_name(cfg, cfg.hydra)
    return cfg


def load_overrides(overrides: Sequence[str]) -> RunConfig:
    """Compose overrides and load the result.

    All faults of the overrides are listed at once, where Hydra would stop at the first.

    Raises:
        ConfigError: lists every fault, or says that the overrides name several configurations.
    """
    from hydra.errors import HydraException

    with _hydra():
        line = _read_line(overrides)
        words = line.words() if line.cfg is None else []
    try:
        cfg = line.cfg if line.cfg is not None else compose(words)
    except HydraException as error:
        raise ConfigError(f"The configuration was refused: {error}") from error
    return load(cfg)


def accept_overrides(
    overrides: Sequence[str],
    *,
    is_multirun: bool | None = None,
    check_study: CheckStudy | None = None,
) -> list[str]:
    """Return the overrides as Hydra takes them, after checking every one of them.

    Each value of a sweep is checked too.

    Args:
        overrides: words of the command line.
        is_multirun: whether -m stands among the flags; None for words that are no command line.
        check_study: see `overrides.read_line`.

    Raises:
        ConfigError: lists every fault.
    """
    with _hydra():
        return _read_line(overrides, check_study, is_multirun=is_multirun).words()


def accept_command(
    words: Sequence[str], *, is_multirun: bool, check_study: CheckStudy | None = None
) -> list[str]:
    """Return the words of a command line as `hydra.main` takes them, after checking them.

    Each value of a sweep is checked too.

    Args:
        words: of the command line, without its flags.
        is_multirun: whether -m stands among the flags.
        check_study: see `overrides.read_line`.

    Raises:
        ConfigError: lists every fault.
    """
    with _hydra():
        return _read_line(words, check_study, is_multirun=is_multirun).words_of_command()


def _read_line(
    overrides: Sequence[str],
    check_study: CheckStudy | None = None,
    *,
    is_multirun: bool | None = None,
) -> Line:
    from studperf.config.line.overrides import read_line
    from studperf.config.secrets import secret_words

    words = list(overrides)
    # These faults are listed alone: the messages of other faults repeat what was typed.
    if secrets := secret_words(words):
        raise ConfigError(listing(_HEAD, [str(fault) for fault in secrets]))

    bare = [word.lstrip("+") for word in words]
    paths = [word for word in bare if word.startswith("data.source.path=")]
    names_table = any(path != "data.source.path=null" for path in paths)
    says_otherwise = any("data.source.otherwise=" in word for word in words)
    # A table asked for by name must be there; the simulator steps in only for the one that the
    # YAML names.
    if names_table and not says_otherwise:
        words.append("data.source.otherwise=fail")

    line = read_line(
        words,
        check=_faults_of,
        check_study=check_study,
        is_multirun=is_multirun,
    )
    if line.faults:
        raise ConfigError(listing(_HEAD, [str(fault) for fault in line.faults]))
    return line


def compose_first(words: Sequence[str]) -> DictConfig:
    """Compose accepted words with the first value of each sweep, and with Hydra's own part."""
    from studperf.config.line.word import first_values

    with _hydra():
        firsts = first_values(words)
    return compose(firsts, return_hydra_config=True)


def register_resolvers() -> None:
    """Register the resolvers of our YAML files.

    `${own_conf:}` is ./conf if there is one, so that an installed studperf finds a user's own
    groups. `${oc.env:...}` answers from now on only for the keys that may name a variable.
    """
    from omegaconf import OmegaConf

    from studperf.config.interpolation import guard_environment

    def own_conf() -> str:
        own = Path.cwd() / "conf"
        return str(own if own.is_dir() else config_dir())

    def named_conf() -> str:
        return os.environ.get(CONFIG_DIR) or str(config_dir())

    OmegaConf.register_new_resolver("own_conf", own_conf, replace=True)
    OmegaConf.register_new_resolver("named_conf", named_conf, replace=True)
    guard_environment()


@contextmanager
def _hydra() -> Iterator[None]:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def _to_plain(cfg: DictConfig | dict[str, Any]) -> dict[str, Any]:
    """Return the plain values of a configuration, its references followed.

    Raises:
        ConfigError: lists each reference that may not stand where it stands, or leads nowhere.
    """
    if isinstance(cfg, dict):
        return copy.deepcopy(cfg)
    from studperf.config.interpolation import find_references, to_raw

    raw = to_raw(cfg)
    if faults := find_references(raw):
        raise ConfigError(listing(_HEAD, [str(fault) for fault in faults]))
    return resolve_references(raw)


def resolve_references(raw: dict[str, Any]) -> dict[str, Any]:
    """Return plain values with every reference followed.

    `find_references` must have found no fault.

    Raises:
        ConfigError: a reference leads nowhere.
    """
    from omegaconf.errors import OmegaConfBaseException

    from studperf.config.interpolation import resolve

    try:
        return resolve(raw)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{_HEAD}: {error.full_key or 'a key'}: {error.msg}") from error


def _faults_of(cfg: DictConfig) -> list[Fault]:
    from studperf.config.check import check_run
    from studperf.config.interpolation import find_references, to_raw

    raw = to_raw(cfg)
    if found := find_references(raw):
        return found
    faults, _ = check_run(resolve_references(raw))
    return faults
