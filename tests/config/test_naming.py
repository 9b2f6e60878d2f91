"""The configuration's choice names a model."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from studperf.config.load import compose, load, load_overrides
from studperf.config.naming import name_of_choice
from studperf.config.run import RunConfig
from studperf.errors import ConfigError
from studperf.judge.ranking import find_runs
from studperf.record.record import RunRecord
from studperf.report.pages.runs import render_runs
from studperf.report.summary import summary_tables
from studperf.report.views.runs import find_choices
from studperf.train.run import run

Config = Callable[..., RunConfig]
TWO_MODELS = """
from torch import Tensor, nn

from studperf.config.types import Number
from studperf.data.encode import FeatureSpec


class A(nn.Module):
    def __init__(self, features: FeatureSpec, *, start: Number) -> None:
        super().__init__()
        self.start = start
        self.line = nn.Linear(features.n_numbers, 1)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        return self.line(x_num).squeeze(-1) + self.start


class B(A):
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two models in one module, the second of them under two names, and one whose file has a dash in its name."""
    folder = tmp_path / "own"
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "twomodels.py").write_text(TWO_MODELS)
    chosen = {"aa": ("A", 0), "bb": ("B", 0), "far": ("B", 5), "a-b": ("A", 1)}
    for name, (of, start) in chosen.items():
        text = f"_target_: twomodels.{of}\nstart: {start}\n"
        (folder / "conf" / "model" / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["model=aa"], "aa"),
        (["model=bb"], "bb"),
        (["model=far"], "far"),
        (["model=a-b"], "a-b"),
        (["model=aa", "model._target_=twomodels.B"], "twomodels.B"),
        (["model=aa", "model_name=mine"], "mine"),
        (["model=tabm"], "tabm"),
        ([], "mlp"),
    ],
)
def test_the_choice_names_the_model(words: list[str], name: str) -> None:
    assert load_overrides(words).model_name == name
    assert load(compose(words)).model_name == name


def test_a_name_that_no_folder_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model_name: must be 1 to 64 letters.*got 'a/b'"):
        load_overrides(["model_name=a/b"])


def test_a_choice_in_a_folder_names_both() -> None:
    assert name_of_choice("tried out/aa", "twomodels.A", []) == "tried-out.aa"
    assert len(name_of_choice("a" * 200, "twomodels.A", [])) == 64


def test_a_choice_of_ours_by_its_class_keeps_its_stem() -> None:
    words = ["model._target_=studperf.models.mlp.MLP"]
    assert name_of_choice("deep", "studperf.models.mlp.MLP", words) == "mlp"


def test_a_run_recorded_without_a_name_is_called_by_its_module() -> None:
    plain = load_overrides(["model=resnet"]).model_dump(mode="json")
    assert load(plain, is_trusted=False).model_name == "resnet"
    del plain["model_name"]
    assert load(plain, is_trusted=False).model_name == "resnet"


@pytest.mark.usefixtures("own")
def test_two_models_of_one_module_are_two_models_everywhere(
    small_config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "runs"
    for words in (["model=aa"], ["model=aa", "seed=1"], ["model=bb"], ["model=far"]):
        run(small_config(*words), overrides=words)
    runs = [(path.parent, RunRecord.load(path.parent)) for path in folder.glob("*/record.json")]
    names = sorted(record.model for _, record in runs)
    assert names == ["aa", "aa", "bb", "far"]
    assert all(f"_{record.model}_seed" in path.name for path, record in runs)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(*summary_tables(runs))
    rows = [line.split()[1] for line in console.export_text().splitlines() if "│" in line]
    assert sorted(set(rows) & set(names)) == ["aa", "bb", "far"]
    page = render_runs(find_runs([folder]), folder)
    assert page.count('data-model="aa"') == 3  # its chip, and its two runs
    assert page.count('data-model="bb"') == 2
    choices = find_choices([record for _, record in runs])
    assert sorted(choices["model"]) == names
