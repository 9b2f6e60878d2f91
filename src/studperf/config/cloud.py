"""The shape of the `cloud` block: which machine trains a run, and what is rented for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from studperf.config.dataset import Block
from studperf.config.secrets import STORAGE_VARIABLE
from studperf.config.types import PositiveFloat, PositiveInt, of_form

# What is wrong is not repeated: these two may come from any environment variable.
Project = Annotated[
    str,
    of_form(
        r"[a-z][a-z0-9-]{4,28}[a-z0-9]", "a project's id, such as my-project-1", is_shown=False
    ),
]
Region = Annotated[str, of_form(r"[a-z]+(-[a-z]+)+\d+", "a region, such as europe-west1")]
Bucket = Annotated[
    str,
    of_form(
        r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[^/\s?#*\[\]$%]+)*/?",
        "gs://NAME or gs://NAME/folder",
        is_shown=False,
    ),
    AfterValidator(lambda bucket: bucket.rstrip("/")),
]
Image = Annotated[
    str,
    of_form(
        r"[^\s:@$]+(:\d+/[^\s:@$]+)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?",
        "an image, HOST/PROJECT/REPOSITORY/NAME:TAG",
    ),
]
Machine = Annotated[
    str, of_form(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", "a machine type, such as n1-standard-4")
]
Accelerator = Annotated[str, of_form(r"[A-Z][A-Z0-9_]+", "an accelerator, such as NVIDIA_TESLA_T4")]
# Vertex AI attaches no other number of accelerators to a machine.
Accelerators = Literal[1, 2, 4, 8, 16]
Account = Annotated[
    str, of_form(r"[^@\s$]+@[^@\s$]+", "an account, NAME@PROJECT.iam.gserviceaccount.com")
]
Network = Annotated[
    str,
    of_form(r"projects/[^/\s]+/global/networks/[^/\s]+", "projects/NUMBER/global/networks/NAME"),
]
Variable = Annotated[str, of_form(r"[A-Z_][A-Z0-9_]*", "the name of an environment variable")]
# A key of W&B, 40 hexadecimal digits, would pass for a name: it is what is pasted here by mistake.
SecretName = Annotated[
    str,
    of_form(
        r"(?![0-9a-f]{40}$)(projects/[^/\s$]+/secrets/)?[A-Za-z0-9_-]{1,255}(/versions/(latest|\d+))?",
        "a name in Secret Manager, never the secret itself: NAME, "
        "or projects/PROJECT/secrets/NAME/versions/latest",
        is_shown=False,
    ),
]
# In GB; Vertex AI gives no smaller disk.
DiskSize = Annotated[int, Field(ge=100, strict=True)]


class Local(Block):
    """A run on this machine."""

    name: Literal["local"]

    @model_validator(mode="before")
    @classmethod
    def _rents_nothing(cls, block: Any) -> Any:  # noqa: ANN401 - whatever YAML held
        if not isinstance(block, dict):
            return block
        rented = sorted(block.keys() & (Vertex.model_fields.keys() - {"name"}))
        if rented:
            raise ValueError(f"{', '.join(rented)}: only with cloud=vertex")
        return block


class Vertex(Block):
    """A custom job on Vertex AI.

    `secrets` maps environment variables to names in Secret Manager: a value never travels with a
    job. `max_cost` is in the currency of the table of prices, and is compared with what the job
    costs if it runs until `timeout_s`.
    """

    name: Literal["vertex"]
    dry_run: bool
    follow: bool
    estimate: bool
    project: Project | None
    region: Region
    bucket: Bucket | None
    image: Image | None
    python: Annotated[str, of_form(r"[^\s$%]+", "the path of an interpreter in the image")]
    machine: Machine
    accelerator: Accelerator | None
    n_accelerators: Accelerators
    disk_gb: DiskSize
    nodes: PositiveInt
    workers: PositiveInt
    spot: bool
    timeout_s: PositiveInt
    max_cost: PositiveFloat | None
    prices: str | None
    service_account: Account | None
    network: Network | None
    secrets: dict[Variable, SecretName]
    sync_s: PositiveFloat

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.nodes > 1 and self.workers > 1:
            raise ValueError(
                "nodes shares one run among machines and workers shares a study among them; "
                "set one of the two"
            )
        if self.secrets and self.service_account is None:
            raise ValueError(
                "secrets are read by the job's own service account: "
                "set cloud.service_account=NAME@PROJECT.iam.gserviceaccount.com"
            )
        return self

    @property
    def n_machines(self) -> int:
        """Number of rented machines.

        A study without a database keeps all of its workers on one.
        """
        n_of_workers = self.workers if self.has_database else 1
        return max(self.nodes, n_of_workers)

    @property
    def has_database(self) -> bool:
        """Return True if workers on several machines can share a study."""
        return STORAGE_VARIABLE in self.secrets


Cloud = Annotated[Local | Vertex, Field(discriminator="name")]
