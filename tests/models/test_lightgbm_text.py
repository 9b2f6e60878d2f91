"""LightGBM's text, read without it: broken ones are refused, as LightGBM itself ends the process on some."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from lightgbm import Booster, Dataset

from studperf.models.lightgbm_text import read_forest, without_settings
from studperf.models.trees import TreesError

N_COLUMNS = 3


@pytest.fixture(scope="module")
def text() -> str:
    """Two trees over two numbers and a category of 40 levels, each of which asks all of them."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(500, N_COLUMNS))
    x[:, 2] = generator.integers(0, 40, 500)
    y = x[:, 0] + 3 * (x[:, 2] % 3) + np.sin(3 * x[:, 1])
    settings = {"objective": "regression", "verbosity": -1, "num_threads": 1, "cat_smooth": 1}
    rows = Dataset(x, y, categorical_feature=[2], params={**settings, "min_data_per_group": 5})
    booster = Booster({**settings, "min_data_per_group": 5}, rows)
    booster.update()
    booster.update()
    written: str = booster.model_to_string()
    return written


def test_the_settings_of_the_fit_are_left_out_and_not_missed(text: str) -> None:
    short = without_settings(text)
    assert "num_threads" not in short
    x = np.random.default_rng(1).normal(size=(50, N_COLUMNS))
    assert np.array_equal(Booster(model_str=short).predict(x), Booster(model_str=text).predict(x))


def test_every_number_is_read_as_lightgbm_has_it(text: str) -> None:
    forest = read_forest(text, n_features=N_COLUMNS)
    tables = Booster(model_str=text).trees_to_dataframe()
    nodes = tables[tables["split_feature"].notna()]
    assert len(forest.roots) == 2
    assert sorted(forest.value) == sorted(tables[tables["split_feature"].isna()]["value"])
    assert len(forest.feature) == len(nodes)
    sets = nodes[nodes["decision_type"] == "=="]["threshold"]
    expected = sorted(tuple(map(int, str(codes).split("||"))) for codes in sets)
    assert expected
    assert sorted(forest.members.values()) == expected


def first(pattern: str, change: Callable[[re.Match[str]], str]) -> Callable[[str], str]:
    """Changes the first place that the pattern finds, and the sizes of trees with it."""

    def edit(text: str) -> str:
        changed, n_found = re.subn(pattern, change, text, count=1, flags=re.MULTILINE)
        assert n_found == 1
        blocks = changed.partition("end of trees")[0].split("Tree=")[1:]
        sizes = " ".join(str(len("Tree=" + block)) for block in blocks)
        return re.sub(r"tree_sizes=.*", f"tree_sizes={sizes}", changed)

    return edit


BROKEN: dict[str, Callable[[str], str]] = {
    "cut": lambda text: text[: len(text) // 2],
    "a child beyond the nodes": first(r"^left_child=\S+", lambda _: "left_child=999999"),
    "a child that is its parent": first(r"^left_child=\S+", lambda _: "left_child=0"),
    "a leaf beyond the leaves": first(r"^right_child=(.*) \S+$", lambda m: f"right_child={m[1]} -9999"),
    "a column beyond the columns": first(r"^split_feature=\S+", lambda _: "split_feature=3"),
    "a column before the first": first(r"^split_feature=\S+", lambda _: "split_feature=-1"),
    "fewer leaves than said": first(r"^num_leaves=", lambda _: "num_leaves=1"),
    "sets that run over their end": first(r"^cat_boundaries=.*", lambda _: "cat_boundaries=0 999"),
    "a set that there is not": first(r"^num_cat=\d+", lambda _: "num_cat=0"),
    "a leaf without a number": first(r"^leaf_value=\S+", lambda _: "leaf_value=nan"),
    "half a child": first(r"^left_child=\S+", lambda _: "left_child=1.5"),
    "a field twice": first(r"^num_cat=", lambda _: "num_leaves=2\nnum_cat="),
    "linear leaves": first(r"^is_linear=0", lambda _: "is_linear=1"),
    "zeros that are missing": first(r"^decision_type=\S+", lambda _: "decision_type=6"),
    "several outputs": first(r"^num_tree_per_iteration=1", lambda _: "num_tree_per_iteration=2"),
    "a wrong size": lambda text: re.sub(r"tree_sizes=\d+", "tree_sizes=999999999", text),
    "a number beyond all bounds": first(r"^left_child=\S+", lambda _: "left_child=" + "9" * 30),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_text_is_refused(text: str, case: str) -> None:
    broken = BROKEN[case](text)
    assert broken != text
    with pytest.raises(TreesError):
        read_forest(broken, n_features=N_COLUMNS)


def test_trees_for_other_columns_are_refused(text: str) -> None:
    with pytest.raises(TreesError, match="another number of columns"):
        read_forest(text, n_features=N_COLUMNS + 1)
