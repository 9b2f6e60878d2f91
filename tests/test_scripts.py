"""The scripts of .ci/ that guard commits and releases, and the hooks that call them."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from studperf.config.paths import project_root

ROOT = project_root()


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KEYS = {
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "a service account's key file": '"private_key' + f'_id": "{"0f" * 20}"',
    "a Google API key": "AI" + "za" + "x" * 35,
    "a Google OAuth token": "ya" + "29." + "a" * 30,
    "a GitHub token": "gh" + "p_" + "a" * 36,
    "a W&B key": "WANDB_API" + f'_KEY="{"0a" * 20}"',
    "a password in an address": "postgresql" + "://me:hunter22" + "@db.corp.net/x",
}
"""Built from pieces, so that this file does not hold what it looks for."""


@pytest.mark.parametrize(("kind", "text"), KEYS.items(), ids=KEYS.keys())
def test_a_planted_key_is_named_and_not_shown(kind: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text(f"fine\n{text}\n")
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/no_secrets.py", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{file}:2: looks like {kind}" in done.stderr
    assert text not in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
        "https://example.org/a@b",
        "wandb_api_key: ${oc.env:WANDB_API_KEY}",
        "0a" * 20,
    ],
)
def test_what_only_resembles_a_key_is_let_through(text: str) -> None:
    assert script("no_secrets").find_secrets(text) == []


def test_no_tracked_file_holds_a_key() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    done = subprocess.run(
        [sys.executable, ".ci/no_secrets.py", *listed.stdout.split("\n")[:-1]],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


CHANGELOG = "# Changelog\n\n## Unreleased\n\n### Added\n- b\n\n## 1.2.0 (2026-01-01)\n\n### Added\n- a\n\n## 1.1.0\n\n- z\n"


def test_a_release_tells_the_changelogs_words_on_it() -> None:
    assert script("release_notes").read_notes("v1.2.0", CHANGELOG, "1.2.0") == "### Added\n- a\n"


@pytest.mark.parametrize(
    ("tag", "version", "message"),
    [
        ("v1.3.0", "1.2.0", "they must be v1.2.0"),
        ("1.2.0", "1.2.0", "they must be v1.2.0"),
        ("v2.0.0", "2.0.0", "rename '## Unreleased'"),
    ],
)
def test_a_tag_that_fits_nothing_is_refused(tag: str, version: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        script("release_notes").read_notes(tag, CHANGELOG, version)


def test_this_version_could_be_released(tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    command = [
        sys.executable,
        ".ci/release_notes.py",
        f"v{version}",
        "--out",
        str(tmp_path / "notes.md"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "notes.md").read_text().strip()


def test_each_hook_is_our_own_and_its_program_is_there() -> None:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    for hook in repos[0]["hooks"]:
        assert hook["language"] in ("system", "fail")
        for word in hook["entry"].split():
            if word.startswith(".ci/"):
                assert (ROOT / word).is_file(), word
            if word.startswith(".venv/bin/"):
                assert Path(sys.executable).with_name(word.removeprefix(".venv/bin/")).exists(), (
                    word
                )


@pytest.mark.slow
def test_hooks_pass_on_what_is_committed() -> None:
    done = subprocess.run(
        ["git", "rev-parse", "--show-toplevel"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not (ROOT / ".venv").is_dir():
        pytest.skip("hooks run in a checkout with its own environment")
    command = [Path(sys.executable).with_name("pre-commit"), "run", "--all-files"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
