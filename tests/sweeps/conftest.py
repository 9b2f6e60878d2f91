"""Plans over made-up keys, and tasks that take no time."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from studperf.sweeps.study import Plan

_SPEC = importlib.util.spec_from_file_location(
    "worker_process", Path(__file__).parent / "worker_process.py"
)
worker_process = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(worker_process)


@pytest.fixture
def make_plan(tmp_path: Path) -> Callable[..., Plan]:
    def make(**settings: object) -> Plan:
        return worker_process.read_plan(tmp_path / "toy", **settings)

    return make
