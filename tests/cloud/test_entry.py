"""What the container does beside the run: who it is among others, what it copies, and in which order."""

import time
from pathlib import Path

import pytest

from kit.google_standin import Blob, GoogleStandin, now
from studperf.cloud.container.entry import command_to_run, enter
from studperf.cloud.container.heartbeat import Presence
from studperf.cloud.container.machines import Replica
from studperf.cloud.container.mirror import Mirror
from studperf.cloud.google.bucket import Folder
from studperf.cloud.google.session import Google
from studperf.errors import CloudError


@pytest.fixture
def mirror(google: Google, tmp_path: Path) -> Mirror:
    (tmp_path / "runs").mkdir()
    return Mirror(tmp_path / "runs", Folder(google, "gs://my-bucket/job/runs"))


def test_what_changes_is_copied_once(mirror: Mirror, standin: GoogleStandin) -> None:
    (mirror.here / "a").mkdir()
    (mirror.here / "a" / "record.json").write_text("{}")
    (mirror.here / ".lock").write_text("")
    (mirror.here / "a" / ".record.json.tmp").write_text("half")
    (mirror.here / "link").symlink_to(mirror.here / "a")
    assert (mirror.sync(), mirror.sync()) == (1, 0)
    (mirror.here / "a" / "record.json").write_text("{ }")
    assert mirror.sync() == 1
    assert standin.files() == {"job/runs/a/record.json": b"{ }"}


def test_the_best_epoch_in_the_bucket_is_never_older_than_the_last(
    mirror: Mirror, standin: GoogleStandin
) -> None:
    """A run writes best.ckpt before last.ckpt; here it writes both again while the first of them is being sent."""
    best, last = mirror.here / "best.ckpt", mirror.here / "last.ckpt"
    best.write_bytes(b"1")
    last.write_bytes(b"1")
    taken = []

    def write_again(method: str, path: str) -> None:
        if method == "POST":
            taken.append(
                {
                    name.rpartition("/")[2]: blob.content
                    for name, blob in standin.buckets["my-bucket"].items()
                }
            )
            best.write_bytes(str(len(taken) + 1).encode())
            last.write_bytes(str(len(taken) + 1).encode())

    standin.faults.append(write_again)
    for _ in range(4):
        time.sleep(0.002)
        mirror.sync()
    assert len(taken) == 8
    assert all(copy.get("best.ckpt", b"0") >= copy.get("last.ckpt", b"0") for copy in taken)


def test_an_earlier_attempt_is_restored_and_not_sent_again(
    mirror: Mirror, standin: GoogleStandin
) -> None:
    standin.buckets["my-bucket"] = {
        "job/runs/x/record.json": Blob(b"{}", now()),
        "job/other": Blob(b"", now()),
    }
    assert mirror.restore() == 1
    assert (mirror.here / "x" / "record.json").read_bytes() == b"{}"
    assert mirror.sync() == 0


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a/../../../escaped"])
def test_a_name_in_the_bucket_can_not_lead_out_of_the_folder(
    mirror: Mirror, standin: GoogleStandin, name: str
) -> None:
    standin.buckets["my-bucket"] = {f"job/runs/{name}": Blob(b"{}", now())}
    with pytest.raises(CloudError, match="no name of a file below"):
        mirror.restore()


def test_a_run_goes_on_where_the_bucket_has_it(tmp_path: Path) -> None:
    typed = ["model=mlp"]
    command = command_to_run(tmp_path, typed)
    assert command is not None
    assert command[-1] == "model=mlp"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "record.json").write_text('{"status": "interrupted"}')
    command = command_to_run(tmp_path, typed)
    assert command is not None
    assert command[-1] == "resume=runs/a"
    assert command_to_run(tmp_path, ["-m", "sweeps=mlp"]) is not None
    (tmp_path / "a" / "record.json").write_text('{"status": "finished"}')
    assert command_to_run(tmp_path, typed) is None


def test_a_damaged_table_is_refused_before_the_run(standin: GoogleStandin) -> None:
    standin.buckets["my-bucket"]["data/abc"] = Blob(b"changed", now())
    table = [
        "--table=gs://my-bucket/data/abc",
        f"--table-md5={'0' * 32}",
        "--table-path=data/x.csv",
    ]
    with pytest.raises(CloudError, match="gs://my-bucket/data/abc: is damaged"):
        enter(["--folder=gs://my-bucket/job", *table, "--", "model=mean"])


def test_the_primary_waits_for_those_who_work_and_for_no_one_who_is_gone(
    google: Google, standin: GoogleStandin
) -> None:
    folder = Folder(google, "gs://my-bucket/job")
    others = [Presence(Replica(i, 3, "a:1"), folder, 0.05) for i in (1, 2)]
    for other in others:
        other.beat()
    others[0].end()  # and the other one is heard of no more
    started = time.monotonic()
    Presence(Replica(0, 3, "a:1"), folder, 0.05).wait_for_others()
    assert 1.5 < time.monotonic() - started < 10
    others[1].end()
    started = time.monotonic()
    Presence(Replica(0, 3, "a:1"), folder, 0.05).wait_for_others()
    assert time.monotonic() - started < 1
