"""A checked request for a study, read from a command line and `hydra.sweeper`.

Every fault is listed before the storage is opened or a trial begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf.config.check import check_sweeper
from studperf.config.faults import Fault
from studperf.config.interpolation import resolve_sweeper, to_raw
from studperf.config.load import load
from studperf.config.secrets import find_secrets
from studperf.errors import ConfigError, SweepError, listing
from studperf.sweeps.compose import Composer, find_faults
from studperf.sweeps.space import Space, read_space

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from studperf.config.run import RunConfig
    from studperf.config.study import SweepConfig
    from studperf.train.runner import Runner

_HEAD = "The sweep was refused"


@dataclass(frozen=True)
class Order:
    """A checked request for a study."""

    name: str
    settings: SweepConfig
    space: Space
    base: RunConfig
    """The configuration of the first possible trial, with the settings that all share."""
    composer: Composer

    @property
    def folder(self) -> Path:
        """The study's folder."""
        from studperf.record.files import STUDIES

        return Path(self.base.runs) / STUDIES / self.name

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the objectives; by default the metric that a run is watched by."""
        return self.settings.objectives or (self.base.monitor.metric,)


def run_sweep(
    words: Sequence[str],
    settings: dict[str, Any],
    config: DictConfig | None,
    hydra_context: HydraContext | None,
    runner: Runner | None,
) -> None:
    """Run a study, or continue it, up to its total, and then choose its winner.

    Raises:
        ConfigError: lists every fault of the space, the sampler and what else was asked for.
        SweepError: too many trials failed, or the workers died, or the command is not ours.
        Interrupted: by Ctrl-C or SIGTERM; the same command goes on.
    """
    choice = None
    if config is not None:
        # As written: an address that a variable holds is no secret of the configuration.
        secrets = list(find_secrets(to_raw(config.hydra.sweeper), "hydra.sweeper"))
        if secrets:
            raise ConfigError(listing(_HEAD, list(map(str, secrets))))
        settings = resolve_sweeper(config.hydra.sweeper)
        choice = config.hydra.runtime.choices.get("sweeps")
    order = read_order(words, settings, name=choice)
    if runner is None:
        raise SweepError(
            "no command has handed over what runs a trial; start it with python -m studperf.train"
        )

    if order.settings.dry_run:
        from studperf.sweeps.estimate import dry_run

        dry_run(order, runner, runner.make_console(), begun=runner.begun)
        return
    from studperf.sweeps.workers import run_study

    run_study(order, runner, runner.make_console(), config, hydra_context)


def read_order(words: Sequence[str], settings: dict[str, Any], *, name: str | None = None) -> Order:
    """Check a whole request and return it.

    Args:
        words: of the command line, Hydra's own left out.
        settings: `hydra.sweeper`.
        name: of the sweep file.

    Raises:
        ConfigError: lists every fault.
    """
    found, checked, space, composer = _read(words, settings)
    if not found and not space.dimensions:
        found = [
            Fault(
                "hydra.sweeper.params",
                "nothing is varied; name a key, such as optimizer.lr=tag(log,interval(1e-4,1e-1))",
            )
        ]
    if found or checked is None:
        raise ConfigError(listing(_HEAD, list(map(str, found))))

    base = load(composer.plain(space.probes()[0]))
    faults = _check_base(base, checked)
    if faults:
        raise ConfigError(listing(_HEAD, list(map(str, faults))))
    study_name = checked.study or name or _own_name(base, space)
    return Order(study_name, checked, space, base, composer)


def find_study_faults(words: Sequence[str], settings: dict[str, Any]) -> list[Fault]:
    """Return every fault of the settings, of the space and of its trials.

    The arguments are those of `read_order`.
    """
    return _read(words, settings)[0]


def _read(
    words: Sequence[str], settings: dict[str, Any]
) -> tuple[list[Fault], SweepConfig | None, Space, Composer]:
    """Return the faults of a request, its settings (None if refused), space and composer."""
    faults, checked = check_sweeper(settings)
    params = settings.get("params") if checked is None else checked.params
    if not isinstance(params, dict):
        params = {}
    conditional = checked.conditional if checked is not None else ()
    reading = read_space(words, params, conditional)
    faults += [Fault(_place(fault.where), fault.what) for fault in reading.faults]

    composer = Composer(reading.space.fixed)
    if checked is not None:
        faults += _check_grid(checked, reading.space)
    # Where the conditions could not be read, the space would seem to have faults that are none.
    is_whole = checked is not None or not settings.get("conditional")
    if is_whole:
        faults += find_faults(reading.space, composer)
    return list(dict.fromkeys(faults)), checked, reading.space, composer


def _place(where: str) -> str:
    """Return the place of a fault as a whole key of the configuration."""
    if where.startswith(("params.", "conditional.")):
        return f"hydra.sweeper.{where}"
    return where


def _check_grid(settings: SweepConfig, space: Space) -> list[Fault]:
    """Return the fault of a grid sampler over a space that has no grid."""
    if not str(settings.sampler.get("_target_")).endswith(".GridSampler"):
        return []
    try:
        space.grid()
    except ValueError as error:
        return [Fault("hydra.sweeper.sampler", str(error))]
    return []


def _check_base(base: RunConfig, settings: SweepConfig) -> list[Fault]:
    """Return the faults of settings that are right for a run and wrong for a study."""
    faults = []
    n_devices = base.trainer.get("devices")
    strategy = str(base.trainer.get("strategy"))
    if n_devices not in (1, None) or "ddp" in strategy:
        faults.append(
            Fault(
                "trainer",
                "a trial trains on one device; "
                "more workers (hydra.sweeper.n_jobs) use more of the machine",
            )
        )
    if base.repeat > 1:
        faults.append(
            Fault(
                "repeat",
                "is for runs; a study's trials are trained with several seeds "
                f"by hydra.sweeper.repeat={base.repeat}",
            )
        )
    if settings.mode == "batch" and base.engine == "stacked":
        faults.append(
            Fault("engine", "stacked is for mode=worker; a launcher trains each trial alone")
        )
    if settings.mode == "batch" and settings.repeat > 1:
        faults.append(Fault("hydra.sweeper.repeat", "is for mode=worker"))
    if len(settings.objectives or ()) > 1 and settings.patience is not None:
        faults.append(
            Fault(
                "hydra.sweeper.patience", "needs one objective: of several there is no single best"
            )
        )
    return faults


def _own_name(base: RunConfig, space: Space) -> str:
    """Return the name of a study that no file names.

    The same space has the same name, so that the same command continues the study.
    """
    text = repr(sorted(space.describe().items()))
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{base.model_name}-{digest}"
