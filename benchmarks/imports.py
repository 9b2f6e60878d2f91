"""Which packages does a run import, and what do they cost?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass

from common import Options, Report, Rounds, Values, run_script

ALL = "all"
_N_SHOWN = 30
_LINE = re.compile(r"import time: +(\d+) \| +\d+ \|( *)([\w.]+)$")
_STDLIB = "the standard library"


@dataclass(frozen=True)
class Imported:
    """One module, as `-X importtime` reports it: after those that it imports itself."""

    name: str
    self_us: int
    depth: int

    @property
    def package(self) -> str:
        """The package that is installed."""
        top = self.name.split(".")[0]
        return _STDLIB if top in sys.stdlib_module_names or top.startswith("_") else top


def measure(options: Options) -> list[Report]:
    """Packages of one small run, by the time that their own modules take."""
    seen = [read_run() for _ in range(options.rounds)]
    first_by = importers(seen[0])
    order = [package for package, _ in Counter(own_ms(seen[0])).most_common(_N_SHOWN)]
    rounds: Rounds = {ALL: [totals(modules) for modules in seen]}
    for package in order:
        by = f" < {first_by[package]}" if package in first_by else ""
        rounds[f"{package}{by}"] = [package_values(modules, package) for modules in seen]
    return [
        Report(
            title=f"a run of mlp, two epochs of a simulated table; {len(own_ms(seen[0]))} packages, the {len(order)} dearest",
            rounds=rounds,
            columns=("own ms", "modules"),
            against=ALL,
            notes=(
                "A < B: B imported A first. Times under -X importtime are a little longer than without.",
            ),
        )
    ]


def read_run() -> list[Imported]:
    """What a run imports, in the order of completion."""
    words = [
        "model=mlp",
        "trainer=smoke",
        "data=simulated",
        "data.source.simulate.rows=400",
        "trainer.accelerator=cpu",
    ]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-X", "importtime", "-m", "studperf.train", *words]
        done = subprocess.run(  # noqa: S603 - our own
            command, cwd=folder, env=os.environ, capture_output=True, text=True, check=True
        )
    found = [_LINE.match(line) for line in done.stderr.splitlines()]
    return [Imported(m[3], int(m[1]), len(m[2])) for m in found if m is not None]


def importers(modules: list[Imported]) -> dict[str, str]:
    """Package -> the package that imported its first module. The report lists a module after what it imported, one step deeper."""
    found: dict[str, str] = {}
    parents: list[Imported] = []
    for module in reversed(modules):
        while parents and parents[-1].depth >= module.depth:
            parents.pop()
        if parents and parents[-1].package not in (module.package, _STDLIB):
            found[module.package] = parents[
                -1
            ].package  # read from the end: the earliest import is the last to be noted
        parents.append(module)
    return found


def own_ms(modules: list[Imported]) -> dict[str, float]:
    """Package -> milliseconds in its own modules."""
    times: dict[str, float] = {}
    for module in modules:
        times[module.package] = times.get(module.package, 0.0) + module.self_us / 1000
    return times


def package_values(modules: list[Imported], package: str) -> Values:
    """One package's row."""
    own = [module for module in modules if module.package == package]
    return {"own ms": sum(module.self_us for module in own) / 1000, "modules": float(len(own))}


def totals(modules: list[Imported]) -> Values:
    """The row of all packages."""
    return {
        "own ms": sum(module.self_us for module in modules) / 1000,
        "modules": float(len(modules)),
    }


if __name__ == "__main__":
    run_script(measure)
