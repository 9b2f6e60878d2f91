"""A run or a study as a custom job of Vertex AI: a pure function from what was asked to the request that is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from studperf.cloud.words import pack
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from studperf.config.cloud import Vertex
    from studperf.config.shape import RunConfig

Json = dict[str, Any]
Kind = Literal["run", "repeat", "multirun", "study"]
COMMAND = ("-m", "studperf.cloud", "entry")
"""For the image's interpreter."""
REQUEST = "request"
"""The label by which a job is found again whose submission was not answered."""
APP = {"app": "studperf"}
_MAX_LABEL = 63
_WITH_GPU = ("g2-", "g4-", "a2-", "a3-", "a4-")
"""Machines that hold GPUs by themselves."""


@dataclass(frozen=True)
class Task:
    """What a job is to do.

    Args:
        name: of the job and of its folder in the bucket.
        request: tells two submissions of the same words apart.
        kind: a plain multirun is the one that can't go on where it was.
        words: of the command line, those about the cloud left out.
        flags: such as -m.
        commit: of the checkout that the image is made from.
        table: where the rows lie in the bucket, and their md5; None for simulated ones.
        table_path: where the run looks for them.
        study: its name.
    """

    name: str
    request: str
    kind: Kind
    words: tuple[str, ...]
    flags: tuple[str, ...] = ()
    commit: str | None = None
    table_md5: str | None = None
    table_path: str | None = None
    study: str | None = None

    @property
    def can_resume(self) -> bool:
        """Whether a machine that was taken away may be replaced."""
        return self.kind != "multirun"


def describe(config: RunConfig, cloud: Vertex, task: Task) -> Json:
    """The request that creates the job, as JSON.

    Raises:
        ConfigError: what was asked for does not go together.
    """
    _check(config, cloud, task)
    pool = {
        "machineSpec": _machine(cloud),
        "diskSpec": {"bootDiskType": "pd-ssd", "bootDiskSizeGb": cloud.disk_gb},
        "containerSpec": {
            "imageUri": image_of(cloud, task.commit),
            "command": [cloud.python, *COMMAND],
            "args": _arguments(cloud, task),
        },
    }
    counts = (
        [1] if cloud.n_machines == 1 else [1, cloud.n_machines - 1]
    )  # the first pool holds the one primary replica
    spec: Json = {
        "workerPoolSpecs": [pool | {"replicaCount": str(n)} for n in counts],
        "scheduling": {
            "timeout": f"{cloud.timeout_s}s",
            "strategy": "SPOT" if cloud.spot else "STANDARD",
            "disableRetries": not task.can_resume,
            "restartJobOnWorkerRestart": cloud.nodes
            > 1,  # processes that share a run begin together, workers of a study need not
        },
        "baseOutputDirectory": {"outputUriPrefix": folder_of(cloud, task.name)},
    }
    spec |= {"serviceAccount": cloud.service_account} if cloud.service_account else {}
    spec |= {"network": cloud.network} if cloud.network else {}
    return {"displayName": task.name, "labels": _labels(config, task), "jobSpec": spec}


def _check(config: RunConfig, cloud: Vertex, task: Task) -> None:
    is_shared = "ddp" in str(config.trainer.get("strategy"))
    if cloud.nodes > 1 and not (is_shared and task.kind == "run"):
        raise ConfigError(
            f"cloud.nodes={cloud.nodes}: several machines share one run with trainer=ddp, without -m and repeat"
        )
    if cloud.workers > 1 and task.kind != "study":
        raise ConfigError(
            f"cloud.workers={cloud.workers}: is for a study, such as -m sweeps=mlp; one run is shared by cloud.nodes=N trainer=ddp"
        )
    if (
        config.trainer.get("accelerator") in ("gpu", "cuda")
        and cloud.accelerator is None
        and not cloud.machine.startswith(_WITH_GPU)
    ):
        raise ConfigError(
            f"trainer.accelerator={config.trainer['accelerator']}: cloud.machine={cloud.machine} has no GPU; rent one with "
            "cloud.accelerator=NVIDIA_TESLA_T4, or take trainer.accelerator=auto"
        )
    if cloud.spot and not task.can_resume:
        raise ConfigError(
            "cloud.spot=true: a plain multirun can't go on where it was when its machine is taken away; use a study or repeat="
        )


def _machine(cloud: Vertex) -> Json:
    spec: Json = {"machineType": cloud.machine}
    return spec | (
        {"acceleratorType": cloud.accelerator, "acceleratorCount": cloud.n_accelerators}
        if cloud.accelerator
        else {}
    )


def _arguments(cloud: Vertex, task: Task) -> list[str]:
    options = [f"--folder={folder_of(cloud, task.name)}", f"--sync-s={cloud.sync_s:g}"]
    if task.table_md5 is not None and task.table_path is not None:
        options += [
            f"--table={table_uri(cloud, task.table_md5)}",
            f"--table-md5={task.table_md5}",
            f"--table-path={pack(task.table_path)}",
        ]
    options += [
        f"--secret={variable}={secret_version(cloud, name)}"
        for variable, name in sorted(cloud.secrets.items())
    ]
    options += [f"--study={pack(task.study)}"] if task.study else []
    words = [*task.flags, *task.words]
    if cloud.nodes > 1:
        words.append(f"trainer.num_nodes={cloud.nodes}")
    if task.kind == "study" and cloud.workers > 1 and not cloud.has_database:
        words.append(f"hydra.sweeper.n_jobs={cloud.workers}")
    return [*options, "--", *map(pack, words)]


def image_of(cloud: Vertex, commit: str | None) -> str:
    """The image that was named, or the one that the checkout's commit is made into."""
    return (
        cloud.image
        or f"{cloud.region}-docker.pkg.dev/{cloud.project or 'PROJECT'}/studperf/train:{commit or 'latest'}"
    )


def folder_of(cloud: Vertex, name: str) -> str:
    """Where a job writes."""
    return f"{cloud.bucket or 'gs://BUCKET'}/jobs/{name}"


def table_uri(cloud: Vertex, md5: str) -> str:
    """Where a table lies, by its md5: the same rows are sent once."""
    return f"{cloud.bucket or 'gs://BUCKET'}/data/{md5}"


def secret_version(cloud: Vertex, name: str) -> str:
    """The full name of a secret's version."""
    full = (
        name
        if name.startswith("projects/")
        else f"projects/{cloud.project or 'PROJECT'}/secrets/{name}"
    )
    return full if "/versions/" in full else f"{full}/versions/latest"


def _labels(config: RunConfig, task: Task) -> Json:
    labels = {
        **APP,
        REQUEST: task.request,
        "kind": task.kind,
        "model": config.model_name,
        "data": config.data.name,
        "data-md5": task.table_md5 or "simulated",
        "commit": (task.commit or "unknown")[:12],
        **({"study": task.study} if task.study else {}),
    }
    return {
        key: re.sub(r"[^a-z0-9_-]", "_", value.lower())[:_MAX_LABEL]
        for key, value in labels.items()
    }
