"""A real PostgreSQL for tests, of a database of its own."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PASSWORD = "s3cret-of-the-study"  # noqa: S105 - of a server that lives as long as the test


@dataclass
class PostgresServer:
    binaries: Path
    folder: Path
    port: int

    password = PASSWORD

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def run(self, *words: str) -> None:
        # The server refuses to be root.
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*user, str(self.binaries / words[0]), *words[1:]],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/tmp",  # noqa: S108
        )

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        self.run(
            "pg_ctl",
            "-D",
            str(self.folder / "data"),
            "-w",
            "-l",
            str(self.folder / "log"),
            "-o",
            options,
            "start",
        )

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A real server of its own, started here."""
    if not BINARIES:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    folder = Path("/tmp") / f"studperf-postgres-{os.getpid()}"  # noqa: S108 - a socket's path must be short
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "password").write_text(PASSWORD)
    if os.geteuid() == 0:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = PostgresServer(BINARIES[-1], folder, port)
    password = f"--pwfile={folder / 'password'}"
    server.run(
        "initdb",
        "-D",
        str(folder / "data"),
        "-U",
        "postgres",
        "-A",
        "scram-sha-256",
        password,
        "--no-sync",
    )
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)
