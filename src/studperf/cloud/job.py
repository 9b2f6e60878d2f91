"""A pure function from a command line to the request that creates its job on Vertex AI, as JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from studperf.cloud.container.quoting import pack
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from studperf.config.cloud import Vertex
    from studperf.config.run import RunConfig

Json = dict[str, Any]
Kind = Literal["run", "repeat", "multirun", "study"]
COMMAND = ("-m", "studperf.cloud", "entry")
"""Arguments of the image's Python."""
REQUEST = "request"
"""The label by which a job is found again whose submission was not answered."""
APP = {"app": "studperf"}
"""The label of all jobs that studperf submitted."""
# Google's limit for a label's value.
_MAX_LABEL = 63
# Families of machines that hold GPUs by themselves.
_WITH_GPU = ("g2-", "g4-", "a2-", "a3-", "a4-")


@dataclass(frozen=True)
class Task:
    """The work of a job.

    Args:
        name: name of the job and of its folder in the bucket.
        request: tells two submissions of the same words apart.
        kind: a plain multirun is the one that can't be resumed.
        words: overrides of the command line, without those about the cloud.
        flags: such as -m.
        commit: commit of the checkout that the image is made from.
        table_md5: md5 of the table, which names it in the bucket; None for simulated rows.
        table_path: where the run looks for the table.
        study: the study's name.
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
        """True if a machine that was taken away may be replaced."""
        return self.kind != "multirun"


def describe(config: RunConfig, cloud: Vertex, task: Task) -> Json:
    """Return the request that creates the job, as JSON.

    Raises:
        ConfigError: the settings do not go together.
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
    # The first pool holds the one primary replica, and no other.
    counts = [1]
    if cloud.n_machines > 1:
        counts.append(cloud.n_machines - 1)
    spec: Json = {
        # Google's whole numbers of 64 bits are texts in JSON.
        "workerPoolSpecs": [pool | {"replicaCount": str(n)} for n in counts],
        "scheduling": {
            "timeout": f"{cloud.timeout_s}s",
            "strategy": "SPOT" if cloud.spot else "STANDARD",
            # Vertex AI starts a worker that failed up to five times, and then the job three times.
            "disableRetries": not task.can_resume,
            # Processes that share a run begin together, workers of a study need not.
            "restartJobOnWorkerRestart": cloud.nodes > 1,
        },
        "baseOutputDirectory": {"outputUriPrefix": folder_of(cloud, task.name)},
    }
    # Without an account of its own a container can't ask for a token that opens secrets
    # (python-aiplatform#902).
    if cloud.service_account:
        spec["serviceAccount"] = cloud.service_account
    if cloud.network:
        spec["network"] = cloud.network
    return {"displayName": task.name, "labels": _labels(config, task), "jobSpec": spec}


def _check(config: RunConfig, cloud: Vertex, task: Task) -> None:
    """Check that the settings of the cloud go with the work."""
    is_shared = "ddp" in str(config.trainer.get("strategy"))
    if cloud.nodes > 1 and not (is_shared and task.kind == "run"):
        raise ConfigError(
            f"cloud.nodes={cloud.nodes}: several machines share one run with trainer=ddp, "
            "without -m and repeat"
        )
    if cloud.workers > 1 and task.kind != "study":
        raise ConfigError(
            f"cloud.workers={cloud.workers}: is for a study, such as -m sweeps=mlp; "
            "one run is shared by cloud.nodes=N trainer=ddp"
        )

    wants_gpu = config.trainer.get("accelerator") in ("gpu", "cuda")
    has_gpu = cloud.accelerator is not None or cloud.machine.startswith(_WITH_GPU)
    if wants_gpu and not has_gpu:
        raise ConfigError(
            f"trainer.accelerator={config.trainer['accelerator']}: cloud.machine={cloud.machine} "
            "has no GPU; rent one with cloud.accelerator=NVIDIA_TESLA_T4, "
            "or take trainer.accelerator=auto"
        )
    if cloud.spot and not task.can_resume:
        raise ConfigError(
            "cloud.spot=true: a plain multirun can't go on where it was when its machine "
            "is taken away; use a study or repeat="
        )


def _machine(cloud: Vertex) -> Json:
    """Return the machine, and the GPUs that it is given, as Vertex AI names them."""
    spec: Json = {"machineType": cloud.machine}
    if cloud.accelerator:
        spec["acceleratorType"] = cloud.accelerator
        spec["acceleratorCount"] = cloud.n_accelerators
    return spec


def _arguments(cloud: Vertex, task: Task) -> list[str]:
    """Return the container's arguments: options of its entry, `--`, the words of the run."""
    options = [f"--folder={folder_of(cloud, task.name)}", f"--sync-s={cloud.sync_s:g}"]
    if task.table_md5 is not None and task.table_path is not None:
        options += [
            f"--table={table_uri(cloud, task.table_md5)}",
            f"--table-md5={task.table_md5}",
            f"--table-path={pack(task.table_path)}",
        ]
    # The name of a secret, never its value: whoever may see a job may read its description.
    for variable, name in sorted(cloud.secrets.items()):
        options.append(f"--secret={variable}={secret_version(cloud, name)}")
    if task.study:
        options.append(f"--study={pack(task.study)}")

    words = [*task.flags, *task.words]
    if cloud.nodes > 1:
        words.append(f"trainer.num_nodes={cloud.nodes}")
    if task.kind == "study" and cloud.workers > 1 and not cloud.has_database:
        words.append(f"hydra.sweeper.n_jobs={cloud.workers}")
    return [*options, "--", *map(pack, words)]


def image_of(cloud: Vertex, commit: str | None) -> str:
    """Return the image that was named, or the one that is built from the checkout's commit."""
    if cloud.image:
        return cloud.image
    project = cloud.project or "PROJECT"
    return f"{cloud.region}-docker.pkg.dev/{project}/studperf/train:{commit or 'latest'}"


def folder_of(cloud: Vertex, name: str) -> str:
    """Return the folder of the bucket that a job writes to."""
    return f"{cloud.bucket or 'gs://BUCKET'}/jobs/{name}"


def table_uri(cloud: Vertex, md5: str) -> str:
    """Return the place of a table in the bucket.

    Its md5 is the name, so that the same rows are sent once.
    """
    return f"{cloud.bucket or 'gs://BUCKET'}/data/{md5}"


def secret_version(cloud: Vertex, name: str) -> str:
    """Return the full name of a secret's version, the latest unless one is named."""
    full = name
    if not name.startswith("projects/"):
        full = f"projects/{cloud.project or 'PROJECT'}/secrets/{name}"
    if "/versions/" not in full:
        full += "/versions/latest"
    return full


def _labels(config: RunConfig, task: Task) -> Json:
    """Return the job's labels, by which it is found and its cost is grouped."""
    labels = {
        **APP,
        REQUEST: task.request,
        "kind": task.kind,
        "model": config.model_name,
        "data": config.data.name,
        "data-md5": task.table_md5 or "simulated",
        "commit": (task.commit or "unknown")[:12],
    }
    if task.study:
        labels["study"] = task.study
    return {key: _as_label(value) for key, value in labels.items()}


def _as_label(value: str) -> str:
    """Return a text with only the characters that Google allows in a label."""
    return re.sub(r"[^a-z0-9_-]", "_", value.lower())[:_MAX_LABEL]
