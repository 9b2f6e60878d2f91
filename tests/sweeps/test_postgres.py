"""Studies on a real PostgreSQL, started here: four workers, a kill, and a restart of the server in the middle."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.postgres_server import PostgresServer
from studperf.config.secrets import mask
from studperf.errors import ConfigError
from studperf.sweeps.liveness import WORKER
from studperf.sweeps.storage import Storage, hide
from studperf.sweeps.study import RETRY_OF, Plan, Study, is_done

SCRIPT = Path(__file__).parent / "worker_process.py"


@pytest.mark.slow
def test_four_workers_a_kill_and_a_restart_end_with_exactly_the_total(
    postgres: PostgresServer, make_plan: Callable[..., Plan]
) -> None:
    total = 40
    study = Study(make_plan(n_trials=total, storage=postgres.url, heartbeat_s=1, grace_s=6))
    more = [f"storage={postgres.url}", "heartbeat_s=1", "grace_s=6"]

    def start(seconds: float) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            str(SCRIPT),
            str(study.plan.folder),
            str(total),
            str(seconds),
            *more,
        ]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    workers = [start(600), start(0.5), start(0.5), start(0.5)]
    first = f"-{workers[0].pid}"
    wait_until(
        lambda: (
            study.n_done() >= 6
            and any(t.user_attrs.get(WORKER, "").endswith(first) for t in study.trials())
        )
    )
    os.kill(workers[0].pid, signal.SIGKILL)
    wait_until(lambda: study.n_done() >= 12)
    postgres.stop()
    time.sleep(2)
    postgres.start()
    errors = [worker.communicate(timeout=180)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0, 0, 0], errors
    trials = study.trials()
    study.storage.close()
    assert sum(map(is_done, trials)) == total
    assert {t.state.name for t in trials} <= {"COMPLETE", "FAIL"}
    back = {t.user_attrs[RETRY_OF]: t for t in trials if RETRY_OF in t.user_attrs}
    lost = {t.number: t for t in trials if t.state.name == "FAIL"}
    assert len(lost) >= 1
    assert back.keys() == lost.keys()
    # One that is lost again before it drew its parameters has them in its order all the same.
    assert all(
        lost[n].params.items() <= {**back[n].system_attrs["fixed_params"], **back[n].params}.items()
        for n in lost
    )
    assert all(postgres.password not in error for error in errors)
    assert not [
        path
        for path in study.plan.folder.rglob("*")
        if path.is_file() and postgres.password in path.read_text(errors="replace")
    ]


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


@pytest.mark.slow
def test_a_wrong_password_is_refused_at_once_and_not_shown(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "studperf.sweeps.retry.time.sleep",
        lambda _: pytest.fail("waited for a server that said no"),
    )
    with pytest.raises(ConfigError, match="can't be opened") as refusal:
        Storage(postgres.url.replace(postgres.password, "wrong-password"), tmp_path)
    assert "wrong-password" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "url", ["mysql://u:hush@h/d", "postgres://u:hush@h/d", "sqlite://", "study.db"]
)
def test_a_storage_that_workers_cannot_share_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a journal") as refusal:
        Storage(url, tmp_path)
    assert "hush" not in str(refusal.value)


def test_a_password_is_hidden_wherever_it_stands() -> None:
    url = "postgresql+psycopg://me:p@ss@host/db"
    assert "p@ss" not in mask(f"no {url} here")
    assert (
        hide("connection as me with s3cret failed", "postgresql://me:s3cret@host/db")
        == "connection as me with *** failed"
    )
