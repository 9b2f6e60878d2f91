"""What can be said of the images without building them; `make docker-check` builds and runs them."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from studperf.config.paths import project_root

ROOT = project_root()
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in DOCKERFILES}


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), *DOCKERFILES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_an_image_is_pinned_small_and_harmless(text: str) -> None:
    assert re.search(r"^ARG BASE=[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$", text, flags=re.MULTILINE)
    assert text.count("FROM ${BASE}") == text.count("FROM ") == 2
    last = text.rsplit("FROM ${BASE}", maxsplit=1)[-1]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, flags=re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["/', last, flags=re.MULTILINE)
    assert "compile" in text
    assert not re.search(r"(ARG|ENV) \w*(KEY|TOKEN|SECRET|PASSWORD)", text)


def test_images_stand_on_the_same_base() -> None:
    assert (
        len({re.search(r"^ARG BASE=(.*)$", text, flags=re.MULTILINE)[1] for text in TEXTS.values()})
        == 1
    )  # type: ignore[index]


def test_what_an_image_copies_is_let_into_its_build() -> None:
    allowed = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    for text in TEXTS.values():
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, flags=re.MULTILINE):
            for source in line.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source == name or source.startswith(f"{name}/") for name in allowed), (
                    source
                )
    assert not {"data", "runs", ".git", ".venv", ".dvc", ".env"} & set(allowed)


def test_the_server_checks_its_health() -> None:
    assert re.search(
        r"^HEALTHCHECK .*studperf\.serving\.health", TEXTS["serve"], flags=re.MULTILINE
    )


def test_the_serving_group_is_all_that_a_server_imports_and_has_no_torch() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    packages = {
        package["name"]: {d["name"] for d in package.get("dependencies", [])} for package in lock
    }
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "dependency-groups"
    ]
    wanted = {re.split(r"[<>=\[]", requirement)[0] for requirement in groups["serving"]}
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        found.add(name)
        wanted |= packages[name] - found
    assert not found & {
        "torch",
        "lightning",
        "pandas",
        "pyarrow",
        "scikit-learn",
        "scipy",
        "sympy",
        "onnx",
        "wandb",
        "dvc",
    }
    assert {"starlette", "uvicorn", "onnxruntime", "numpy", "pydantic"} <= found


def test_the_serving_image_holds_each_module_that_a_refusal_needs(tmp_path: Path) -> None:
    copied = re.findall(r"^COPY (src/.+) (/app/src/\S+)$", TEXTS["serve"], flags=re.MULTILINE)
    for sources, place in copied:
        inside = tmp_path / place.removeprefix("/app/src/")
        for source in sources.split():
            path = ROOT / source
            if path.is_dir():
                shutil.copytree(path, inside)
            else:
                inside.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, inside)

    for words in (["/no/such/bundle"], ["port=x"], ["--hlep"]):
        command = [sys.executable, "-m", "studperf.serving", *words]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ")


def test_the_training_image_has_all_that_a_command_reads() -> None:
    copied = TEXTS["train"].split("FROM ${BASE}")[-1]
    assert all(f"/app/{name} {name}" in copied for name in ("src", "conf", "sweeps"))
    assert "--chown=1001:1001 /app/own ./" in copied


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker/compose.yaml").read_text(encoding="utf-8")))


def test_compose_starts_workers_their_database_and_a_page(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services.keys() == {"db", "train", "dashboard"}
    assert (
        (
            ROOT
            / "docker"
            / services["train"]["build"]["context"]
            / services["train"]["build"]["dockerfile"]
        )
        .resolve()
        .is_file()
    )
    assert (
        services["train"]["depends_on"]
        == services["dashboard"]["depends_on"]
        == {"db": {"condition": "service_healthy"}}
    )
    words = yaml.safe_dump(compose)
    assert set(re.findall(r"\$\{(\w+)", words)) == {"POSTGRES_PASSWORD"}
    assert words.count("${POSTGRES_PASSWORD:?") == words.count("POSTGRES_PASSWORD}") + words.count(
        "${POSTGRES_PASSWORD:?"
    )
    assert all(
        port.startswith("127.0.0.1:")
        for service in services.values()
        for port in service.get("ports", [])
    )


def test_the_workers_of_compose_are_told_what_studperf_understands(compose: dict[str, Any]) -> None:
    from studperf.config.load import accept_overrides

    words = [word for word in compose["services"]["train"]["command"] if word != "-m"]
    accept_overrides([*words, "hydra.sweeper.dry_run=true"])


@pytest.fixture(scope="module")
def build() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker/cloudbuild.yaml").read_text(encoding="utf-8")))


def test_cloud_build_builds_both_images_and_tells_their_digests(build: dict[str, Any]) -> None:
    steps = {step["id"]: step for step in build["steps"]}
    for name in TEXTS:
        args = steps[name]["args"]
        assert f"--file=docker/{name}.Dockerfile" in args
        assert {
            "--push",
            f"--metadata-file=/workspace/{name}.json",
            f"--tag=${{_IMAGES}}/{name}:${{_COMMIT}}",
        } <= set(args)
        assert f"/workspace/{name}.json" in steps["digests"]["args"]
    for step in steps.values():
        assert set(step.get("waitFor", [])) <= steps.keys()


def test_cloud_build_names_only_what_it_declares(build: dict[str, Any]) -> None:
    used = set(re.findall(r"\$\{(\w+)\}", yaml.safe_dump(build)))
    assert used <= {*build["substitutions"], "PROJECT_ID"}
    assert (
        build["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    )  # an account of one's own has no bucket for logs


def test_old_images_are_forgotten_and_the_last_ones_kept() -> None:
    rules = json.loads((ROOT / "docker/registry-cleanup.json").read_text(encoding="utf-8"))
    assert {rule["action"]["type"] for rule in rules} == {"Keep", "Delete"}
    assert all(
        rule.keys() <= {"name", "action", "condition", "mostRecentVersions"} for rule in rules
    )
