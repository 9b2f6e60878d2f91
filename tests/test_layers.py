"""The house of DESIGN.md: which room may import which, where each vendor is met, and what no room may hold.

Every rule is a function from source texts to violations, so that each can be shown a planted one.
"""

import ast
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
PACKAGE = "studperf"

ORDER = (
    "errors",
    "config",
    "schema",
    "scoring",
    "data",
    "models",
    "record",
    "train",
    "judge",
    "report",
    "bundle",
    "export",
    "tracking",
    "sweeps",
    "cloud",
    "serving",
)
"""A room imports itself and the rooms before it."""
ENTRIES = (
    "train.run",
    "train.runs",
    "train.session",
    "train.door",
    "train.__main__",
    "evaluate",
    "compare",
    "reproduce",
)
"""Modules that stand above all rooms: the chain of a run, and commands."""
ABOVE = {f"{PACKAGE}.data.__main__": ("report",)}
"""A room's command that hands on to a room above its own, so that a user has one place to ask about tables."""
CLI = "cli"
MAY_IMPORT = {
    "hydra_plugins": ("sweeps.request",),
    "__init__": ("cli.telemetry",),  # comes before all else
    CLI: (CLI, "errors", "config"),
    "__main__": (CLI, "errors", "config", "__version__"),  # names the commands
    "models": ("models", "data.encode", "config.types"),
    "bundle": (
        "bundle",
        "errors",
        "schema",
        "scoring",
    ),  # what serves a model carries nothing of what trained it
    "serving": ("serving", "bundle", "errors", "schema", "scoring.metrics"),
}
"""Rooms held tighter than the order holds them."""
VENDORS = {
    "wandb": "tracking",
    "wandb_workspaces": "tracking",
    "optuna": "sweeps",
    "google": "cloud.google",
    "dvc": "data.dvc",
    "dvc_objects": "data.dvc",
    "starlette": "serving",
    "uvicorn": "serving",
    "lightgbm": "models",
}
"""Outside service -> the one room that imports it."""
LIGHT = (
    "errors",
    "config",
    "schema",
    "scoring.metrics",
    "bundle",
    "train.finished",
    "serving",
    CLI,
    *(entry for entry in ENTRIES if entry not in ("train.run", "train.runs")),
)
"""Modules entered before a bad configuration is refused."""
HEAVY = {
    *(
        "torch",
        "lightning",
        "torchmetrics",
        "tabm",
        "rtdl_num_embeddings",
        "rtdl_revisiting_models",
    ),
    *("pandas", "pyarrow", "sklearn", "scipy", "matplotlib"),
    *(
        "lightgbm",
        "wandb",
        "wandb_workspaces",
        "optuna",
        "google",
        "onnx",
        "onnxruntime",
        "safetensors",
    ),
}
VIEWS = "report.views"
RENDERERS = {"rich", "matplotlib", "jinja2", "markupsafe"}
PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "skops", "shelve", "marshal"}
ATTICS = {"utils", "util", "helpers", "misc"}

Sources = dict[str, str]
"""Dotted module name -> its text. A package's `__init__` goes by the package's name and a trailing dot."""


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name, and where."""

    module: str
    line: int
    is_run_at_once: bool


def read_sources(folder: Path) -> Sources:
    sources = {}
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        sources[".".join(parts[:-1]) + "." if parts[-1] == "__init__" else ".".join(parts)] = (
            file.read_text(encoding="utf-8")
        )
    return sources


@functools.cache
def parsed(text: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(text)))


def imports_of(name: str, text: str) -> Iterator[Import]:
    """All imports of a module, those inside functions and under TYPE_CHECKING included."""
    package = name.removesuffix(".").split(".") if name.endswith(".") else name.split(".")[:-1]
    later = {id(inner) for node in parsed(text) if is_run_later(node) for inner in ast.walk(node)}
    for node in parsed(text):
        at_once = id(node) not in later
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                [*package[: len(package) - node.level + 1], *([node.module] if node.module else [])]
                if node.level
                else [node.module or ""]
            )
            yield from (
                Import(".".join([*base, alias.name]), node.lineno, at_once) for alias in node.names
            )
        elif isinstance(node, ast.Call) and (module := imported_by_call(node)):
            yield Import(module, node.lineno, at_once)


def imported_by_call(node: ast.Call) -> str:
    is_import = ast.unparse(node.func).endswith(("import_module", "__import__"))
    return (
        str(node.args[0].value)
        if is_import and node.args and isinstance(node.args[0], ast.Constant)
        else ""
    )


def is_run_later(node: ast.AST) -> bool:
    is_typing = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    return is_typing or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def room_of(module: str) -> str:
    """`data` for studperf.data.encode; empty for what is not ours, and for the package itself."""
    first, _, rest = module.removesuffix(".").partition(".")
    return rest.split(".")[0] if first == PACKAGE else ""


def is_below(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{PACKAGE}.{prefix}.") for prefix in prefixes)


def is_entry(name: str) -> bool:
    return name.removeprefix(f"{PACKAGE}.") in ENTRIES


def allowed(name: str) -> tuple[str, ...]:
    """What a module of ours may import of ours."""
    room = room_of(name)
    special = ""
    if name.startswith("hydra_plugins."):
        special = "hydra_plugins"
    elif name == f"{PACKAGE}.":
        special = "__init__"
    elif room in MAY_IMPORT:
        special = room
    if special:
        beside: tuple[str, ...] = ()
        if name.endswith(".__main__"):
            beside = (CLI, "config.console", "config.faults", "config.files")
        return (*MAY_IMPORT[special], *beside)
    if is_entry(name):
        return (CLI, *ORDER)
    if room not in ORDER:
        return ()
    below = ORDER[: ORDER.index(room) + 1]
    if name.endswith(".__main__"):
        return (*below, CLI, *ABOVE.get(name, ()))
    return below


def is_allowed(name: str, imported: str) -> bool:
    """Whether a module may import another one: an entry is imported by entries alone."""
    of_entry = any(is_below(imported, (entry,)) for entry in ENTRIES)
    if name == f"{PACKAGE}." and is_below(imported, ("train.door",)):
        return True
    if of_entry and not is_entry(name):
        return False
    return of_entry or is_below(imported, allowed(name))


def wrong_arrows(sources: Sources) -> list[str]:
    return [
        f"{name}:{found.line} imports {found.module}"
        for name, text in sources.items()
        for found in imports_of(name, text)
        if room_of(found.module) and not is_allowed(name, found.module)
    ]


def unplaced_rooms(sources: Sources) -> list[str]:
    known = {"", *MAY_IMPORT, *ENTRIES, *ORDER}
    return sorted({room_of(name) for name in sources if name.startswith(PACKAGE)} - known)


def vendors_outside_their_room(sources: Sources) -> list[str]:
    return [
        f"{name}:{found.line} imports {found.module}"
        for name, text in sources.items()
        for found in imports_of(name, text)
        if (vendor := found.module.split(".")[0]) in VENDORS
        and not is_below(name, (VENDORS[vendor],))
    ]


def is_light(name: str) -> bool:
    return is_below(name.removesuffix("."), LIGHT)


def heavy_at_module_top(sources: Sources) -> list[str]:
    return [
        f"{name}:{found.line} imports {found.module}"
        for name, text in sources.items()
        if is_light(name) or name.endswith(".__main__") or name.startswith("hydra_plugins.")
        for found in imports_of(name, text)
        if found.is_run_at_once and found.module.split(".")[0] in HEAVY
    ]


def renderings_in_views(sources: Sources) -> list[str]:
    """What is said is plain data: how it is shown is for terminal, pages and plots to know."""
    return [
        f"{name}:{found.line} imports {found.module}"
        for name, text in sources.items()
        if is_below(name.removesuffix("."), (VIEWS,))
        for found in imports_of(name, text)
        if found.module.split(".")[0] in RENDERERS
        or (is_below(found.module, ("report",)) and not is_below(found.module, (VIEWS,)))
    ]


def attics(sources: Sources) -> list[str]:
    return [name for name in sources if ATTICS & set(name.split("."))]


def prints(sources: Sources) -> list[str]:
    return calls_or_statements(
        sources, lambda node: isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    )


def asserts(sources: Sources) -> list[str]:
    return calls_or_statements(sources, lambda node: isinstance(node, ast.Assert))


def calls_or_statements(sources: Sources, is_wrong: Callable[[ast.AST], bool]) -> list[str]:
    return [
        f"{name}:{getattr(node, 'lineno', 0)}"
        for name, text in sources.items()
        for node in parsed(text)
        if is_wrong(node)
    ]


def pickles(sources: Sources) -> list[str]:
    imported = [
        f"{name}:{found.line} imports {found.module}"
        for name, text in sources.items()
        for found in imports_of(name, text)
        if found.module.split(".")[0] in PICKLES
    ]
    return imported + calls_or_statements(sources, unpickles)


def unpickles(node: ast.AST) -> bool:
    """A call that reads or writes a pickle without importing the module of that name."""
    if not isinstance(node, ast.Call):
        return False
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    called = ast.unparse(node.func)
    if called == "torch.load" or called.endswith("load_from_checkpoint"):
        return given.get("weights_only") != "True"
    return (
        called.rsplit(".", 1)[-1] in {"read_pickle", "to_pickle"}
        or given.get("allow_pickle") == "True"
    )


SOURCES = read_sources(SRC)


def test_the_rooms_are_read() -> None:
    assert {f"{PACKAGE}.errors", f"{PACKAGE}.config.", f"{PACKAGE}.data.encode"} <= SOURCES.keys()


def test_every_room_has_its_place_in_the_order() -> None:
    assert unplaced_rooms(SOURCES) == []


def test_arrows_run_one_way() -> None:
    assert wrong_arrows(SOURCES) == []


def test_each_vendor_is_imported_in_its_one_room() -> None:
    assert vendors_outside_their_room(SOURCES) == []


def test_rooms_entered_before_a_refusal_import_nothing_heavy() -> None:
    assert heavy_at_module_top(SOURCES) == []


def test_views_know_no_rendering() -> None:
    assert renderings_in_views(SOURCES) == []


def test_there_is_no_attic() -> None:
    assert attics(SOURCES) == []


def test_nothing_is_printed_past_the_console() -> None:
    assert prints(SOURCES) == []


def test_input_is_never_checked_by_assert() -> None:
    assert asserts(SOURCES) == []


def test_nothing_is_pickled() -> None:
    assert pickles(SOURCES) == []


def test_light_rooms_stay_light_when_python_imports_them() -> None:
    names = [
        name.removesuffix(".")
        for name in SOURCES
        if is_light(name) and not name.endswith("__main__")
    ]
    # An installed package may register the name `google` before anything is imported: it is shared by many of them.
    script = f"import sys\nold = set(sys.modules)\nimport {', '.join(names)}\nsys.stdout.write(' '.join(sorted({HEAVY!r} & set(sys.modules) - old)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


PLANTED = {
    "an arrow against the order": (
        wrong_arrows,
        "studperf.errors",
        "from studperf.config.load import load",
    ),
    "an arrow inside a function": (
        wrong_arrows,
        "studperf.data.split",
        "def f():\n    import studperf.record.record",
    ),
    "an arrow for types only": (
        wrong_arrows,
        "studperf.scoring.metrics",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from studperf.record.record import RunRecord",
    ),
    "a relative arrow": (wrong_arrows, "studperf.data.split", "from ..record import RunRecord"),
    "a relative arrow to a room": (wrong_arrows, "studperf.config.", "from .. import fit"),
    "an arrow by the package's name": (
        wrong_arrows,
        "studperf.train.network.module",
        "from studperf.judge import judge",
    ),
    "an arrow by import_module": (
        wrong_arrows,
        "studperf.config.run",
        'import importlib\nimportlib.import_module("studperf.train.network.fit")',
    ),
    "an entry that imports another": (
        wrong_arrows,
        "studperf.train",
        "from studperf.compare import compare",
    ),
    "a room that imports an entry": (
        wrong_arrows,
        "studperf.report",
        "from studperf.train.run import run",
    ),
    "a room that imports the cli": (
        wrong_arrows,
        "studperf.train.network.fit",
        "from studperf.cli.process import make_console",
    ),
    "a cli that imports more": (
        wrong_arrows,
        "studperf.cli",
        "def f():\n    from studperf.record.record import RunRecord",
    ),
    "a model that reads the table": (
        wrong_arrows,
        "studperf.models.wide",
        "from studperf.data.schema import Table",
    ),
    "a bundle that knows tables": (
        wrong_arrows,
        "studperf.bundle.rows",
        "from studperf.data.schema import Table",
    ),
    "a server that knows runs": (
        wrong_arrows,
        "studperf.serving.api",
        "from studperf.record.record import RunRecord",
    ),
    "a server that needs pandas": (heavy_at_module_top, "studperf.serving.api", "import pandas"),
    "dvc outside of the data": (
        vendors_outside_their_room,
        "studperf.record.record",
        "def f():\n    from dvc.repo import Repo",
    ),
    "a bundle that needs pandas": (
        heavy_at_module_top,
        "studperf.bundle.predictor",
        "import pandas as pd",
    ),
    "a page that exports": (
        wrong_arrows,
        "studperf.report.pages.run",
        "from studperf.export.write import write_bundle",
    ),
    "a study that knows what runs a trial": (
        wrong_arrows,
        "studperf.sweeps.trial",
        "from studperf.train.run import run",
    ),
    "a model that reads the configuration": (
        wrong_arrows,
        "studperf.models.wide",
        "from studperf.config.load import load",
    ),
    "a sweeper that does more": (
        wrong_arrows,
        "hydra_plugins.studperf_sweeper.",
        "from studperf.sweeps.study import Study",
    ),
    "a room without a place": (unplaced_rooms, "studperf.attic.", ""),
    "a module without a place": (unplaced_rooms, "studperf.shelf", ""),
    "arrows out of a room without a place": (
        wrong_arrows,
        "studperf.attic.box",
        "import studperf.errors",
    ),
    "wandb in a model": (
        vendors_outside_their_room,
        "studperf.models.wide",
        "def f():\n    import wandb",
    ),
    "optuna in the training": (
        vendors_outside_their_room,
        "studperf.train.network.fit",
        "from optuna.trial import Trial",
    ),
    "google in the data": (
        vendors_outside_their_room,
        "studperf.data.source",
        "import google.auth",
    ),
    "torch in the configuration": (heavy_at_module_top, "studperf.config.run", "import torch"),
    "pandas in the metrics": (
        heavy_at_module_top,
        "studperf.scoring.metrics",
        "try:\n    from pandas import DataFrame\nexcept ImportError: ...",
    ),
    "lightning in an entry": (
        heavy_at_module_top,
        "studperf.train.session",
        "import lightning.pytorch as pl",
    ),
    "pandas in a command of a room": (
        heavy_at_module_top,
        "studperf.data.__main__",
        "import pandas as pd",
    ),
    "sklearn in a class body": (
        heavy_at_module_top,
        "studperf.errors",
        "class A:\n    import sklearn",
    ),
    "rich in a view": (renderings_in_views, "studperf.report.views.run", "import rich.table"),
    "a view that knows a page": (
        renderings_in_views,
        "studperf.report.views.runs",
        "def f():\n    from studperf.report.pages.template import fill",
    ),
    "a utils module": (attics, "studperf.utils", ""),
    "a utils package in a room": (attics, "studperf.data.utils.", ""),
    "a print": (prints, "studperf.train.network.fit", "def f():\n    print('done')"),
    "an assert": (asserts, "studperf.train.network.fit", "def f(x):\n    assert x"),
    "pickle": (pickles, "studperf.record.record", "def f():\n    import pickle"),
    "joblib": (pickles, "studperf.scoring.baselines.fit", "from joblib import dump"),
    "skops": (pickles, "studperf.scoring.baselines.fit", "import skops.io as sio"),
    "a checkpoint read whole": (
        pickles,
        "studperf.train.network.fit",
        "import torch\ntorch.load('best.ckpt')",
    ),
    "a checkpoint read on demand": (
        pickles,
        "studperf.train.network.fit",
        "import torch\ntorch.load('best.ckpt', weights_only=False)",
    ),
    "arrays of objects": (
        pickles,
        "studperf.record.record",
        "import numpy as np\nnp.load('a.npy', allow_pickle=True)",
    ),
    "a pickled table": (pickles, "studperf.record.record", "frame.to_pickle('a')"),
}


@pytest.mark.parametrize(("rule", "name", "text"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_violation_is_found(
    rule: Callable[[Sources], list[str]], name: str, text: str
) -> None:
    assert len(rule({name: text})) == 1


FINE = {
    "an arrow along the order": (
        wrong_arrows,
        "studperf.record.record",
        "from studperf.data.split import Split\nfrom studperf.errors import RunError",
    ),
    "an arrow within a room": (
        wrong_arrows,
        "studperf.data.split",
        "from .schema import Table\nfrom studperf.data import encode",
    ),
    "a model within its bounds": (
        wrong_arrows,
        "studperf.models.wide",
        "from studperf.models.flat import FlatInput\nfrom studperf.data.encode import FeatureSpec\nfrom studperf.config.types import Fraction",
    ),
    "an entry": (
        wrong_arrows,
        "studperf.train.session",
        "from studperf import report\nfrom studperf.cli import run_command",
    ),
    "a command of a room": (
        wrong_arrows,
        "studperf.data.__main__",
        "from studperf.cli.process import run_command",
    ),
    "the door of the sweeper": (
        wrong_arrows,
        "hydra_plugins.studperf_sweeper.",
        "def f():\n    from studperf.sweeps.request import run_sweep",
    ),
    "other packages": (wrong_arrows, "studperf.errors", "import studperfect.fit, torch"),
    "torch when it is needed": (
        heavy_at_module_top,
        "studperf.train",
        "def f():\n    import torch",
    ),
    "pandas for types only": (
        heavy_at_module_top,
        "studperf.scoring.metrics",
        "import typing\nif typing.TYPE_CHECKING:\n    import pandas",
    ),
    "torch in a heavy room": (heavy_at_module_top, "studperf.train.network.fit", "import torch"),
    "wandb in its room": (vendors_outside_their_room, "studperf.tracking.online", "import wandb"),
    "the console's print": (prints, "studperf.report", "console.print('done')"),
    "weights alone": (
        pickles,
        "studperf.train.network.fit",
        "import torch\ntorch.load('best.ckpt', weights_only=True)",
    ),
}


@pytest.mark.parametrize(("rule", "name", "text"), FINE.values(), ids=FINE.keys())
def test_what_the_rules_allow_is_not_reported(
    rule: Callable[[Sources], list[str]], name: str, text: str
) -> None:
    assert rule({name: text}) == []
