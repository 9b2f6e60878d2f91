"""Studies over the wire: one machine with a journal, several with a database, one of which is lost."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from kit.google_standin import GoogleStandin
from kit.postgres_server import PostgresServer
from kit.small_run import SMALL
from studperf.sweeps.storage import Storage

Command = Callable[..., subprocess.CompletedProcess[str]]
STUDY = (
    *(
        "-m",
        "hydra/sweeper=optuna",
        "hydra.sweeper.study=small",
        "model=linear",
        "score_on=val",
        "optimizer.lr=interval(0.001,0.1)",
    ),
    *SMALL,
    "export=false",
)
CLOUD = (
    "cloud=vertex",
    "cloud.sync_s=0.3",
    "cloud.project=my-project",
    "cloud.bucket=gs://my-bucket/studperf",
)
PLACE = CLOUD[2:]
FAST_BEATS = ("hydra.sweeper.heartbeat_s=1", "hydra.sweeper.grace_s=3")
NO_WINNER = "hydra.sweeper.winner.top=0"
pytestmark = pytest.mark.slow


def submit(command: Command, standin: GoogleStandin, *words: str) -> dict[str, Any]:
    done = command("train", *STUDY, *words, *CLOUD)
    assert done.returncode == 0, done.stderr
    return standin.job()


def succeed(standin: GoogleStandin, job: dict[str, Any]) -> list[str]:
    done = standin.wait(job, timeout_s=240)
    log = standin.log_of(job)
    assert done["state"] == "JOB_STATE_SUCCEEDED", "\n".join([str(done.get("error")), *log])
    return log


def trials_in(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="small", storage=Storage(None, folder).optuna).get_trials()


def fetch(command: Command, tmp_path: Path) -> list[optuna.trial.FrozenTrial]:
    done = command("cloud", "fetch", *PLACE)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "sweeps" / "small" / "report.html").is_file()
    shown = command("sweeps", "show", "small")
    assert shown.returncode == 0, shown.stderr
    return trials_in(tmp_path / "runs" / "sweeps" / "small")


def test_a_study_there_is_the_study_here(
    command: Command, standin: GoogleStandin, tmp_path: Path
) -> None:
    words = (
        "hydra.sweeper.n_trials=6",
        "hydra.sweeper.seed=3",
        "hydra.sweeper.winner.top=2",
        "hydra.sweeper.winner.seeds=2",
    )
    succeed(standin, submit(command, standin, *words))
    there = fetch(command, tmp_path)
    done = command("train", *STUDY, *words, f"runs={tmp_path / 'here'}")
    assert done.returncode == 0, done.stderr
    here = trials_in(tmp_path / "here" / "sweeps" / "small")
    assert [(t.params, t.values, t.state) for t in there] == [
        (t.params, t.values, t.state) for t in here
    ]
    assert len(there) == 6
    assert "Verdict of the winner" in command("sweeps", "show", "small").stdout
    assert len(list((tmp_path / "runs" / "sweeps" / "small").glob("winner_*/record.json"))) == 1


def test_a_dry_run_of_a_study_tells_time_and_price(
    command: Command, standin: GoogleStandin
) -> None:
    done = command("train", *STUDY, "hydra.sweeper.n_trials=6", *CLOUD, "cloud.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "On Vertex AI: about" in done.stdout
    assert "the winner included, about 0." in done.stdout
    late = command(
        "train",
        *STUDY,
        "hydra.sweeper.n_trials=100000",
        *CLOUD,
        "cloud.estimate=true",
        "cloud.timeout_s=60",
    )
    assert late.returncode == 2
    assert "cloud.timeout_s=60 stops it before" in late.stderr
    assert not standin.jobs


def test_without_a_database_the_workers_share_one_machine_and_go_on_when_it_is_lost(
    command: Command, standin: GoogleStandin, tmp_path: Path
) -> None:
    job = submit(
        command,
        standin,
        "hydra.sweeper.n_trials=9",
        "cloud.workers=2",
        "cloud.spot=true",
        NO_WINNER,
    )
    assert len(job["jobSpec"]["workerPoolSpecs"]) == 1
    end = time.monotonic() + 90
    while len([name for name in standin.files() if name.endswith("record.json")]) < 3:
        assert time.monotonic() < end, "\n".join(standin.log_of(job))
        time.sleep(0.05)
    standin.take_away(job, 0)
    succeed(standin, job)
    assert standin.replicas[job["name"]][0].restarts == 1
    trials = fetch(command, tmp_path)
    states = Counter(trial.state.name for trial in trials)
    assert states["COMPLETE"] + states["PRUNED"] == 9
    assert states["RUNNING"] == 0


def test_three_machines_share_a_study_and_lose_nothing_with_one_of_them(
    command: Command, standin: GoogleStandin, tmp_path: Path, postgres: PostgresServer
) -> None:
    standin.secrets["study-database"] = postgres.url
    account = "cloud.service_account=jobs@my-project.iam.gserviceaccount.com"
    secret = "cloud.secrets.STUDPERF_STORAGE=study-database"  # noqa: S105 - its name
    job = submit(
        command,
        standin,
        "hydra.sweeper.n_trials=20",
        "cloud.workers=3",
        account,
        secret,
        *FAST_BEATS,
        NO_WINNER,
    )
    assert [pool["replicaCount"] for pool in job["jobSpec"]["workerPoolSpecs"]] == ["1", "2"]
    storage = Storage(postgres.url, tmp_path)
    end = time.monotonic() + 120
    while (lost := worker_amid_a_trial(standin, job, storage)) is None:
        assert time.monotonic() < end, "\n".join(standin.log_of(job))
        time.sleep(0.02)
    standin.take_away(job, lost)
    log = succeed(standin, job)
    storage.close()
    trials = fetch(command, tmp_path)
    states = Counter(trial.state.name for trial in trials)
    assert states["COMPLETE"] + states["PRUNED"] == 20
    assert (states["RUNNING"], states["WAITING"]) == (0, 0)
    assert [replica.restarts for replica in standin.replicas[job["name"]]][lost] == 1
    pids = {str(trial.user_attrs["worker"]) for trial in trials if "worker" in trial.user_attrs}
    assert len(pids) >= 3  # trials were shared
    assert all(replica.code is not None for replica in standin.replicas[job["name"]])
    kept = [
        *standin.files().values(),
        *(line.encode() for line in log),
        *(path.encode() + body for _, path, body, _ in standin.seen),
    ]
    assert not [content for content in kept if postgres.password.encode() in content]


def worker_amid_a_trial(
    standin: GoogleStandin, job: dict[str, Any], storage: Storage
) -> int | None:
    """The rank, other than the primary's, of a machine that runs a trial of a study that has begun."""
    studies = optuna.get_all_study_summaries(storage.optuna)
    if not studies:
        return None
    trials = optuna.load_study(study_name="small", storage=storage.optuna).get_trials(
        deepcopy=False
    )
    if sum(trial.state.is_finished() for trial in trials) < 3:
        return None
    busy = {
        str(t.user_attrs.get("worker", "")).rpartition("-")[2]
        for t in trials
        if t.state.name == "RUNNING"
    }
    for rank, replica in enumerate(standin.replicas[job["name"]]):
        assert replica.process is not None
        if rank and {str(pid) for pid in children_of(replica.process.pid)} & busy:
            return rank
    return None


def children_of(pid: int) -> set[int]:
    """Of a process's group: the command that the container runs, and what that started."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "-g", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return {int(word) for word in found}
