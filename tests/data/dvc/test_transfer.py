import datetime as dt
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from studperf.config.paths import project_root
from studperf.data.__main__ import main
from studperf.data.dvc import remote as remotes
from studperf.data.dvc.remote import give_up_after, open_remote
from studperf.data.dvc.transfer import fetch, find_place, push
from studperf.errors import ConfigError, DataError

TEXT = "a,b\n1,2\n"
MD5 = hashlib.md5(TEXT.encode(), usedforsecurity=False).hexdigest()
OBJECT = Path("files") / "md5" / MD5[:2] / MD5[2:]


def configure(folder: Path, **remote: str) -> None:
    lines = "".join(f"    {key} = {value}\n" for key, value in remote.items())
    (folder / ".dvc" / "config").write_text(
        f"[core]\n    remote = store\n    no_scm = true\n['remote \"store\"']\n{lines}"
    )


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a table of eight bytes, whose remote is a folder."""
    monkeypatch.setattr(remotes, "_SILENCE_S", 3.0)
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(
        "CLOUDSDK_CONFIG", str(tmp_path / "nobody")
    )  # whoever runs this may be logged in
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    folder = tmp_path / "work"
    (folder / "data").mkdir(parents=True)
    (folder / ".dvc").mkdir()
    (folder / "data" / "t.csv").write_text(TEXT)
    (folder / "data.dvc").write_text(
        f"outs:\n- md5: {MD5}\n  size: {len(TEXT)}\n  hash: md5\n  path: data/t.csv\n"
    )
    configure(folder, url=str(tmp_path / "store"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def say() -> Callable[..., str]:
    """Calls fetch or push for the checkout one stands in, and gives what was printed."""

    def call(command: Callable[..., None], **options: bool | str) -> str:
        out = io.StringIO()
        command(find_place(None), Console(file=out, width=200), **options)
        return out.getvalue()

    return call


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_push_delete_fetch_brings_the_same_bytes(
    work: Path, tmp_path: Path, say: Callable[..., str]
) -> None:
    assert f"Pushed data/t.csv to {tmp_path / 'store'}" in say(push)
    assert (tmp_path / "store" / OBJECT).read_text() == TEXT
    (work / "data" / "t.csv").unlink()
    assert f"from {tmp_path / 'store'} (md5 {MD5}, as data.dvc says)" in say(fetch)
    assert (work / "data" / "t.csv").read_text() == TEXT
    (work / "data" / "t.csv").unlink()
    assert "from the cache" in say(fetch)
    assert "is there already, as data.dvc says" in say(fetch)
    assert "has it already" in say(push)


def test_a_damaged_object_is_named_and_nothing_is_left_here(
    work: Path, tmp_path: Path, say: Callable[..., str]
) -> None:
    say(push)
    (tmp_path / "store" / OBJECT).write_text("a,b\n1,3\n")
    (work / "data" / "t.csv").unlink()
    before = files_below(work)
    with pytest.raises(
        DataError,
        match=rf"{OBJECT.as_posix()}: is damaged: its md5 is \w+ \(8 bytes\).*should be {MD5}",
    ):
        say(fetch)
    assert files_below(work) == before
    (work / "data" / "t.csv").write_text(TEXT)
    assert "is damaged; it is replaced" in say(push)
    assert (tmp_path / "store" / OBJECT).read_text() == TEXT


def test_a_damaged_cache_is_passed_over(work: Path, say: Callable[..., str]) -> None:
    say(push)
    (work / "data" / "t.csv").unlink()
    kept = work / ".dvc" / "cache" / OBJECT
    kept.parent.mkdir(parents=True)
    kept.write_text("a,b\n1,3\n")
    say(fetch)
    assert (work / "data" / "t.csv").read_text() == kept.read_text() == TEXT


def test_a_file_that_was_changed_here_is_kept_until_force(
    work: Path, say: Callable[..., str]
) -> None:
    say(push)
    (work / "data" / "t.csv").write_text("mine")
    with pytest.raises(
        DataError, match=r"data/t.csv: has md5 \w+, data.dvc says .*\n.*dvc commit data.dvc"
    ):
        say(fetch)
    with pytest.raises(DataError, match=r"accept it first: dvc commit data\.dvc"):
        say(push)
    assert (work / "data" / "t.csv").read_text() == "mine"
    say(fetch, is_forced=True)
    assert (work / "data" / "t.csv").read_text() == TEXT


def test_what_was_never_pushed_is_said_to_be_missing(work: Path, say: Callable[..., str]) -> None:
    (work / "data" / "t.csv").unlink()
    with pytest.raises(
        DataError, match=r"there is no such object\. Either this version was never pushed"
    ):
        say(fetch)
    with pytest.raises(DataError, match="is not here, so it can't be pushed"):
        say(push)
    assert not (work / "data" / "t.csv").exists()


@pytest.mark.parametrize(
    ("config", "options", "message"),
    {
        "the template": (
            "[core]\nremote = s\n['remote \"s\"']\nurl = gs://your-bucket/x\n",
            {},
            "is still the one of the template",
        ),
        "no default": ("", {}, "names no default remote. Name one: dvc remote add -d"),
        "another name": (
            "['remote \"s\"']\nurl = /x\n",
            {"remote": "t"},
            "there is no remote 't' in .*; there is s",
        ),
        "no package": (
            "[core]\nremote = s\n['remote \"s\"']\nurl = hdfs://h/x\n",
            {},
            "needs a package that is not installed: .*dvc-hdfs",
        ),
        "not a config": ("[core\n", {}, "Invalid line"),
    }.values(),
    ids=["template", "default", "name", "package", "config"],
)
def test_a_remote_that_can_not_be_used_is_said(
    work: Path, say: Callable[..., str], config: str, options: dict[str, str], message: str
) -> None:
    (work / ".dvc" / "config").write_text(config)
    with pytest.raises(DataError, match=message):
        say(push, **options)


def test_the_projects_remote_is_a_template_to_be_changed() -> None:
    with pytest.raises(DataError, match="dvc remote modify storage url gs://BUCKET"):
        open_remote(project_root())


def test_without_dvc_folder_the_way_out_is_said(work: Path, say: Callable[..., str]) -> None:
    (work / ".dvc" / "config").unlink()
    (work / ".dvc").rmdir()
    with pytest.raises(DataError, match=r"there is no \.dvc/ beside or above it"):
        say(push)


def test_commands_take_their_own_words_only(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["studperf.data", *words])
        main()
        return capsys.readouterr().out

    assert "Pushed data/t.csv" in command("push")
    (work / "data" / "t.csv").unlink()
    assert "Fetched data/t.csv" in command("fetch", "dvc=data.dvc", "remote=store")
    with pytest.raises(ConfigError, match="fetch takes dvc=, remote=, force= and nothing else"):
        command("fetch", "data=students")


def pushed_by_nobody() -> tuple[float, subprocess.CompletedProcess[str]]:
    """Seconds and outcome of a push without credentials."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "studperf.data", "push"], capture_output=True, text=True, check=False
    )
    return time.monotonic() - started, done


NOBODY = "no Google Cloud credentials were found. Log in once with: gcloud auth application-default login"


def test_without_credentials_there_is_one_message(work: Path) -> None:
    configure(work, url="gs://some-bucket/x")
    _, done = pushed_by_nobody()
    assert done.returncode == 2
    assert (
        done.stderr
        == f"error: store: {NOBODY} (on Google Cloud: give the machine a service account)\n"
    )


def test_google_s_word_on_the_age_of_python_is_kept_back_and_no_other() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        remotes._set_google_options()
        from google.api_core._python_version_support import check_python_version

        assert (
            check_python_version("google.cloud.storage", dt.date(2100, 1, 1)).name
            == "PYTHON_VERSION_UNSUPPORTED"
        )
        warnings.warn("the future of something else", FutureWarning, stacklevel=1)
    assert [str(warning.message) for warning in heard] == ["the future of something else"]


@pytest.mark.slow
def test_a_metadata_server_that_is_silent_is_not_waited_for(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_GCE_CHECK")
    configure(work, url="gs://some-bucket/x")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        idle, _ = pushed_by_nobody()  # what the machine has to do besides waiting
        monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{silent.getsockname()[1]}")
        took, done = pushed_by_nobody()
    assert done.returncode == 2
    assert NOBODY in done.stderr
    assert took < 4.5 + 2 * idle


class Answer(BaseHTTPRequestHandler):
    """A bucket that refuses everything, with the status in the address."""

    def do_GET(self) -> None:
        code = int(self.path.split("/")[1])
        body = json.dumps({"error": {"code": code, "message": "no"}}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "this account may not do that; it needs storage.objects.get"),
        (401, "have run out or are not accepted. Log in again"),
    ],
)
def test_a_bucket_that_refuses_is_told_from_one_that_is_silent(
    work: Path, say: Callable[..., str], refusing: str, status: int, message: str
) -> None:
    configure(
        work, url="gs://bucket/x", endpointurl=f"{refusing}/{status}", allow_anonymous_login="true"
    )
    with pytest.raises(DataError, match=message):
        say(push)


def test_a_network_that_does_not_answer_is_said_in_time(
    work: Path, say: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remotes, "_SILENCE_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        configure(
            work,
            url="gs://bucket/x",
            endpointurl=f"http://127.0.0.1:{silent.getsockname()[1]}",
            allow_anonymous_login="true",
        )
        with pytest.raises(DataError, match="the network does not answer"):
            say(push)


def test_a_call_is_waited_for_as_long_as_bytes_move() -> None:
    watch = remotes._Watch()

    def slowly() -> str:
        for n in range(4):
            time.sleep(0.1)
            watch.note(n)
        return "done"

    assert give_up_after(0.3, slowly, watch) == "done"
    with pytest.raises(TimeoutError):
        give_up_after(0.1, lambda: time.sleep(0.5))


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_fetch_that_is_interrupted_leaves_nothing_half_written(
    work: Path, tmp_path: Path
) -> None:
    script = (
        "import sys, time\nfrom studperf.data.dvc import remote\n"
        "def slow(self, md5, to, moved):\n"
        "    to.parent.mkdir(parents=True)\n    with remote.written_whole(to) as part:\n"
        "        part.write_text('half')\n        sys.stdout.write('half\\n'); sys.stdout.flush()\n        time.sleep(60)\n"
        "remote.Store.fetch = slow\nfrom studperf.cli.process import run_command\nfrom studperf.data.__main__ import main\n"
        "sys.argv = ['data', 'fetch']\nrun_command(main)\n"
    )
    (work / "data" / "t.csv").unlink()
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (130, "error: interrupted\n")
    assert files_below(work) == {"data.dvc", ".dvc/config"}


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """A bucket `studperf` on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        Path(sys.executable).with_name("gcp-storage-emulator"),
        "-d",
        tmp_path / "bucket",
        "start",
        "--host",
        "127.0.0.1",
    ]
    with (tmp_path / "bucket.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--default-bucket", "studperf"], stdout=log, stderr=log
        )
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_bucket_gives_back_the_same_bytes_to_us_and_to_dvc(
    work: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # for dvc; we set it ourselves
    configure(work, url="gs://studperf/tables", endpointurl=bucket, allow_anonymous_login="true")
    large = os.urandom(20 << 20)  # more than goes in one request, or one chunk
    md5 = hashlib.md5(large, usedforsecurity=False).hexdigest()
    table, kept = (
        work / "data" / "t.csv",
        work / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:],
    )
    table.write_bytes(large)
    (work / "data.dvc").write_text(
        f"outs:\n- md5: {md5}\n  size: {len(large)}\n  hash: md5\n  path: data/t.csv\n"
    )
    assert "Pushed data/t.csv to gs://studperf/tables" in command("studperf.data", "push").stdout
    assert "has it already" in command("studperf.data", "push").stdout
    for words in (("studperf.data", "fetch"), ("dvc", "pull")):
        table.unlink()
        kept.unlink(missing_ok=True)
        done = command(*words)
        assert done.returncode == 0, done.stderr
        assert table.read_bytes() == large

    (stored,) = (tmp_path / "bucket").rglob(md5[2:])
    stored.write_bytes(large[:-1] + bytes([large[-1] ^ 1]))
    table.unlink()
    kept.unlink()
    refused = command("studperf.data", "fetch")
    assert refused.returncode == 2
    assert (
        f"error: gs://studperf/tables/files/md5/{md5[:2]}/{md5[2:]}: is damaged: its md5 is"
        in refused.stderr
    )
    assert not table.exists()
    assert not kept.exists()
