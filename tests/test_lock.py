"""`uv.lock` is committed without addresses, and no other file tells where packages come from."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "uv.lock"
FILTER = ROOT / ".ci" / "strip_lock.py"
HOSTS = tuple(
    ".".join(pieces)
    for pieces in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("pypi", "python", "org"),
        ("download", "pytorch", "org"),
        ("anaconda", "org"),
        ("npmjs", "org"),
    ]
)
"""Built from pieces, so that this file does not hold what it looks for."""


def strip(text: str) -> str:
    done = subprocess.run(
        [sys.executable, FILTER],
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )


def pins(text: str) -> list[tuple[str, str | None]]:
    return [(package["name"], package.get("version")) for package in tomllib.loads(text)["package"]]


def edges(text: str) -> list[list[Any]]:
    """What each package needs, without the registry that an edge may name."""
    keys = ("name", "version", "dependencies", "optional-dependencies", "dev-dependencies")
    return [
        [without_sources(package.get(key)) for key in keys]
        for package in tomllib.loads(text)["package"]
    ]


def without_sources(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: without_sources(value) for key, value in node.items() if key != "source"}
    return [without_sources(inner) for inner in node] if isinstance(node, list) else node


def named_in(listing: str, hosts: tuple[str, ...]) -> list[str]:
    """Lines that hold one of the host names."""
    return [line for line in listing.splitlines() if any(host in line for host in hosts)]


@pytest.fixture(scope="module")
def on_disk() -> str:
    return LOCK.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def committed(on_disk: str) -> str:
    """The lock as the filter hands it to git."""
    return strip(on_disk)


@pytest.fixture(scope="module")
def checkout() -> Path:
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    found = git("rev-parse", "--show-toplevel")
    if found.returncode or Path(found.stdout.strip()).resolve() != ROOT:
        pytest.skip("this is no git checkout")
    return ROOT


def test_the_committed_lock_holds_no_address(committed: str) -> None:
    assert "://" not in committed
    assert named_in(committed, HOSTS) == []


def test_the_committed_lock_keeps_every_name_and_version(on_disk: str, committed: str) -> None:
    assert pins(committed) == pins(on_disk)
    assert len(pins(committed)) > 50


def test_the_committed_lock_keeps_every_edge(on_disk: str, committed: str) -> None:
    assert edges(committed) == edges(on_disk)


def test_the_filter_leaves_a_committed_lock_as_it_is(committed: str) -> None:
    assert strip(committed) == committed


def test_the_filter_takes_out_what_a_registry_adds() -> None:
    address = "https" + "://registry.example/simple"
    text = f"""version = 1

[[package]]
name = "one"
version = "1.0"
source = {{ registry = "{address}" }}
dependencies = [
    {{ name = "two", version = "2.0", source = {{ registry = "{address}" }} }},
]
sdist = {{ url = "{address}/one.tar.gz", hash = "sha256:0" }}
wheels = [
    {{ url = "{address}/one.whl", hash = "sha256:1" }},
]

[package.metadata]
requires-dist = [{{ name = "two", index = "{address}" }}]

[[package]]
name = "two"
version = "2.0"
source = {{ registry = "{address}" }}
"""
    stripped = strip(text)
    assert "://" not in stripped
    assert pins(stripped) == [("one", "1.0"), ("two", "2.0")]
    assert tomllib.loads(stripped)["package"][0]["dependencies"][0]["version"] == "2.0"
    assert "metadata" not in tomllib.loads(stripped)["package"][0]


def test_git_is_told_to_filter_the_lock() -> None:
    attributes = (ROOT / ".gitattributes").read_text(encoding="utf-8").splitlines()
    assert "uv.lock filter=lock" in attributes


def test_the_makefile_installs_the_filter() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r'git config filter\.lock\.clean ".*\.ci/strip_lock\.py"', makefile)


def test_the_lock_in_git_holds_no_address(checkout: Path) -> None:
    shown = git("show", "HEAD:uv.lock")
    if shown.returncode:
        pytest.skip("uv.lock is not committed yet")
    assert git("check-attr", "filter", "uv.lock").stdout.strip().endswith(": lock")
    assert "://" not in shown.stdout


def test_no_tracked_file_names_a_registry(checkout: Path, on_disk: str) -> None:
    hosts = {
        *HOSTS,
        *(
            urlsplit(address).netloc
            for address in re.findall(r'registry = "(https?:[^"]+)"', on_disk)
        ),
    }
    patterns = [word for host in sorted(hosts - {""}) for word in ("-e", host)]
    here = git("grep", "--files-with-matches", "--fixed-strings", *patterns, "--", ":!uv.lock")
    staged = git("grep", "--cached", "--files-with-matches", "--fixed-strings", *patterns)
    assert here.returncode == staged.returncode == 1, (
        here.stderr + staged.stderr + here.stdout + staged.stdout
    )


@pytest.mark.parametrize("host", HOSTS)
def test_a_planted_host_is_found(host: str) -> None:
    assert named_in(f"fine\nindex-url = {host}\n", HOSTS) == [f"index-url = {host}"]
