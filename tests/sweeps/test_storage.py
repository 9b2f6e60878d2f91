"""A storage that can't be opened is refused in words, and soon.

Its locks and its liveness are held by test_worker.py and test_postgres.py, on studies.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from studperf.errors import ConfigError
from studperf.sweeps import storage
from studperf.sweeps.storage import Storage

LIMIT_S = 20


@pytest.fixture
def closed() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given up after 15 s is given up after 2."""
    monkeypatch.setattr(storage, "_GIVE_UP_S", 0.2)
    monkeypatch.setattr(storage, "_CONNECT_S", 2)  # the least that libpq takes


def address(port: object) -> str:
    return f"postgresql+psycopg://me:hush@127.0.0.1:{port}/db"


def refusal_of(url: str, folder: Path) -> str:
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.storage: ") as refusal:
        Storage(url, folder)
    assert "hush" not in str(refusal.value)
    assert refusal.value.__cause__ is None  # which holds the address, too
    return str(refusal.value)


def test_a_server_is_given_up_within_the_limit() -> None:
    last_try_s = storage._CONNECT_S
    assert storage._GIVE_UP_S + last_try_s < LIMIT_S


def test_a_server_that_is_not_there_is_refused(tmp_path: Path, hurried: None, closed: int) -> None:
    assert "can't be opened: connection failed" in refusal_of(address(closed), tmp_path)


def test_a_server_that_never_answers_is_refused(tmp_path: Path, hurried: None, silent: int) -> None:
    assert "can't be opened: connection timeout expired" in refusal_of(address(silent), tmp_path)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (address(99999), "invalid port number"),
        (address("port"), "invalid literal for int"),
        ("postgresql+psycopg://me:hush@[::1/db", "invalid literal for int"),
        ("postgresql+nope://me:hush@h/db", "Can't load plugin"),
        ("postgresql:/x", "Could not parse"),
    ],
    ids=["no such port", "no number", "half an address", "no such driver", "no address"],
)
def test_an_address_that_can_not_be_one_is_refused_at_once(
    url: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(_: float) -> None:
        pytest.fail("waited for a server that can't be there")

    monkeypatch.setattr("studperf.sweeps.retry.time.sleep", wait)
    assert reason in refusal_of(url, tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"not a database" * 100)
    said = refusal_of(f"sqlite:///{tmp_path / 'study.db'}", tmp_path)
    assert said.endswith("can't be opened: file is not a database")


def test_a_folder_in_the_place_of_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.db").mkdir()
    said = refusal_of(f"sqlite:///{tmp_path / 'study.db'}", tmp_path)
    assert said.endswith("can't be opened: unable to open database file")


def test_a_database_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    said = refusal_of(f"sqlite:///{tmp_path / 'nowhere' / 'study.db'}", tmp_path)
    assert f"there is no folder {tmp_path / 'nowhere'}; make it, or name another" in said


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_database_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    said = refusal_of("sqlite:////proc/study.db", tmp_path)
    assert "nothing can be written in /proc: " in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("port", "command"),
    [
        ("closed", ("train", "-m", "hydra/sweeper=optuna", "optimizer.lr=interval(1e-4,1e-2)")),
        ("silent", ("sweeps", "list")),
    ],
    ids=["train", "list"],
)
def test_a_command_says_so_in_time(
    port: str, command: tuple[str, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = address(request.getfixturevalue(port))
    room, *words = command
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", f"studperf.{room}", *words],
        env={**os.environ, "STUDPERF_STORAGE": url},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    took = time.monotonic() - started
    assert done.returncode == 2, done.stderr
    assert "can't be opened" in done.stderr
    assert "waiting for the database at 127.0.0.1" in done.stderr
    assert "hush" not in done.stderr
    assert took < LIMIT_S + 10  # the imports of a busy machine
