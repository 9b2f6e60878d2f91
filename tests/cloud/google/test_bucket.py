"""Objects arrive whole and as they were sent, or not at all."""

import gc
import hashlib
import os
from pathlib import Path

import pytest

from kit.google_standin import GoogleStandin, error
from studperf.cloud.google.bucket import Folder
from studperf.cloud.google.session import Google
from studperf.errors import CloudError


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_goes_and_comes_back_whole(google: Google, tmp_path: Path) -> None:
    folder = Folder(google, "gs://my-bucket")
    content = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(content)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    folder.upload(tmp_path / "a", "deep/a?b#c%d", md5)
    folder.download("deep/a?b#c%d", tmp_path / "new" / "b", md5)
    assert (tmp_path / "new" / "b").read_bytes() == content
    assert folder.is_there("deep/a?b#c%d")
    assert not folder.is_there("deep/a")


def test_a_damaged_object_is_named_and_not_kept(google: Google, tmp_path: Path) -> None:
    folder = Folder(google, "gs://my-bucket/data")
    folder.write("table", b"changed")
    with pytest.raises(CloudError, match=r"gs://my-bucket/data/table: is damaged"):
        folder.download("table", tmp_path / "table.csv", "0" * 32)
    assert names_in(tmp_path) == {"standin"}


@pytest.mark.parametrize("n_damaged", [1, 100])
def test_what_arrives_damaged_is_asked_for_again(
    standin: GoogleStandin, google: Google, tmp_path: Path, n_damaged: int
) -> None:
    folder = Folder(google, "gs://my-bucket")
    folder.write("a", b"content")
    standin.n_damaged = n_damaged
    if n_damaged == 1:
        folder.download("a", tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == b"content"
        return
    with pytest.raises(CloudError, match="gs://my-bucket/a: arrived damaged"):
        folder.download("a", tmp_path / "a")
    assert names_in(tmp_path) == {"standin"}


def test_what_breaks_off_is_gone_on_with(
    standin: GoogleStandin, google: Google, tmp_path: Path
) -> None:
    folder = Folder(google, "gs://my-bucket")
    content = bytes(range(256)) * 10
    folder.write("a", content)
    standin.n_broken = 1
    folder.download("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content
    n_asked = sum(path.startswith("/download/") for _, path, *_ in standin.seen)
    assert n_asked == 2


def test_what_was_damaged_before_it_broke_off_is_not_kept(
    standin: GoogleStandin, google: Google, tmp_path: Path
) -> None:
    """Google's client checks no download that it has gone on with."""
    folder = Folder(google, "gs://my-bucket")
    folder.write("a", b"content")

    def change(method: str, path: str) -> None:
        if path.startswith("/download/") and not standin.n_broken:
            standin.buckets["my-bucket"]["a"].content = b"another"

    standin.n_broken = 1
    standin.faults.append(change)
    with pytest.raises(CloudError, match=r"gs://my-bucket/a: (arrived|is) damaged"):
        folder.download("a", tmp_path / "a", md5_of(b"content"))
    assert names_in(tmp_path) == {"standin"}


def test_a_large_file_goes_in_pieces(
    standin: GoogleStandin, google: Google, tmp_path: Path
) -> None:
    content = os.urandom(20 << 20)
    (tmp_path / "a").write_bytes(content)
    Folder(google, "gs://my-bucket").upload(tmp_path / "a", "a", md5_of(content))
    assert standin.files() == {"a": content}
    assert [method for method, *_ in standin.seen] == ["POST", "PUT", "PUT", "PUT"]


@pytest.mark.parametrize("size", [7, 9 << 20], ids=["at once", "in pieces"])
def test_a_file_that_is_not_what_its_md5_says_is_not_stored(
    standin: GoogleStandin, google: Google, tmp_path: Path, size: int
) -> None:
    (tmp_path / "a").write_bytes(b"x" * size)
    with pytest.raises(CloudError, match=r"gs://my-bucket/a: .*Provided md5Hash"):
        Folder(google, "gs://my-bucket").upload(tmp_path / "a", "a", md5_of(b"before"))
    assert standin.files() == {}


@pytest.mark.filterwarnings(
    # Google's client leaves a download that it tries again to the garbage collector (3.17).
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(standin: GoogleStandin, google: Google, code: int) -> None:
    left = [error(code, "UNAVAILABLE", "try again")] * 2
    standin.faults.append(lambda *_: left.pop() if left else None)
    folder = Folder(google, "gs://my-bucket")
    folder.write("a", b"content")
    left += [error(code, "UNAVAILABLE", "try again")] * 2
    assert folder.read("a") == b"content"
    left += [error(code, "UNAVAILABLE", "try again")] * 2
    assert [blob.name for blob in folder.blobs()] == ["a"]
    gc.collect()


def test_another_emulator_of_the_environment_is_not_asked(
    standin: GoogleStandin, google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    Folder(google, "gs://my-bucket").write("a", b"content")
    assert standin.files() == {"a": b"content"}
