import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from studperf.errors import BundleError, ConfigError
from studperf.serving import health
from studperf.serving.__main__ import main


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["serving", *map(str, words)])
    main()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say: python -m studperf.serving PATH"),
        (("a", "b"), "say: python -m studperf.serving PATH"),
        (("a", "port=0"), "a whole number from 1 to 65535, got '0'"),
        (("a", "port=http"), "got 'http'"),
    ],
)
def test_wrong_words_are_refused(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        call(monkeypatch, *words)


def test_a_folder_without_bundle_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(BundleError, match="holds no bundle"):
        call(monkeypatch, tmp_path)
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("host", ["[::1", "192.0.2.1"])
def test_an_address_that_can_not_be_served_at_is_refused(
    monkeypatch: pytest.MonkeyPatch, bundle_folder: Path, host: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ConfigError, match=r"host=.* port=8080: can't be served at"):
        call(monkeypatch, bundle_folder, f"host={host}")
    signal.signal(signal.SIGTERM, before)


def test_help_names_the_routes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, "--help")
    assert "POST /predict" in capsys.readouterr().out


def test_a_server_that_is_not_there_is_not_healthy() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert not health.is_healthy(probe.getsockname()[1])


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_served_bundle_answers_over_http_and_ends_when_asked(
    bundle_folder: Path, rows: list[dict[str, Any]]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "studperf.serving", str(bundle_folder.parent)]
    process = subprocess.Popen(
        command, env={**os.environ, "PORT": str(port)}, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 30
        while (
            not health.is_healthy(port) and time.monotonic() < deadline and process.poll() is None
        ):
            time.sleep(0.05)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request(
            "POST", "/predict", json.dumps({"rows": rows}), {"content-type": "application/json"}
        )
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("server") is None
        assert len(json.load(answer)["predictions"]) == len(rows)
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "POST /predict" not in log or "sleep_hours" not in log


def test_a_server_imports_nothing_of_what_trains(bundle_folder: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom studperf.bundle import Bundle\nfrom studperf.serving.api import create_app\n"
        "from studperf.serving.predictor import Predictor\nimport uvicorn\n"
        f"create_app(Predictor.of(Bundle.open(Path({str(bundle_folder)!r}))))\n"
        "print(' '.join(sorted({'torch', 'lightning', 'pandas', 'sklearn', 'hydra', 'omegaconf', 'wandb', 'optuna'} & set(sys.modules))))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        == "\n"
    )
