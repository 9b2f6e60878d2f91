"""Tries many command lines quickly: each in a fork of one process, up to the point where real work would begin.

    python tests/kit/door.py LINES.json ANSWERS.json

A line is a module's name and the words of its command line. Work begins where torch is imported, so nothing is ever trained.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

BEGAN = 99
"""The exit code of a command line that would have begun to work."""
LIMIT_S = 20


@dataclass(frozen=True)
class Answer:
    """What a command line was answered.

    Args:
        code: the exit code; `BEGAN` where it would have begun, -9 where it hung.
    """

    line: list[str]
    code: int
    text: str
    seconds: float

    @property
    def is_traceback(self) -> bool:
        """Whether the user would have seen Python's own words."""
        return "Traceback (most recent call last)" in self.text


class _Stop(MetaPathFinder, Loader):
    """Ends the process where a package is imported that only work needs; to look for its file is no import."""

    def find_spec(
        self,
        name: str,
        path: Any = None,
        target: Any = None,
    ) -> ModuleSpec | None:
        if name not in ("torch", "lightning"):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None:
            spec.loader = self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(BEGAN)


def _answer_in_fork(module: str, words: list[str], out: Path) -> None:
    """Runs one command line in this process, which then ends."""
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.meta_path.insert(0, _Stop())
    sys.argv = [module, *words]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - what Python would have shown
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _wait(pid: int, limit_s: float) -> int:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -9


def try_lines(lines: list[list[str]], *, limit_s: float = LIMIT_S) -> list[Answer]:
    """Answer each line, in the current folder."""
    answers = []
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        for module, *words in lines:
            begun = time.monotonic()
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                os.setpgrp()
                _answer_in_fork(module, words, out)
            code = _wait(pid, limit_s)
            text = out.read_text(encoding="utf-8", errors="replace") if out.exists() else ""
            seconds = round(time.monotonic() - begun, 2)
            answers.append(Answer([module, *words], code, text, seconds))
    return answers


def main() -> None:
    """Import once what every command line needs, and answer all of them."""

    import studperf.config
    import studperf.config.code.signature  # noqa: F401 - only to have it

    lines = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    target = Path(sys.argv[2]).resolve()
    answers = [asdict(answer) for answer in try_lines(lines)]
    target.write_text(json.dumps(answers, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
