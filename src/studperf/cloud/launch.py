"""From a command line to a job: everything is checked, told and priced here before a word is sent."""

from __future__ import annotations

import json
import os
import re
import shlex
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.cloud.checkout import Code, Table, read_code, read_table, warnings_about
from studperf.cloud.job import (
    Json,
    Kind,
    Task,
    describe,
    folder_of,
    image_of,
    secret_version,
    table_uri,
)
from studperf.cloud.price import TABLE, Quote, hold_ceiling, quote, read_prices
from studperf.cloud.words import key_of, pack, words_for_container
from studperf.config import accept_overrides, compose_first, load
from studperf.config.cloud import Vertex as Cloud
from studperf.config.sweep import is_plain_multirun
from studperf.errors import CloudError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig
    from rich.console import Console

    from studperf.cloud.vertex import Job
    from studperf.cloud.wire import Google
    from studperf.config.shape import RunConfig
    from studperf.sweeps.door import Order

_MULTIRUN = {"-m", "--multirun"}
_PASSWORD = re.compile(r"\w+://[^\s:/@]*:[^\s/@]+@")
_BY_SECRET = "put it into Secret Manager, and name it: cloud.secrets.VARIABLE=NAME (the database of a study is STUDPERF_STORAGE)"  # noqa: S105
_PLACE = ("cloud.project", "cloud.region", "cloud.bucket")
_MIN_SECRET = 8
"""Shorter values are no secrets, and would be found everywhere."""


@dataclass(frozen=True)
class Plan:
    """A job that is ready to be sent."""

    config: RunConfig
    cloud: Cloud
    task: Task
    table: Table | None
    body: Json
    price: Quote | str
    warnings: tuple[str, ...]
    order: Order | None
    """Of a study."""
    typed: tuple[str, ...]


def launch(flags: Sequence[str], words: Sequence[str], console: Console) -> int | None:
    """Sends what a command line asks for to Vertex AI, or, with cloud.dry_run=true, shows it.

    Raises:
        ConfigError: the command line was refused, or the job would cost too much.
        CloudError: Google Cloud refused, or can't be reached.
    """
    plan = plan_job(flags, words)
    show(plan, console)
    if plan.order is not None and (plan.cloud.dry_run or plan.cloud.estimate):
        from studperf.cloud.estimate import hold_time

        hold_time(plan.order, plan.cloud, plan.price, console)
    if plan.cloud.dry_run:
        console.out(json.dumps(plan.body, indent=2, ensure_ascii=False), highlight=False)
        unset = [
            name
            for name, value in (("PROJECT", plan.cloud.project), ("BUCKET", plan.cloud.bucket))
            if value is None
        ]
        note = f" {' and '.join(unset)}: not said yet, see docs/cloud.md." if unset else ""
        console.print(f"Nothing was sent (cloud.dry_run=true).{note}", soft_wrap=True)
        return None
    return send(plan, console)


def plan_job(flags: Sequence[str], words: Sequence[str]) -> Plan:
    """Checks a command line whole, and makes the job of it. Nothing leaves this machine.

    Raises:
        ConfigError: lists every fault; or the job would cost too much.
        CloudError: the table is not here.
    """
    if others := [flag for flag in flags if flag not in _MULTIRUN]:
        raise ConfigError(f"{others[0]}: does not go with cloud=vertex")
    from omegaconf import OmegaConf

    if several := [word for word in words if key_of(word) == "cloud" and set(",(") & set(word)]:
        raise ConfigError(f"{several[0]}: one place for all runs of a command; name one")
    if others := [
        word for word in words if key_of(word) == "hydra.sweeper.storage" or _PASSWORD.search(word)
    ]:
        raise ConfigError(
            f"{key_of(others[0])}: a password would be read by all who see the job; {_BY_SECRET}"
        )
    from studperf.sweeps.door import find_study_faults

    accepted = accept_overrides(words, check_study=find_study_faults)
    cfg = compose_first(accepted)
    config = load(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    cloud = config.cloud
    if not isinstance(cloud, Cloud):
        raise ConfigError("cloud: the last word counts, and it is not cloud=vertex")
    if config.resume is not None:
        raise ConfigError(
            "resume= goes on with a run that lies here; a job goes on by itself when its machine is taken away"
        )
    kind = _kind(config, cfg.hydra, flags)
    order = _order(accepted, cfg.hydra) if kind == "study" else None
    code, table = read_code(), read_table(config.data)
    task = _task(config, kind, order, words, code, table)
    body = describe(config, cloud, task)
    _hold_secrets(body, cloud)
    price = quote(cloud, read_prices(Path(cloud.prices) if cloud.prices else TABLE))
    hold_ceiling(cloud, price)
    return Plan(
        config,
        cloud,
        task,
        table,
        body,
        price,
        tuple(warnings_about(code, cloud.image)),
        order,
        tuple(words),
    )


def _kind(config: RunConfig, hydra: DictConfig, flags: Sequence[str]) -> Kind:
    if flags or str(hydra.mode).endswith("MULTIRUN"):
        return "multirun" if is_plain_multirun(hydra.sweeper._target_) else "study"
    return "repeat" if config.repeat > 1 else "run"


def _order(accepted: Sequence[str], hydra: DictConfig) -> Order:
    """The study, checked as it will be in each worker."""
    from studperf.config.interpolation import resolve_sweeper
    from studperf.sweeps.door import read_order

    plain = resolve_sweeper(hydra.sweeper)
    words = [word for word in words_for_container(accepted) if not key_of(word).startswith("hydra")]
    return read_order(words, plain, name=hydra.runtime.choices.get("sweeps"))


def _hold_secrets(body: Json, cloud: Cloud) -> None:
    """Nothing of what this shell keeps secret may be in a request, however it got there."""
    text = json.dumps(body, ensure_ascii=False)
    for variable in sorted({"WANDB_API_KEY", "STUDPERF_STORAGE", *cloud.secrets}):
        value = os.environ.get(variable, "")
        if len(value) >= _MIN_SECRET and (value in text or pack(value) in text):
            raise ConfigError(
                f"the job would hold the value of {variable}, for all to read who see it; {_BY_SECRET}"
            )


def _task(
    config: RunConfig,
    kind: Kind,
    order: Order | None,
    words: Sequence[str],
    code: Code | None,
    table: Table | None,
) -> Task:
    stem = (
        order.name
        if order is not None
        else "multirun"
        if kind == "multirun"
        else f"{config.model_name}_seed{config.seed}"
    )
    request = uuid.uuid4().hex
    return Task(
        name=f"{datetime.now().astimezone():%Y-%m-%d_%H-%M-%S}_{stem}_{request[:4]}",
        request=request,
        kind=kind,
        words=tuple(words_for_container(words)),
        flags=("-m",) if kind in ("multirun", "study") else (),
        commit=code.commit if code else None,
        table_md5=table.md5 if table else None,
        table_path=config.data.source.path if table else None,
        study=order.name if order is not None else None,
    )


def show(plan: Plan, console: Console) -> None:
    """What is to be sent, what it costs, and what may be wrong with it."""
    for warning in plan.warnings:
        console.print(f"WARNING: {warning}", style="bold yellow", soft_wrap=True, markup=False)
    cloud, price = plan.cloud, plan.price
    extra = f" with {cloud.n_accelerators} x {cloud.accelerator}" if cloud.accelerator else ""
    kind = "spot " if cloud.spot else ""
    facts = {
        "Job": f"{plan.task.name} ({plan.task.kind})",
        "Machines": f"{cloud.n_machines} x {kind}{cloud.machine}{extra} in {cloud.region}, at most {cloud.timeout_s} s",
        **({"Workers": _workers_line(plan.order, cloud)} if plan.order is not None else {}),
        "Image": image_of(cloud, plan.task.commit),
        "Data": _data_line(plan.table)
        or f"SIMULATED, drawn from the law of dataset {plan.config.data.name!r}",
        "Results": folder_of(cloud, plan.task.name),
        "Price": _price_line(price),
        "Ceiling": f"{price.money(cloud.max_cost)} (cloud.max_cost)"
        if cloud.max_cost and isinstance(price, Quote)
        else "none (cloud.max_cost=null)",
    }
    for name, text in facts.items():
        console.print(f"{name + ':':10}{text}", soft_wrap=True, markup=False)


def _workers_line(order: Order, cloud: Cloud) -> str:
    from studperf.cloud.estimate import n_workers

    n = n_workers(order, cloud)
    if cloud.has_database:
        return f"{n} on one study, by the database of cloud.secrets.STUDPERF_STORAGE"
    more = (
        "; for a machine each they need a database: cloud.secrets.STUDPERF_STORAGE=NAME"
        if n > 1
        else ""
    )
    return f"{n} on one machine, which shares its cores among them{more}" if n > 1 else "1"


def _data_line(table: Table | None) -> str:
    if table is None:
        return ""
    return f"{table.path} (md5 {table.md5}{'' if table.is_here else ', as its .dvc file says; it is not here'})"


def _price_line(price: Quote | str) -> str:
    if isinstance(price, str):
        return f"unknown: {price}"
    where = (
        ""
        if price.is_region_known
        else "; the region is not in the table and counts as the dearest"
    )
    return (
        f"about {price.money(price.per_hour)} an hour, {price.money(price.most)} if it runs to the end of its time "
        f"(prices of {price.as_of}{where}; check them: https://cloud.google.com/vertex-ai/pricing)"
    )


def send(plan: Plan, console: Console) -> int | None:
    """Brings the table to the bucket and submits the job; says how to follow and cancel it.

    Returns:
        The exit code of following the job, where that was asked for.
    """
    from studperf.cloud.checks import check_image, is_googles, require
    from studperf.cloud.vertex import Vertex
    from studperf.cloud.wire import Google

    cloud = plan.cloud
    require(cloud)
    google = Google(cloud.project or "", cloud.region)
    _bring_table(plan, google, console)
    if is_googles(image := image_of(cloud, plan.task.commit)):
        check_image(google, image)
    _check_secrets(cloud, google, console)
    vertex = Vertex(google)
    job = vertex.submit(plan.body)
    commands = how_to(job, plan.typed)
    lines = {
        "Submitted": f"{job.name} ({job.id}), {job.state}",
        "Console": vertex.console_url(job),
        **commands,
    }
    for name, text in lines.items():
        console.print(f"{name + ':':11}{text}", soft_wrap=True, markup=False)
    if not cloud.follow:
        return None
    from studperf.cloud.follow import follow

    return follow(vertex, job, console, commands)


def _bring_table(plan: Plan, google: Google, console: Console) -> None:
    from studperf.cloud.gcs import Folder

    folder = Folder(google, str(plan.cloud.bucket))
    name = (
        table_uri(plan.cloud, plan.table.md5).removeprefix(f"{folder.uri}/")
        if plan.table
        else "data"
    )
    is_there = folder.is_there(
        name
    )  # asked without a table too: a bucket that is not there is to be told before a machine is rented
    if plan.table is not None and not is_there:
        if not plan.table.is_here:
            raise CloudError(
                f"{plan.table.path}: is neither here nor in {folder.uri}/{name}; bring it: python -m studperf.data fetch"
            )
        console.print(
            f"Sending the table ({plan.table.path.stat().st_size:,} bytes) to {folder.uri}/{name}",
            soft_wrap=True,
        )
        folder.upload(plan.table.path, name, plan.table.md5)


def _check_secrets(cloud: Cloud, google: Google, console: Console) -> None:
    from studperf.cloud.checks import check_secret
    from studperf.cloud.faults import NotFoundError

    for name in cloud.secrets.values():
        try:
            check_secret(google, secret_version(cloud, name))
        except NotFoundError:
            raise
        except (
            CloudError
        ) as error:  # whoever submits need not be allowed to look: the job's own account reads it
            console.print(
                f"WARNING: {str(error).splitlines()[0]}",
                style="yellow",
                soft_wrap=True,
                markup=False,
            )


def how_to(job: Job, typed: Sequence[str]) -> dict[str, str]:
    """The commands for a job, with what was typed of where it is."""
    where = "".join(f" {shlex.quote(word)}" for word in typed if key_of(word) in _PLACE)
    return {
        "Follow": f"python -m studperf.cloud logs {job.name} follow=true{where}",
        "Cancel": f"python -m studperf.cloud cancel {job.name}{where}",
        "Fetch": f"python -m studperf.cloud fetch {job.name}{where}",
    }
