"""The environment of hydra-optuna-sweeper, which needs Optuna 2.10: studperf's locked packages otherwise, in `.bench/official`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / ".bench" / "official"
_PACKAGE = "hydra-optuna-sweeper==1.3.0"
# Its wheel pins no sqlalchemy, and Optuna 2.10 works with no 2.x; alembic 1.15 works with no 1.4.
_OVERRIDES = ("optuna==2.10.1", "sqlalchemy<2", "alembic<1.15")


def find_python(*, may_build: bool) -> tuple[Path | None, str]:
    """The environment's Python, made first where there is none; None, and why, where that can't be done."""
    python = FOLDER / "env" / "bin" / "python"
    done = FOLDER / ".done"
    if done.is_file() and done.read_text(encoding="utf-8") == _stamp():
        return python, ""
    if not may_build:
        return None, "its environment is not there, and --quick makes none"
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    try:
        _build(uv, python)
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        return None, f"its environment can't be made: {said[-1] if said else error}"
    done.write_text(_stamp(), encoding="utf-8")
    return python, ""


def environment() -> dict[str, str]:
    """Variables of a process there: studperf is found, and our own sweeper, whose place in `hydra_plugins` is beside theirs, is not."""
    return {"PYTHONPATH": str(FOLDER / "src")}


def _build(uv: str, python: Path) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    requirements, overrides = FOLDER / "requirements.txt", FOLDER / "overrides.txt"
    export = (
        "--frozen",
        "--no-hashes",
        "--no-annotate",
        "--no-emit-project",
        "--no-default-groups",
    )
    _call(
        uv, "export", "--quiet", "--project", str(ROOT), *export, "--output-file", str(requirements)
    )
    overrides.write_text("\n".join(_OVERRIDES) + "\n", encoding="utf-8")
    _call(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER / "env"))
    _call(
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python),
        "-r",
        str(requirements),
        "--override",
        str(overrides),
        _PACKAGE,
    )
    link = FOLDER / "src" / "studperf"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(ROOT / "src" / "studperf")


def _call(*command: str) -> None:
    subprocess.run(  # noqa: S603
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "UV_COMPILE_BYTECODE": "1"},
    )


def _stamp() -> str:
    """What the environment was made from."""
    locked = hashlib.sha256((ROOT / "uv.lock").read_bytes()).hexdigest()
    return f"{sys.version}\n{_PACKAGE} {' '.join(_OVERRIDES)}\nuv.lock {locked}\n"
