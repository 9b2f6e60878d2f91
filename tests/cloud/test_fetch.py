"""What a job left comes home, and nothing that is here already is lost by it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from kit.google_standin import GoogleStandin
from studperf.cloud.fetch import FETCHED, fetch
from studperf.cloud.google.bucket import Folder
from studperf.cloud.google.session import Google
from studperf.cloud.google.vertex import Job
from studperf.errors import CloudError

STUDY = {
    "sweeps/mlp/journal.log": b"two trials",
    "sweeps/mlp/0000/record.json": b"{}",
    "monday_mlp_seed0/record.json": b"{}",
}


def job_of(google: Google, name: str, files: dict[str, bytes]) -> Job:
    folder = Folder(google, f"gs://my-bucket/studperf/jobs/{name}").below("runs")
    for file, content in files.items():
        folder.write(file, content)
    place = {"baseOutputDirectory": {"outputUriPrefix": f"gs://my-bucket/studperf/jobs/{name}"}}
    return Job(
        {
            "name": "projects/p/locations/r/customJobs/1",
            "displayName": name,
            "state": "JOB_STATE_RUNNING",
            "jobSpec": place,
        }
    )


def bring(google: Google, job: Job, runs: Path) -> str:
    console = Console(file=io.StringIO(), width=500)
    fetch(google, job, runs, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def contents(runs: Path) -> dict[str, bytes]:
    files = {
        path.relative_to(runs).as_posix(): path.read_bytes()
        for path in sorted(runs.rglob("*"))
        if path.is_file()
    }
    files.pop(FETCHED, None)
    return files


def test_what_has_changed_comes_again(google: Google, tmp_path: Path) -> None:
    assert bring(google, job_of(google, "a", STUDY), tmp_path).startswith("3 of 3 files fetched")
    more = {"sweeps/mlp/journal.log": b"three trials", "sweeps/mlp/0001/record.json": b"{}"}
    assert bring(google, job_of(google, "a", more), tmp_path).startswith("2 of 4 files fetched")
    assert contents(tmp_path) == STUDY | more
    assert bring(google, job_of(google, "a", {}), tmp_path).startswith("0 of 4 files fetched")


@pytest.mark.parametrize("name", ["sweeps/mlp/journal.log", "monday_mlp_seed0/record.json"])
def test_a_run_or_study_of_the_same_name_is_left_as_it_is(
    name: str, google: Google, tmp_path: Path
) -> None:
    bring(google, job_of(google, "a", STUDY), tmp_path)
    other = job_of(google, "b", {name: b"another", "sweeps/mlp/0007/record.json": b"{}"})
    unit = str(Path(name).parent)
    with pytest.raises(
        CloudError, match=rf"{unit}: 1 file here would be lost.*fetch b runs={tmp_path}-b"
    ):
        bring(google, other, tmp_path)
    assert contents(tmp_path) == STUDY
    assert bring(google, other, tmp_path / "b").startswith("2 of 2")


def test_a_study_that_was_made_here_is_left_as_it_is(google: Google, tmp_path: Path) -> None:
    (tmp_path / "sweeps" / "mlp").mkdir(parents=True)
    (tmp_path / "sweeps" / "mlp" / "journal.log").write_bytes(b"my own")
    with pytest.raises(CloudError, match="would be lost"):
        bring(google, job_of(google, "a", STUDY), tmp_path)
    assert contents(tmp_path) == {"sweeps/mlp/journal.log": b"my own"}


def test_a_study_that_was_gone_on_with_here_stays(google: Google, tmp_path: Path) -> None:
    job = job_of(google, "a", STUDY)
    bring(google, job, tmp_path)
    (tmp_path / "sweeps" / "mlp" / "journal.log").write_bytes(b"two trials, and one of my own")
    assert bring(google, job, tmp_path).startswith("0 of 3")  # the job has nothing newer
    job_of(google, "a", {"sweeps/mlp/0001/record.json": b"{}"})
    with pytest.raises(CloudError, match="gone on with here"):
        bring(google, job, tmp_path)
    assert contents(tmp_path)["sweeps/mlp/journal.log"] == b"two trials, and one of my own"
    assert "sweeps/mlp/0001/record.json" not in contents(tmp_path)


def test_a_place_that_can_not_be_written_is_named(google: Google, tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(CloudError, match=r"README\.md.*can't be written: Not a directory"):
        bring(google, job_of(google, "a", STUDY), tmp_path / "README.md")


def test_a_file_that_breaks_off_is_asked_for_again(
    standin: GoogleStandin, google: Google, tmp_path: Path
) -> None:
    job = job_of(google, "a", {"x/record.json": b"whole"})
    standin.n_broken = 1
    bring(google, job, tmp_path)
    assert contents(tmp_path) == {"x/record.json": b"whole"}
