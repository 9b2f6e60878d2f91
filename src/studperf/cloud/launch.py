"""Launching a command line as a job: check it whole, price it and show it before a byte is sent."""

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

from studperf.cloud.container.quoting import key_of, pack, words_for_container
from studperf.cloud.inputs import Code, Table, read_code, read_table, warnings_about
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
from studperf.cloud.price import TABLE, Quote, check_cost, quote, read_prices
from studperf.config.cloud import Vertex as Cloud
from studperf.config.console import print_line, warn
from studperf.config.load import accept_overrides, compose_first, load
from studperf.config.secrets import STORAGE_VARIABLE
from studperf.config.study import is_plain_multirun
from studperf.errors import CloudError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig
    from rich.console import Console

    from studperf.cloud.google.session import Google
    from studperf.cloud.google.vertex import Job
    from studperf.config.run import RunConfig
    from studperf.sweeps.request import Order
    from studperf.train.runner import Runner

_MULTIRUN = {"-m", "--multirun"}
_PASSWORD = re.compile(r"\w+://[^\s:/@]*:[^\s/@]+@")
_ADVICE = (
    "put it into Secret Manager, and name it: cloud.secrets.VARIABLE=NAME "
    f"(the database of a study is {STORAGE_VARIABLE})"
)
_PLACE = ("cloud.project", "cloud.region", "cloud.bucket")
# Shorter values are no secrets, and would be found everywhere.
_MIN_SECRET = 8


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
    """What a study asks for; None for other jobs."""
    typed: tuple[str, ...]


def launch(
    flags: Sequence[str], words: Sequence[str], runner: Runner, console: Console
) -> int | None:
    """Submit the job that a command line asks for, or, with cloud.dry_run=true, print it.

    Raises:
        ConfigError: the command line was refused, or the job would cost too much.
        CloudError: Google Cloud refused, or can't be reached.
    """
    plan = plan_job(flags, words)
    show(plan, console)
    if plan.order is not None and (plan.cloud.dry_run or plan.cloud.estimate):
        from studperf.cloud.estimate import check_duration

        check_duration(plan.order, plan.cloud, plan.price, runner, console)
    if not plan.cloud.dry_run:
        return send(plan, console)

    console.out(json.dumps(plan.body, indent=2, ensure_ascii=False), highlight=False)
    unset = []
    if plan.cloud.project is None:
        unset.append("PROJECT")
    if plan.cloud.bucket is None:
        unset.append("BUCKET")
    note = ""
    if unset:
        note = f" {' and '.join(unset)}: not set yet, see docs/cloud.md."
    print_line(console, f"Nothing was sent (cloud.dry_run=true).{note}")
    return None


def plan_job(flags: Sequence[str], words: Sequence[str]) -> Plan:
    """Check a command line whole, and make a job of it; nothing leaves this machine.

    Raises:
        ConfigError: lists every fault; or the job would cost too much.
        CloudError: the table is not here.
    """
    _refuse_words(flags, words)
    from omegaconf import OmegaConf

    from studperf.sweeps.request import find_study_faults

    is_multirun = bool(_MULTIRUN & set(flags))
    accepted = accept_overrides(words, is_multirun=is_multirun, check_study=find_study_faults)
    cfg = compose_first(accepted)
    own_keys = [str(key) for key in cfg if key != "hydra"]
    config = load(OmegaConf.masked_copy(cfg, own_keys))
    cloud = config.cloud
    if not isinstance(cloud, Cloud):
        raise ConfigError("cloud: the last word counts, and it is not cloud=vertex")
    if config.resume is not None:
        raise ConfigError(
            "resume= goes on with a run that lies here; "
            "a job goes on by itself when its machine is taken away"
        )

    kind = _kind(config, cfg.hydra, flags)
    order = None
    if kind == "study":
        order = _order(accepted, cfg.hydra)
    code = read_code()
    table = read_table(config.data)
    task = _task(config, kind, order, words, code, table)
    body = describe(config, cloud, task)
    _check_no_secrets(body, cloud)

    prices = read_prices(Path(cloud.prices) if cloud.prices else TABLE)
    price = quote(cloud, prices)
    check_cost(cloud, price)
    return Plan(
        config=config,
        cloud=cloud,
        task=task,
        table=table,
        body=body,
        price=price,
        warnings=tuple(warnings_about(code, cloud.image)),
        order=order,
        typed=tuple(words),
    )


def _refuse_words(flags: Sequence[str], words: Sequence[str]) -> None:
    """Raise for flags and overrides that no job can have."""
    unknown = [flag for flag in flags if flag not in _MULTIRUN]
    if unknown:
        raise ConfigError(f"{unknown[0]}: does not go with cloud=vertex")

    for word in words:
        if key_of(word) == "cloud" and ("," in word or "(" in word):
            raise ConfigError(f"{word}: one place for all runs of a command; name one")

    for word in words:
        key = key_of(word)
        if key == "hydra.sweeper.storage" or _PASSWORD.search(word):
            raise ConfigError(f"{key}: a password would be read by all who see the job; {_ADVICE}")


def _kind(config: RunConfig, hydra: DictConfig, flags: Sequence[str]) -> Kind:
    """Return the kind of job that the command line asks for."""
    if flags or str(hydra.mode).endswith("MULTIRUN"):
        is_plain = is_plain_multirun(hydra.sweeper._target_)
        return "multirun" if is_plain else "study"
    return "repeat" if config.repeat > 1 else "run"


def _order(accepted: Sequence[str], hydra: DictConfig) -> Order:
    """Return the study, checked as it will be in each worker."""
    from studperf.config.interpolation import resolve_sweeper
    from studperf.sweeps.request import read_order

    plain = resolve_sweeper(hydra.sweeper)
    words = [word for word in words_for_container(accepted) if not key_of(word).startswith("hydra")]
    return read_order(words, plain, name=hydra.runtime.choices.get("sweeps"))


def _check_no_secrets(body: Json, cloud: Cloud) -> None:
    """Check that no secret of this shell is in a request, however it got there."""
    text = json.dumps(body, ensure_ascii=False)
    for variable in sorted({"WANDB_API_KEY", STORAGE_VARIABLE, *cloud.secrets}):
        value = os.environ.get(variable, "")
        if len(value) < _MIN_SECRET:
            continue
        if value in text or pack(value) in text:
            raise ConfigError(
                f"the job would hold the value of {variable}, for all to read who see it; {_ADVICE}"
            )


def _task(
    config: RunConfig,
    kind: Kind,
    order: Order | None,
    words: Sequence[str],
    code: Code | None,
    table: Table | None,
) -> Task:
    """Return the work of the job, under a name of its own."""
    if order is not None:
        stem = order.name
    elif kind == "multirun":
        stem = "multirun"
    else:
        stem = f"{config.model_name}_seed{config.seed}"
    now = datetime.now().astimezone()
    request = uuid.uuid4().hex
    return Task(
        name=f"{now:%Y-%m-%d_%H-%M-%S}_{stem}_{request[:4]}",
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
    """Print what is to be sent, what it costs, and what may be wrong with it."""
    for warning in plan.warnings:
        warn(console, warning)

    cloud = plan.cloud
    facts = {
        "Job": f"{plan.task.name} ({plan.task.kind})",
        "Machines": _machines_line(cloud),
    }
    if plan.order is not None:
        facts["Workers"] = _workers_line(plan.order, cloud)
    facts |= {
        "Image": image_of(cloud, plan.task.commit),
        "Data": _data_line(plan),
        "Results": folder_of(cloud, plan.task.name),
        "Price": _price_line(plan.price),
        "Ceiling": _ceiling_line(cloud, plan.price),
    }
    for name, text in facts.items():
        print_line(console, f"{name + ':':10}{text}")


def _machines_line(cloud: Cloud) -> str:
    """Return the machines in words, and how long they are rented at most."""
    extra = ""
    if cloud.accelerator:
        extra = f" with {cloud.n_accelerators} x {cloud.accelerator}"
    kind = "spot " if cloud.spot else ""
    return (
        f"{cloud.n_machines} x {kind}{cloud.machine}{extra} in {cloud.region}, "
        f"at most {cloud.timeout_s} s"
    )


def _ceiling_line(cloud: Cloud, price: Quote | str) -> str:
    """Return the ceiling of the cost in words."""
    if cloud.max_cost and isinstance(price, Quote):
        return f"{price.money(cloud.max_cost)} (cloud.max_cost)"
    return "none (cloud.max_cost=null)"


def _workers_line(order: Order, cloud: Cloud) -> str:
    """Return the workers of a study in words, and how they share it."""
    from studperf.cloud.estimate import n_workers

    n = n_workers(order, cloud)
    if cloud.has_database:
        return f"{n} on one study, by the database of cloud.secrets.{STORAGE_VARIABLE}"
    if n <= 1:
        return "1"
    return (
        f"{n} on one machine, which shares its cores among them; "
        f"for a machine each they need a database: cloud.secrets.{STORAGE_VARIABLE}=NAME"
    )


def _data_line(plan: Plan) -> str:
    """Return in words where the rows come from."""
    table = plan.table
    if table is None:
        return f"SIMULATED, drawn from the law of dataset {plan.config.data.name!r}"
    if table.is_here:
        return f"{table.path} (md5 {table.md5})"
    return f"{table.path} (md5 {table.md5}, as its .dvc file says; it is not here)"


def _price_line(price: Quote | str) -> str:
    """Return the price in words, an hour and for the job's whole time."""
    if isinstance(price, str):
        return f"unknown: {price}"
    where = ""
    if not price.is_region_known:
        where = "; the region is not in the table and counts as the dearest"
    return (
        f"about {price.money(price.per_hour)} an hour, "
        f"{price.money(price.most)} if it runs to the end of its time "
        f"(prices of {price.as_of}{where}; check them: https://cloud.google.com/vertex-ai/pricing)"
    )


def send(plan: Plan, console: Console) -> int | None:
    """Upload the table and submit the job; print how to follow and cancel it.

    Returns:
        The exit code of following the job, where that was asked for.
    """
    from studperf.cloud.checks import check_image, check_place, is_googles
    from studperf.cloud.google.session import Google
    from studperf.cloud.google.vertex import Vertex

    cloud = plan.cloud
    check_place(cloud)
    google = Google(cloud.project or "", cloud.region)
    _send_table(plan, google, console)
    image = image_of(cloud, plan.task.commit)
    if is_googles(image):
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
        print_line(console, f"{name + ':':11}{text}")
    if not cloud.follow:
        return None
    from studperf.cloud.follow import follow

    return follow(vertex, job, console, commands)


def _send_table(plan: Plan, google: Google, console: Console) -> None:
    """Upload the table, unless the bucket has it already."""
    from studperf.cloud.google.bucket import Folder

    folder = Folder(google, str(plan.cloud.bucket))
    table = plan.table
    if table is None:
        # Asked without a table too, so that a missing bucket shows before a machine is rented.
        folder.is_there("data")
        return

    name = table_uri(plan.cloud, table.md5).removeprefix(f"{folder.uri}/")
    if folder.is_there(name):
        return
    if not table.is_here:
        raise CloudError(
            f"{table.path}: is neither here nor in {folder.uri}/{name}; "
            "bring it: python -m studperf.data fetch"
        )
    size = table.path.stat().st_size
    print_line(console, f"Sending the table ({size:,} bytes) to {folder.uri}/{name}")
    folder.upload(table.path, name, table.md5)


def _check_secrets(cloud: Cloud, google: Google, console: Console) -> None:
    """Check that the secrets are there; warn where this account may not look."""
    from studperf.cloud.checks import check_secret
    from studperf.cloud.google.errors import NotFoundError

    for name in cloud.secrets.values():
        try:
            check_secret(google, secret_version(cloud, name))
        except NotFoundError:
            raise
        # Whoever submits need not be allowed to look: the job's own account reads the secret.
        except CloudError as error:
            warn(console, str(error).splitlines()[0])


def how_to(job: Job, typed: Sequence[str]) -> dict[str, str]:
    """Return the commands that follow, cancel and fetch a job.

    What was typed of its place is repeated in them.
    """
    places = [word for word in typed if key_of(word) in _PLACE]
    where = "".join(f" {shlex.quote(word)}" for word in places)
    return {
        "Follow": f"python -m studperf.cloud logs {job.name} follow=true{where}",
        "Cancel": f"python -m studperf.cloud cancel {job.name}{where}",
        "Fetch": f"python -m studperf.cloud fetch {job.name}{where}",
    }
