"""What a plain run imports, and what an answer without a run does not. `benchmarks/imports.py` tells who brought a package and its cost."""

import functools
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

OURS = {
    *("studperf", "torch", "lightning", "hydra", "omegaconf", "pydantic", "yaml"),
    *("pandas", "pyarrow", "numpy", "scipy", "sklearn", "threadpoolctl", "rich", "matplotlib"),
}
"""Packages that a run has a use for."""
BROUGHT = {
    "torch": {
        "sympy",
        "mpmath",
        "triton",
        "torchgen",
        "functorch",
        "cuda",
        "pydot",
        "psutil",
        "typing_extensions",
        "jinja2",
        "markupsafe",
    },
    "lightning": {"torchmetrics", "lightning_utilities", "fsspec", "tqdm", "packaging"},
    "matplotlib": {
        "PIL",
        "cycler",
        "kiwisolver",
        "contourpy",
        "pyparsing",
        "fontTools",
        "mpl_toolkits",
        "dateutil",
        "six",
    },
    "sklearn": {"joblib", "cloudpickle", "narwhals"},
    "numpy": {"charset_normalizer"},
    "hydra": {"antlr4", "colorama", "hydra_plugins"},
    "pydantic": {"pydantic_core", "annotated_types", "typing_inspection"},
    "rich": {"pygments", "markdown_it", "mdurl"},
    "Python's set-up": {"setuptools", "pkg_resources", "_distutils_hack", "attr"},
    "make test-all": {"coverage"},
}
"""Package -> what it imports by itself, where it is installed."""
CLOUDS = {
    *(
        "gcsfs",
        "google",
        "google_auth_oauthlib",
        "google_crc32c",
        "grpc",
        "grpc_status",
        "proto",
        "opentelemetry",
    ),
    *(
        "aiohttp",
        "aiosignal",
        "aiohappyeyeballs",
        "frozenlist",
        "multidict",
        "propcache",
        "yarl",
        "requests",
        "requests_oauthlib",
    ),
    *("oauthlib", "urllib3", "idna", "certifi", "cryptography", "_cffi_backend", "decorator"),
}
"""Clients of object storage, installed for DVC: 0.3 s for nothing."""
HEAVY = {
    "torch",
    "lightning",
    "torchmetrics",
    "pandas",
    "pyarrow",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "wandb",
    "optuna",
    "dvc",
}
RUN = """
import sys
from studperf.config.load import load_overrides
from studperf.train.run import run
words = ["model=mlp", "data=simulated", "data.source.simulate.rows=400", "trainer=smoke", "trainer.accelerator=cpu", "progress=false"]
run(load_overrides([*words, "runs=runs"]))
sys.stderr.write("MODULES " + " ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""
ANSWER = """
import sys
sys.argv = ["train.py", *{words!r}]
from studperf.cli.process import run_command
from studperf.train.session import main
try:
    run_command(main)
finally:
    sys.stderr.write("MODULES " + " ".join(sorted({{name.split(".")[0] for name in sys.modules}})))
"""


@functools.cache
def names_at_start() -> frozenset[str]:
    """What an installed package registers as Python starts: the name `google`, which many of them share."""
    script = "import sys; sys.stdout.write(' '.join({name.split('.')[0] for name in sys.modules}))"
    return frozenset(
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def packages_of(script: str, folder: Path, code: int = 0) -> set[str]:
    """The installed packages that a script has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    names = done.stderr.split("MODULES ")[1].splitlines()[0].split()
    return (set(names) - names_at_start()) & importlib.metadata.packages_distributions().keys()


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return packages_of(RUN, tmp_path_factory.mktemp("run"))


def test_a_plain_run_imports_what_is_listed_here_and_nothing_else(imported: set[str]) -> None:
    assert imported - OURS.union(*BROUGHT.values()) - CLOUDS == set()


def test_a_plain_run_uses_each_package_of_ours_that_is_listed(imported: set[str]) -> None:
    assert OURS - imported <= {
        "studperf"
    }  # an editable install's name may be unknown to importlib.metadata


def test_a_plain_run_imports_no_client_of_a_cloud(imported: set[str]) -> None:
    assert imported & CLOUDS == set()


@pytest.mark.parametrize(
    ("words", "code"),
    {
        "a refusal": (["trainer.max_epoch=5"], 2),
        "a refused value": (["model=mlp", "model.dropout=1.7"], 2),
        "a model that is not there": (["model=mpl"], 2),
        "help": (["--help"], 0),
        "the configuration": (["--cfg", "job"], 0),
    }.values(),
    ids=["key", "value", "group", "help", "cfg"],
)
def test_an_answer_without_a_run_imports_nothing_heavy(
    words: list[str], code: int, tmp_path: Path
) -> None:
    assert packages_of(ANSWER.format(words=words), tmp_path, code) & HEAVY == set()


@pytest.mark.parametrize(
    ("module", "words"),
    {
        "evaluate": ("studperf.evaluate", ["run=nowhere"]),
        "export": ("studperf.export.__main__", ["run=nowhere"]),
        "reproduce": ("studperf.reproduce", ["run=nowhere"]),
        "report": ("studperf.report.__main__", ["run=nowhere"]),
        "resume": ("studperf.train.session", ["resume=nowhere"]),
        "data check": ("studperf.data.__main__", ["check", "data.source.path=nowhere.csv"]),
    }.values(),
    ids=["evaluate", "export", "reproduce", "report", "resume", "data check"],
)
def test_what_is_not_there_is_refused_before_torch_is_imported(
    module: str, words: list[str], tmp_path: Path
) -> None:
    script = ANSWER.format(words=words).replace("studperf.train.session", module)
    refused = packages_of(script, tmp_path, 2)
    assert refused & {"torch", "lightning", "sklearn", "onnxruntime"} == set()


def test_reading_a_study_imports_no_torch(tmp_path: Path) -> None:
    rooms = "import sys, studperf.sweeps.__main__, studperf.sweeps.view.archive, studperf.sweeps.winner, studperf.report.pages.study\n"
    script = (
        rooms
        + 'sys.stderr.write("MODULES " + " ".join({name.split(".")[0] for name in sys.modules}))'
    )
    assert packages_of(script, tmp_path) & {"torch", "lightning", "sklearn"} == set()
