"""The request that creates a job: golden files, the official types, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import CustomJob
from google.protobuf import json_format

from studperf.cloud.job import Json, Task, describe
from studperf.config.cloud import Vertex
from studperf.config.load import load_overrides
from studperf.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden"
PLACE = ("cloud=vertex", "cloud.project=my-project", "cloud.bucket=gs://my-bucket/studperf")
SHARED = (
    "cloud.service_account=jobs@my-project.iam.gserviceaccount.com",
    "cloud.secrets.STUDPERF_STORAGE=study-database",
    "cloud.secrets.WANDB_API_KEY=projects/other/secrets/w/versions/3",
    "cloud.network=projects/123/global/networks/default",
    "cloud.image=europe-west4-docker.pkg.dev/p/r/train@sha256:" + "a" * 64,
)
TASK = {
    "request": "0123456789abcdef0123456789abcdef",
    "commit": "1" * 40,
    "table_md5": "7c6c21309e648313d43b304646907cf3",
    "table_path": "data/students.csv",
}
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "run": (["model=mlp", "optimizer.lr=3e-3"], {"kind": "run"}),
    "run_spot_gpu": (
        [
            "model=tabm",
            "trainer=gpu",
            "cloud.spot=true",
            "cloud.accelerator=NVIDIA_TESLA_T4",
            "cloud.n_accelerators=2",
        ],
        {"kind": "run"},
    ),
    "run_two_nodes": (
        ["model=ft_transformer", "trainer=ddp", "cloud.nodes=2", "cloud.machine=n1-standard-8"],
        {"kind": "run"},
    ),
    "simulated": (
        ["data=simulated", "tracking.wandb.name='$(HOME) 100 %'"],
        {"kind": "run", "table_md5": None, "table_path": None},
    ),
    "multirun": (["seed=0,1"], {"kind": "multirun", "flags": ("-m",)}),
    "study_one_machine": (
        ["sweeps=mlp", "cloud.workers=4"],
        {"kind": "study", "flags": ("-m",), "study": "mlp"},
    ),
    "study_eight_machines": (
        ["sweeps=mlp", "cloud.workers=8", *SHARED],
        {"kind": "study", "flags": ("-m",), "study": "mlp"},
    ),
}


def body_of(words: list[str], **task: Any) -> Json:
    config = load_overrides([*PLACE, *[word for word in words if "," not in word]])
    assert isinstance(config.cloud, Vertex)
    name = f"2026-11-25_01-00-00_{task['kind']}_0123"
    sent = tuple(word for word in words if not word.startswith("cloud"))
    return describe(config, config.cloud, Task(**{"name": name, "words": sent, **TASK, **task}))


@pytest.mark.parametrize("name", CASES)
def test_a_job_is_what_its_golden_file_says(name: str) -> None:
    words, task = CASES[name]
    assert body_of(words, **task) == json.loads(
        (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_the_official_types_read_each_golden_file_whole(path: Path) -> None:
    body = json.loads(path.read_text(encoding="utf-8"))
    message = json_format.ParseDict(body, CustomJob.pb()())
    again = json_format.MessageToDict(message)
    assert (
        again["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"]
        == body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"]
    )
    assert again["labels"] == body["labels"]


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == CASES.keys()


def test_the_official_types_refuse_a_key_that_is_none() -> None:
    body = body_of(["model=mlp"], kind="run")
    body["jobSpec"]["workerPoolSpecs"][0]["replicas"] = 3
    with pytest.raises(json_format.ParseError, match="replicas"):
        json_format.ParseDict(body, CustomJob.pb()())


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["cloud.nodes=2"], "run", "share one run with trainer=ddp"),
        (["cloud.nodes=2", "trainer=ddp"], "repeat", "without -m and repeat"),
        (["cloud.workers=2"], "run", "is for a study"),
        (["cloud.spot=true"], "multirun", "can't go on where it was"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        body_of(words, kind=kind)


def test_labels_hold_only_what_vertex_ai_takes() -> None:
    labels = body_of(["sweeps=mlp"], kind="study", study="My.Study+" + "x" * 80)["labels"]
    assert labels["study"] == ("my_study_" + "x" * 80)[:63]
