"""Whole jobs over the wire: submitted by the command, run by the stand-in as Vertex AI would, fetched home."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.google_standin import GoogleStandin
from kit.small_run import SMALL
from studperf.record.record import RunRecord

Command = Callable[..., subprocess.CompletedProcess[str]]
NO_EXPORT = (*SMALL, "export=false")
PLACE = ("cloud.project=my-project", "cloud.bucket=gs://my-bucket/studperf")
CLOUD = ("cloud=vertex", "cloud.sync_s=0.2", *PLACE)
LONG = ("trainer.max_epochs=1500", "monitor.patience=1500", "scheduler.name=none")
SPY = Path(__file__).parent / "spy"
PLANTED = "planted-s3cret-value-of-a-test"
pytestmark = pytest.mark.slow


def small(*words: str) -> list[str]:
    """The words of a small run, without those that these words replace."""
    chosen = {word.partition("=")[0] for word in words}
    others = [word for word in NO_EXPORT if word.partition("=")[0] not in chosen]
    return [*others, *words]


def submit(command: Command, standin: GoogleStandin, *words: str) -> dict[str, Any]:
    done = command("train", *small(*words), *CLOUD)
    assert done.returncode == 0, done.stderr
    return standin.job()


def succeed(standin: GoogleStandin, job: dict[str, Any]) -> list[str]:
    done = standin.wait(job)
    log = standin.log_of(job)
    assert done["state"] == "JOB_STATE_SUCCEEDED", "\n".join([str(done.get("error")), *log])
    return log


def fetch(command: Command) -> subprocess.CompletedProcess[str]:
    done = command("cloud", "fetch", *PLACE)
    assert done.returncode == 0, done.stderr
    return done


def the_record(runs: Path) -> RunRecord:
    (path,) = runs.glob("*/record.json")
    return RunRecord.load(path.parent)


def train_here(command: Command, tmp_path: Path, *words: str) -> RunRecord:
    done = command("train", *small(*words), f"runs={tmp_path / 'here'}")
    assert done.returncode == 0, done.stderr
    return the_record(tmp_path / "here")


def until(condition: Callable[[], object], what: str, timeout_s: float = 90) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def seen_by_official_client(standin: GoogleStandin) -> list[str]:
    """The one job, listed and read."""
    script = f"""
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1 import JobServiceClient
client = JobServiceClient(credentials=AnonymousCredentials(), transport="rest", client_options={{"api_endpoint": "{standin.url}"}})
parent = "projects/my-project/locations/europe-west1"
(listed,) = client.list_custom_jobs({{"parent": parent, "filter": 'labels.app="studperf"'}})
job = client.get_custom_job(name=listed.name)
print(job.display_name, job.state.name, job.job_spec.scheduling.strategy.name, job.labels["model"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_run_there_is_the_run_here(
    command: Command, standin: GoogleStandin, tmp_path: Path
) -> None:
    table = tmp_path / "my $(HOME) table.csv"
    assert command("data", "simulate", f"out={table}", "rows=400").returncode == 0
    words = (
        "data=students",
        f"data.source.path='{table}'",
        "model=mlp",
        "tracking.wandb.tags=['$(HOME) 100 % ü']",
    )
    job = submit(command, standin, *words)
    succeed(standin, job)
    assert seen_by_official_client(standin) == [
        job["displayName"],
        "JOB_STATE_SUCCEEDED",
        "STANDARD",
        "mlp",
    ]
    fetch(command)
    there, here = the_record(tmp_path / "runs"), train_here(command, tmp_path, *words)
    assert (there.status, there.weights_sha256, there.data.md5) == (
        "finished",
        here.weights_sha256,
        here.data.md5,
    )
    assert there.judgement is not None
    assert here.judgement is not None
    assert (there.judgement.scores, there.judgement.verdict) == (
        here.judgement.scores,
        here.judgement.verdict,
    )
    assert there.config["tracking"]["wandb"]["tags"] == ["$(HOME) 100 % ü"]
    assert fetch(command).stdout.startswith("0 of ")  # all is here already
    again = command("train", *small(*words), *CLOUD)
    assert "Sending the table" not in again.stdout  # it is there


def test_a_run_that_fails_says_why_and_costs_no_second_try(
    command: Command, standin: GoogleStandin
) -> None:
    words = (
        "model=linear",
        "optimizer.name=sgd",
        "optimizer.lr=1e30",
        "scheduler.warmup=0",
        "batch_size=16",
    )
    job = submit(command, standin, *words)
    done = standin.wait(job)
    assert (done["state"], done["error"]["message"]) == (
        "JOB_STATE_FAILED",
        "The replica workerpool0-0 exited with a non-zero status of 2.",
    )
    assert standin.replicas[job["name"]][0].restarts == 0
    status = command("cloud", "status", *PLACE)
    assert status.returncode == 1
    assert "never a finite number" in status.stdout
    assert "exited with a non-zero status" in status.stdout


def test_a_cancelled_job_leaves_what_it_has(
    command: Command, standin: GoogleStandin, tmp_path: Path
) -> None:
    job = submit(
        command, standin, "model=mlp", *LONG, "trainer.max_epochs=100000", "monitor.patience=100000"
    )
    until(
        lambda: any(name.endswith("last.ckpt") for name in standin.files()),
        "no checkpoint reached the bucket",
    )
    assert command("cloud", "cancel", job["displayName"][:19], *PLACE).returncode == 0
    assert standin.wait(job)["state"] == "JOB_STATE_CANCELLED"
    assert all(replica.code is not None for replica in standin.replicas[job["name"]])
    fetch(command)
    assert the_record(tmp_path / "runs").status == "interrupted"
    assert "has ended already" in command("cloud", "cancel", job["displayName"], *PLACE).stdout


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM], ids=["by surprise", "with notice"]
)
def test_a_run_whose_machine_is_taken_away_ends_with_the_same_weights(
    command: Command, standin: GoogleStandin, tmp_path: Path, number: int
) -> None:
    table = tmp_path / "a student's table.csv"
    assert command("data", "simulate", f"out={table}", "rows=400").returncode == 0
    words = ("model=mlp", "data=students", f"data.source.path={table}", *LONG)
    job = submit(command, standin, *words, "cloud.spot=true")
    until(
        lambda: any(name.endswith("last.ckpt") for name in standin.files()),
        "no checkpoint reached the bucket",
    )
    standin.take_away(job, 0, number)
    log = succeed(standin, job)
    assert standin.replicas[job["name"]][0].restarts == 1
    assert any("restored from gs://my-bucket/studperf/jobs/" in line for line in log)
    fetch(command)
    there, here = the_record(tmp_path / "runs"), train_here(command, tmp_path, *words)
    assert len(there.resumed_at) == 1
    assert 0 < there.resumed_at[0] < 1500
    assert (there.weights_sha256, len(there.history)) == (here.weights_sha256, 1500)


def test_two_machines_share_a_run_and_begin_again_together_when_one_is_lost(
    command: Command, standin: GoogleStandin, tmp_path: Path
) -> None:
    standin.environment["PYTHONPATH"] = str(SPY)
    standin.environment["STUDPERF_SPY"] = "1"
    words = (
        "model=mlp",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=150",
        "monitor.patience=150",
        "scheduler.name=none",
    )
    job = submit(
        command,
        standin,
        *words,
        "trainer=ddp",
        "trainer.devices=1",
        "cloud.nodes=2",
        "cloud.spot=true",
    )
    until(
        lambda: any(name.endswith("last.ckpt") for name in standin.files()),
        "no checkpoint reached the bucket",
    )
    standin.take_away(job, 1)
    log = succeed(standin, job)
    assert [replica.restarts for replica in standin.replicas[job["name"]]] == [1, 1]
    told = re.findall(r"rank (\d) of 2 ends with (\w{64})", "\n".join(log))
    assert sorted(rank for rank, _ in told) == ["0", "1"]
    assert len({weights for _, weights in told}) == 1
    fetch(command)
    shared, alone = the_record(tmp_path / "runs"), train_here(command, tmp_path, *words)
    assert (len(shared.resumed_at), shared.config["trainer"]["num_nodes"]) == (1, 2)
    assert [row["val/rmse"] for row in shared.history] == pytest.approx(
        [row["val/rmse"] for row in alone.history], abs=1e-5
    )


def test_watching_ends_by_ctrl_c_and_the_job_goes_on(
    command: Command, standin: GoogleStandin, tmp_path: Path
) -> None:
    words = [
        *NO_EXPORT,
        "model=mlp",
        *LONG,
        "trainer.max_epochs=100000",
        "monitor.patience=100000",
        *CLOUD,
        "cloud.follow=true",
    ]
    line = [sys.executable, "-u", "-m", "studperf.train", *words]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    ) as process:
        try:
            until(
                lambda: (
                    standin.jobs
                    and standin.job()["state"] == "JOB_STATE_RUNNING"
                    and standin.log_of(standin.job())
                ),
                "the job did not start",
            )
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=30)
        finally:
            process.kill()  # or a failure above would wait for the end of a job that has none
    assert process.returncode == 130, told
    assert "goes on in the cloud" in told
    assert f"python -m studperf.cloud cancel {standin.job()['displayName']}" in told
    assert standin.job()["state"] == "JOB_STATE_RUNNING"
    assert command("cloud", "cancel", standin.job()["displayName"], *PLACE).returncode == 0
    standin.wait(standin.job())


def test_a_secret_is_given_to_the_run_and_shown_to_no_one(
    command: Command, standin: GoogleStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.secrets["wandb-key"] = PLANTED
    monkeypatch.setenv("WANDB_API_KEY", PLANTED)  # the shell that submits knows it too
    monkeypatch.setenv("WANDB_MODE", "offline")
    account = "cloud.service_account=jobs@my-project.iam.gserviceaccount.com"
    words = [*NO_EXPORT, "model=mean", "cloud.secrets.WANDB_API_KEY=wandb-key", account, *CLOUD]
    submitted = command("train", *words, "cloud.follow=true")
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert submitted.stdout.count("Recorded in runs/") == 1
    assert "SUCCEEDED" in submitted.stdout
    job = standin.job()
    log = succeed(standin, job)
    assert any("/secrets/wandb-key/versions/latest:access" in path for _, path, *_ in standin.seen)
    fetched = fetch(command)
    texts = [submitted.stdout, submitted.stderr, fetched.stdout, *log, str(job)]
    requests = [path.encode() + body for _, path, body, _ in standin.seen]
    stored = [path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    everywhere = [*(text.encode() for text in texts), *requests, *standin.files().values(), *stored]
    assert len(stored) > 5
    assert not [content for content in everywhere if PLANTED.encode() in content]
