"""`python -m studperf.cloud`, as it is typed."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from kit.google_standin import GoogleStandin
from studperf.cloud.__main__ import main
from studperf.errors import ConfigError

Command = Callable[..., subprocess.CompletedProcess[str]]
PLACE = ("cloud.project=my-project", "cloud.bucket=gs://my-bucket/studperf")
IMAGE = "cloud.image=europe-west1-docker.pkg.dev/my-project/studperf/train:abc"


@pytest.mark.parametrize(("words", "code"), [([], 2), (["--help"], 0)], ids=["nothing", "help"])
def test_help_names_every_command(command: Command, words: list[str], code: int) -> None:
    done = command("cloud", *words)
    assert done.returncode == code
    for name in ("list", "status", "logs", "cancel", "fetch", "doctor"):
        assert f"python -m studperf.cloud {name}" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lst"], "the nearest valid name is 'list'"),
        (["list"], "export GOOGLE_CLOUD_PROJECT=my-project"),
        (["cancel", *PLACE], "name the job to cancel"),
        (["fetch", "a", "b", *PLACE], "name one job, got a b"),
        (["fetch", "a", "rnus=x", *PLACE], "the nearest valid name is 'runs'"),
        (["list", "cloud.regoin=x", *PLACE], "the nearest valid name is 'region'"),
        (["status", "nothing", *PLACE], "there is no such job"),
    ],
    ids=["command", "project", "cancel", "two jobs", "key", "cloud key", "job"],
)
def test_a_mistake_is_told_with_the_way_out(
    command: Command, standin: GoogleStandin, words: list[str], told: str
) -> None:
    done = command("cloud", *words)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["list", "foo"],
            "list takes no job, got foo; for one: python -m studperf.cloud status foo",
        ),
        (["doctor", "foo"], "doctor takes no job, got foo"),
        (["status", "runs=x"], "runs: unknown"),
        (["list", "follow=true"], "follow: unknown"),
        (["logs", "follow=yes"], "follow: must be true or false, got 'yes'"),
        (["cancel"], "name the job to cancel: python -m studperf.cloud cancel JOB"),
    ],
)
def test_a_word_that_a_command_does_not_take_is_refused_before_anything_is_asked(
    words: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["cloud", *words])
    with pytest.raises(ConfigError) as caught:
        main()
    assert told in str(caught.value)


@pytest.mark.slow
def test_the_doctor_finds_what_is_missing_and_says_what_mends_it(
    command: Command, standin: GoogleStandin
) -> None:
    words = (
        "doctor",
        *PLACE,
        IMAGE,
        "cloud.service_account=a@b",
        "cloud.secrets.WANDB_API_KEY=wandb-key",
    )
    standin.images, standin.disabled = set(), {"logging"}
    del standin.buckets["my-bucket"]
    done = command("cloud", *words)
    assert done.returncode == 1, done.stderr
    for remedy in (
        "gcloud services enable logging.googleapis.com --project=my-project",
        "gcloud storage buckets create gs://my-bucket",
        "docker push europe-west1-docker.pkg.dev/my-project/studperf/train:abc",
        "gcloud secrets create wandb-key",
    ):
        assert remedy in done.stdout
    assert done.stdout.count("MISSING") == 4
    standin.images, standin.disabled, standin.buckets, standin.secrets = (
        None,
        set(),
        {"my-bucket": {}},
        {"wandb-key": "planted-value"},
    )
    mended = command("cloud", *words)
    assert mended.returncode == 0, mended.stdout
    assert "planted-value" not in mended.stdout


def test_the_doctor_stops_where_nobody_is_logged_in(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STUDPERF_GOOGLE_ENDPOINT")
    done = command("cloud", "doctor", *PLACE)
    assert done.returncode == 1
    assert "gcloud auth application-default login" in done.stdout
    assert done.stdout.count("MISSING") == 1


@pytest.mark.slow
def test_nothing_is_submitted_for_a_bucket_image_or_secret_that_is_not_there(
    command: Command, standin: GoogleStandin
) -> None:
    words = (
        "model=mlp",
        "data=simulated",
        "cloud=vertex",
        PLACE[0],
        IMAGE,
        "cloud.service_account=a@b",
    )
    standin.images = set()
    for more, told in (
        ("cloud.bucket=gs://other", "gcloud storage buckets create gs://other"),
        (PLACE[1], "docker push"),
        (
            f"{PLACE[1]} cloud.image=python:3.11 cloud.secrets.WANDB_API_KEY=wandb-key",
            "gcloud secrets create wandb-key",
        ),
    ):
        done = command("train", *words, *more.split())
        assert done.returncode == 2
        assert told in done.stderr
    assert not standin.jobs


def test_a_list_without_jobs_says_so(command: Command, standin: GoogleStandin) -> None:
    assert (
        "There are no jobs of studperf in europe-west1" in command("cloud", "list", *PLACE).stdout
    )
