"""The two ways to build and run an image: docker, and buildah where there is no engine (as root, without a daemon)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

STORE = Path(os.environ.get("STUDPERF_IMAGES", "/var/tmp/studperf-images"))  # noqa: S108 - gigabytes, to be kept from one call to the next
STAND_IN = "localhost/studperf-base"
_UNSEEN = (
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
)
"""What the official slim image leaves out."""
_CA = Path("etc/ssl/certs/ca-certificates.crt")


class Engine(Protocol):
    """Builds images and runs them."""

    name: str

    def build(self, dockerfile: Path, tag: str, context: Path, log: Path) -> None:
        """Builds an image.

        Raises:
            SystemExit: the build failed; its log is named.
        """

    def start(
        self,
        tag: str,
        words: Sequence[str],
        *,
        mounts: Mapping[Path, str],
        network: bool,
        log: Path,
    ) -> subprocess.Popen[bytes]:
        """Starts the image's entry point as the image's user, with a read-only root where the engine can."""

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """Asks it to end, as an orchestrator does; returns the exit code."""

    def user(self, tag: str) -> str:
        """The user that the image names."""

    @contextmanager
    def files(self, tag: str) -> Iterator[Path]:
        """The image's file system, unpacked."""


class Docker:
    """An engine that answers."""

    name = "docker"

    def build(self, dockerfile: Path, tag: str, context: Path, log: Path) -> None:
        """Builds an image on the pinned base."""
        _run(["docker", "build", "--file", dockerfile, "--tag", tag, context], log)

    def start(
        self,
        tag: str,
        words: Sequence[str],
        *,
        mounts: Mapping[Path, str],
        network: bool,
        log: Path,
    ) -> subprocess.Popen[bytes]:
        """Starts a container; with a network it shares this machine's, so that its port is reached."""
        volumes = [
            word for host, inside in mounts.items() for word in ("--volume", f"{host}:{inside}")
        ]
        options = [
            "--rm",
            "--read-only",
            "--tmpfs",
            "/tmp",  # noqa: S108 - inside
            "--network",
            "host" if network else "none",
        ]
        return _start(["docker", "run", *options, *volumes, tag, *words], log)

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """The client hands the signal on."""
        process.terminate()
        return process.wait(30)

    def user(self, tag: str) -> str:
        """The user that the image names."""
        return _answer(["docker", "image", "inspect", "--format", "{{.Config.User}}", tag]).strip()

    @contextmanager
    def files(self, tag: str) -> Iterator[Path]:
        """The image's file system, unpacked beside the other images."""
        container = _answer(["docker", "create", tag]).strip()
        folder = STORE / "unpacked"
        folder.mkdir(parents=True)
        try:
            _answer(
                [
                    "bash",
                    "-c",
                    f"docker export {shlex.quote(container)} | tar --extract --directory {shlex.quote(str(folder))}",
                ]
            )
            yield folder
        finally:
            _answer(["docker", "rm", container])
            shutil.rmtree(folder)


class Buildah:
    """No engine: images are built and entered by chroot, in a store of their own."""

    name = "buildah"

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise SystemExit(
                "there is no docker engine, and buildah needs root here: sudo make docker-check"
            )
        self._base = ["buildah", "--root", str(STORE / "root"), "--runroot", str(STORE / "run")]
        os.environ |= {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}

    def build(self, dockerfile: Path, tag: str, context: Path, log: Path) -> None:
        """Builds an image on a stand-in for the pinned base: Debian bookworm with its own Python 3.11."""
        if STAND_IN not in _answer([*self._base, "images", "--format", "{{.Name}}"]).split():
            self._make_base(log)
        options = [
            "--format",
            "docker",
            "--pull-never",
            "--network",
            "host",
            "--build-arg",
            f"BASE={STAND_IN}",
        ]
        _run([*self._base, "build", *options, "--file", dockerfile, "--tag", tag, context], log)

    def _make_base(self, log: Path) -> None:
        tree = STORE / "base-tree"
        if not (tree / "usr/bin/python3.11").exists():
            packages = "python3,python3-venv,ca-certificates"
            _run(
                [
                    "debootstrap",
                    "--variant=minbase",
                    f"--include={packages}",
                    "bookworm",
                    tree,
                    *_mirror(),
                ],
                log,
            )
        for folder in _UNSEEN:
            shutil.rmtree(tree / folder, ignore_errors=True)
        for link in ("python", "python3"):
            (tree / "usr/local/bin" / link).unlink(missing_ok=True)
            (tree / "usr/local/bin" / link).symlink_to("/usr/bin/python3.11")
        if (
            Path("/") / _CA
        ).is_file():  # where downloads go through a proxy with a certificate of its own, builds need it in the base
            shutil.copy(Path("/") / _CA, tree / _CA)
        container = _answer([*self._base, "from", "scratch"]).strip()
        _answer([*self._base, "copy", container, str(tree), "/"])
        _answer([*self._base, "config", "--env", f"SSL_CERT_FILE=/{_CA}", container])
        _answer([*self._base, "commit", "--rm", container, STAND_IN])

    def start(
        self,
        tag: str,
        words: Sequence[str],
        *,
        mounts: Mapping[Path, str],
        network: bool,
        log: Path,
    ) -> subprocess.Popen[bytes]:
        """Enters a container; one without a network gets an empty network namespace."""
        container = _answer([*self._base, "from", "--pull-never", tag]).strip()
        config = self._config(tag)
        volumes = [
            word for host, inside in mounts.items() for word in ("--volume", f"{host}:{inside}")
        ]
        alone = [] if network else ["unshare", "--net"]
        command = [
            *self._base,
            "run",
            *volumes,
            container,
            "--",
            *config["Entrypoint"],
            *(words or config.get("Cmd") or []),
        ]
        return _start([*alone, *command], log)

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """Signals what runs inside, as buildah hands no signal on; the innermost process of the tree is the server."""
        children = _descendants(process.pid)
        if children:
            os.kill(children[-1], 15)
        return process.wait(30)

    def user(self, tag: str) -> str:
        """The user that the image names."""
        return str(self._config(tag).get("User", ""))

    @contextmanager
    def files(self, tag: str) -> Iterator[Path]:
        """The image's file system, mounted."""
        container = _answer([*self._base, "from", "--pull-never", tag]).strip()
        try:
            yield Path(_answer([*self._base, "mount", container]).strip())
        finally:
            _answer([*self._base, "rm", container])

    def clean(self) -> None:
        """Removes working containers; images stay."""
        _answer([*self._base, "rm", "--all"])

    def _config(self, tag: str) -> dict[str, list[str]]:
        found = json.loads(_answer([*self._base, "inspect", "--type", "image", tag]))
        return dict(found["Docker"]["config"])


def find_engine() -> Engine:
    """Docker where it answers, else buildah.

    Raises:
        SystemExit: there is neither.
    """
    if (
        shutil.which("docker")
        and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    ):
        return Docker()
    if shutil.which("buildah") and shutil.which("debootstrap"):
        return Buildah()
    raise SystemExit(
        "no docker engine answers; start one, or install what builds without: apt-get install buildah debootstrap"
    )


def _mirror() -> list[str]:
    """This machine's own Debian mirror, if it has one."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    lines = sources.read_text(encoding="utf-8").splitlines() if sources.is_file() else []
    return [line.split()[1] for line in lines if line.startswith("URIs:")][:1]


def _descendants(pid: int) -> list[int]:
    """Processes below this one, children of any of its threads, the innermost last."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text(encoding="utf-8").split():
            found += [int(child), *_descendants(int(child))]
    return found


def _run(command: Sequence[object], log: Path) -> None:
    with log.open("ab") as file:
        code = subprocess.run(
            [str(word) for word in command], stdout=file, stderr=file, check=False
        ).returncode
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise SystemExit(
            f"failed: {shlex.join(str(word) for word in command)}\n{tail}\nall of it: {log}"
        )


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def _answer(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise SystemExit(f"failed: {shlex.join(command)}")
    return done.stdout
