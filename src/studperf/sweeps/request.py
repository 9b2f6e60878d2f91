"""From a command line to a study: everything is checked, and every fault told, before the storage is opened or a trial begins."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf import sweeps
from studperf.config.faults import Fault
from studperf.config.interpolation import resolve_sweeper, to_raw
from studperf.config.load import check_sweeper, load
from studperf.config.secrets import find_secrets
from studperf.errors import ConfigError, SweepError, listing
from studperf.sweeps.compose import Composer, find_faults
from studperf.sweeps.space import Space, read_space

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from studperf.config.run import RunConfig
    from studperf.config.study import SweepConfig

_HEAD = "The sweep was refused"


@dataclass(frozen=True)
class Order:
    """A checked request for a study."""

    name: str
    settings: SweepConfig
    space: Space
    base: RunConfig
    """Of the first trial that can be: what all have in common can be read from it."""
    composer: Composer

    @property
    def folder(self) -> Path:
        """Of the study."""
        from studperf.record.files import STUDIES

        return Path(self.base.runs) / STUDIES / self.name

    @property
    def objectives(self) -> tuple[str, ...]:
        """By name."""
        return self.settings.objectives or (self.base.monitor.metric,)


def run_sweep(
    words: Sequence[str],
    settings: dict[str, Any],
    config: DictConfig | None,
    hydra_context: HydraContext | None,
) -> None:
    """Runs a study, or goes on with it, up to its total; then its winner is chosen.

    Raises:
        ConfigError: lists every fault of the space, the sampler and what else was asked for.
        SweepError: too many trials failed, or the workers died.
        Interrupted: by Ctrl-C or SIGTERM; the same command goes on.
    """
    choice = None
    if config is not None:
        # As written: an address that a variable holds is no secret of the configuration.
        if secrets := list(find_secrets(to_raw(config.hydra.sweeper), "hydra.sweeper")):
            raise ConfigError(listing(_HEAD, list(map(str, secrets))))
        settings = resolve_sweeper(config.hydra.sweeper)
        choice = config.hydra.runtime.choices.get("sweeps")
    order = read_order(words, settings, name=choice)
    run, make_console = sweeps.handed().run, sweeps.handed().make_console
    if run is None or make_console is None:
        raise SweepError(
            "no command has handed over what runs a trial; start it with python -m studperf.train"
        )
    if order.settings.dry_run:
        from studperf.sweeps.estimate import dry_run

        dry_run(order, run, make_console())
        return
    from studperf.sweeps.workers import run_study

    run_study(order, run, make_console(), config, hydra_context)


def read_order(words: Sequence[str], settings: dict[str, Any], *, name: str | None = None) -> Order:
    """Checks a request whole.

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
    if faults := _check_base(base, checked):
        raise ConfigError(listing(_HEAD, list(map(str, faults))))
    return Order(checked.study or name or _own_name(base, space), checked, space, base, composer)


def find_study_faults(words: Sequence[str], settings: dict[str, Any]) -> list[Fault]:
    """Every fault of the settings, of the space, and of the trials that it holds; arguments as of `read_order`."""
    return _read(words, settings)[0]


def _read(
    words: Sequence[str], settings: dict[str, Any]
) -> tuple[list[Fault], SweepConfig | None, Space, Composer]:
    faults, checked = check_sweeper(settings)
    params = settings.get("params") if checked is None else checked.params
    reading = read_space(
        words,
        params if isinstance(params, dict) else {},
        checked.conditional if checked is not None else (),
    )
    faults += [Fault(_place(fault.where), fault.what) for fault in reading.faults]
    composer = Composer(reading.space.fixed)
    if checked is not None:
        faults += _check_grid(checked, reading.space)
    if checked is not None or not settings.get(
        "conditional"
    ):  # without its conditions, a space has faults that are none
        faults += find_faults(reading.space, composer)
    return list(dict.fromkeys(faults)), checked, reading.space, composer


def _place(where: str) -> str:
    return f"hydra.sweeper.{where}" if where.startswith(("params.", "conditional.")) else where


def _check_grid(settings: SweepConfig, space: Space) -> list[Fault]:
    if not str(settings.sampler.get("_target_")).endswith(".GridSampler"):
        return []
    try:
        space.grid()
    except ValueError as error:
        return [Fault("hydra.sweeper.sampler", str(error))]
    return []


def _check_base(base: RunConfig, settings: SweepConfig) -> list[Fault]:
    faults = []
    if base.trainer.get("devices") not in (1, None) or "ddp" in str(base.trainer.get("strategy")):
        faults.append(
            Fault(
                "trainer",
                "a trial trains on one device; more workers (hydra.sweeper.n_jobs) use more of the machine",
            )
        )
    if base.repeat > 1:
        faults.append(
            Fault(
                "repeat",
                f"is for runs; a study's trials are trained with several seeds by hydra.sweeper.repeat={base.repeat}",
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
    """Of a study that no file names: the same space has the same name, and so goes on."""
    digest = hashlib.sha256(repr(sorted(space.describe().items())).encode()).hexdigest()[:6]
    return f"{base.model_name}-{digest}"
