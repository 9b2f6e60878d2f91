"""Every YAML of `conf/` and `sweeps/` is a case here; a new file is tested by being there."""

import copy
import functools
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ValidationError

from studperf.config import paths
from studperf.config.load import compose, load, load_overrides
from studperf.config.paths import config_dir, find_file, project_root
from studperf.config.run import RunConfig
from studperf.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CONF, SWEEPS = ROOT / "conf", ROOT / "sweeps"
FILES = sorted(
    {*CONF.rglob("*.yaml"), *SWEEPS.rglob("*.yaml")} - {*(CONF / "sweeps").rglob("*.yaml")}
)  # that one is a link
FILES = [
    file for file in FILES if not file.is_relative_to(CONF / "hydra")
]  # the sweeper's, see tests/sweeps/test_request.py
COLUMNS, LAW = ("data", "columns"), ("data", "source", "simulate", "law")

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))


def choice(file: Path) -> list[str]:
    """The override that picks a file: `model=tabm` for conf/model/tabm.yaml, none for the root."""
    group = file.parent.relative_to(CONF if file.is_relative_to(CONF) else ROOT).as_posix()
    if group == ".":
        return []
    # That trainer reads a key which only models that are grown have.
    others = ["model=lightgbm"] if (group, file.stem) == ("trainer", "trees") else []
    return [*others, f"{group}={file.stem}"]


@functools.cache
def composed(file: Path) -> DictConfig:
    return compose(choice(file))


@functools.cache
def resolved(file: Path) -> dict[str, Any]:
    return OmegaConf.to_container(composed(file), resolve=True)  # type: ignore[return-value]


def plain_of(file: Path = CONF / "train.yaml") -> dict[str, Any]:
    return copy.deepcopy(resolved(file))


def keys_of(file: Path) -> list[tuple[str, ...]]:
    """Each key of a file as it stands in the composed configuration.

    Left out are `defaults` and `hydra`, which Hydra checks itself, and the names of columns, which are the user's to choose.
    """
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    ours = {key: value for key, value in content.items() if key not in {"defaults", "hydra"}}
    return [path for path in walk_keys(ours, prefix_of(file)) if path[:-1] != COLUMNS]


def prefix_of(file: Path) -> tuple[str, ...]:
    """Where a file's keys lie in the composed configuration: below its group's name, or at the root."""
    is_global = not choice(file) or "@package _global_" in file.read_text(encoding="utf-8")
    return () if is_global else (file.parent.name,)


def walk_keys(node: dict[str, Any], prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, value in node.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from walk_keys(value, (*prefix, key))


def misspelt(key: str) -> str:
    """`lr` -> `lrr`, `_target_` -> `_taget_`: the slips that fingers make."""
    middle = len(key) // 2 if key != "_target_" else 3
    return key + key[-1] if len(key) < 4 else key[:middle] + key[middle + 1 :]


def refusal(overrides: list[str]) -> list[str]:
    """The lines of the message that refuses an override line."""
    with pytest.raises(ConfigError) as caught:
        load_overrides(overrides)
    return str(caught.value).splitlines()


def names_both(lines: list[str], typo: str, key: str) -> bool:
    """Whether a line names the misspelt key and, in quotes, the key that was meant."""
    return any(
        re.search(rf"(?<!\w){re.escape(typo)}(?!\w)", line) and repr(key) in line for line in lines
    )


def walk_values(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, BaseModel):
        for _, inner in value:
            yield from walk_values(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from walk_values(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from walk_values(inner)


def test_the_yaml_files_are_found() -> None:
    assert {"train", "mlp", "students"} <= {file.stem for file in FILES}
    assert any(file.is_relative_to(SWEEPS) for file in FILES)


@every_file
def test_every_yaml_composes_and_loads(file: Path) -> None:
    assert isinstance(load(composed(file)), RunConfig)


@every_file
def test_every_value_that_a_yaml_says_holds(file: Path) -> None:
    said = OmegaConf.load(file)
    for path in keys_of(file):
        key = ".".join(path[len(prefix_of(file)) :])
        if OmegaConf.is_interpolation(said, key):  # it says where a value is to be found
            continue
        value = OmegaConf.select(said, key)
        if path == ("model_name",):  # `auto` is the choice's name by now
            continue
        if not OmegaConf.is_config(value):
            assert functools.reduce(lambda node, key: node[key], path, plain_of(file)) == value, (
                ".".join(path)
            )


@every_file
def test_every_yaml_loads_again_from_what_a_run_records(file: Path) -> None:
    loaded = load(plain_of(file))
    assert load(loaded.model_dump(mode="json"), is_trusted=False) == loaded


@every_file
def test_nothing_but_plain_values_passes_load(file: Path) -> None:
    for value in walk_values(load(composed(file))):
        assert isinstance(value, BaseModel) or type(value) in {
            dict,
            list,
            tuple,
            str,
            int,
            float,
            bool,
            type(None),
        }


@every_file
def test_no_block_of_a_loaded_configuration_can_be_changed(file: Path) -> None:
    blocks = [value for value in walk_values(load(plain_of(file))) if isinstance(value, BaseModel)]
    assert len(blocks) > 10
    for block in blocks:
        for name in type(block).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(block, name, None)


def test_lists_of_the_blocks_become_tuples() -> None:
    loaded = load(composed(CONF / "train.yaml"))
    assert loaded.data.target.range == (0.0, 100.0)
    assert isinstance(loaded.data.columns["gender"].levels, tuple)


def test_a_loaded_configuration_keeps_no_hold_on_what_it_was_loaded_from() -> None:
    plain = plain_of()
    loaded = load(plain)
    before = copy.deepcopy(loaded)
    plain["model"]["d_hidden"].append(0)
    plain["trainer"]["max_epochs"] = 0
    assert loaded == before


@pytest.mark.parametrize(
    ("file", "path"),
    [
        pytest.param(file, path, id=f"{file.relative_to(ROOT)}-{'.'.join(path)}")
        for file in FILES
        for path in keys_of(file)
    ],
)
def test_a_misspelt_key_of_a_yaml_is_refused_with_the_nearest_name(
    file: Path, path: tuple[str, ...]
) -> None:
    plain = plain_of(file)
    node = functools.reduce(lambda inner, key: inner[key], path[:-1], plain)
    typo = misspelt(path[-1])
    node[typo] = node.pop(path[-1])
    with pytest.raises(ConfigError) as caught:
        load(plain)
    assert names_both(str(caught.value).splitlines(), typo, path[-1])


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if keys_of(file)],
    ids=lambda file: f"{file.relative_to(ROOT)}" if isinstance(file, Path) else None,
)
def test_misspelt_keys_added_on_the_command_line_are_all_listed_at_once(file: Path) -> None:
    paths = [
        path for path in keys_of(file) if path[: len(LAW)] != LAW or path == LAW
    ]  # the law's keys name columns
    typos = {path: ".".join([*path[:-1], misspelt(path[-1])]) for path in paths}
    lines = refusal([*choice(file), *(f"+{typo}=1" for typo in typos.values())])
    assert [
        typo
        for path, typo in typos.items()
        if not names_both(lines, typo.rsplit(".", 1)[-1], path[-1])
    ] == []
    assert f"({len(set(typos.values()))} faults)" in lines[0] or len(typos) == 1


VALUES = {  # what a YAML may say wrongly: key, value, the message
    "a misspelt key of lightning's": (
        "trainer.max_epoch",
        5,
        "trainer.max_epoch: unknown; the nearest valid name is 'max_epochs'",
    ),
    "a misspelt key of ours": (
        "optimizer.lrr",
        1,
        "optimizer.lrr: unknown; the nearest valid name is 'lr'",
    ),
    "a misspelt key of a column": (
        "data.columns.age.rnge",
        [0, 1],
        "data.columns.age.rnge: unknown; the nearest valid name is 'range'",
    ),
    "a key far from any": (
        "model.colour",
        "red",
        "model.colour: unknown; valid: activation, d_hidden, dropout, linear_skip",
    ),
    "text for a number": (
        "optimizer.lr",
        "fast",
        "optimizer.lr: must be a valid number, got 'fast'",
    ),
    "text among numbers": (
        "model.d_hidden",
        [64, "x"],
        "model.d_hidden: must be a valid integer, got 'x'",
    ),
    "text for widths": (
        "model.d_hidden",
        "ü",
        "model.d_hidden: must be a whole number, or a list of them such as [64,32], got 'ü'",
    ),
    "a true for a width": (
        "model.d_hidden",
        True,
        "model.d_hidden: must be a whole number, or a list of them such as [64,32], got True",
    ),
    "text for a list": (
        "tracking.wandb.tags",
        "x",
        "tracking.wandb.tags: must be a list, such as [a,b], got 'x'",
    ),
    "an empty tag": (
        "tracking.wandb.tags",
        [""],
        "tracking.wandb.tags.0: must be at least 1 character long, got ''",
    ),
    "a project with a slash": (
        "tracking.wandb.project",
        "a/b",
        "project: must be 1 to 128 characters, none of them / \\ # ? % :, got 'a/b'",
    ),
    "no folder for runs": ("runs", "", "runs: must be at least 1 character long, got ''"),
    "half a row": ("batch_size", 32.5, "batch_size: must be a valid integer, got 32.5"),
    "half an epoch": ("trainer.max_epochs", 1.5, "trainer.max_epochs: must be a valid integer"),
    "no rows": ("batch_size", 0, "batch_size: must be greater than 0, got 0"),
    "no epochs": ("trainer.max_epochs", 0, "trainer.max_epochs: must be at least 1, got 0"),
    "no batches": (
        "trainer.limit_train_batches",
        0,
        "trainer.limit_train_batches: must be greater than 0, got 0",
    ),
    "no batches of val": (
        "trainer.limit_val_batches",
        0.0,
        "trainer.limit_val_batches: must be greater than 0, got 0",
    ),
    "steps of no batch": (
        "trainer.accumulate_grad_batches",
        0,
        "trainer.accumulate_grad_batches: must be greater than 0, got 0",
    ),
    "half precision": (
        "trainer.precision",
        "bf16-true",
        "trainer.precision: bf16-true rounds the target itself, to two or three digits",
    ),
    "no epochs, as text": ("trainer.max_epochs", "0", "trainer.max_epochs: "),
    "a layer without units": (
        "model.d_hidden",
        [64, 0],
        "model.d_hidden: must be greater than 0, got 0",
    ),
    "a dropout above one": ("model.dropout", 1.7, "model.dropout: must be less than 1, got 1.7"),
    "a rate that is no number": (
        "optimizer.lr",
        float("nan"),
        "optimizer.lr: must be a finite number, got nan",
    ),
    "a true for a number": ("optimizer.lr", True, "optimizer.lr: "),
    "a true for a count": ("trainer.max_epochs", True, "trainer.max_epochs: "),
    "a seed below zero": ("seed", -1, "seed: must be greater than or equal to 0, got -1"),
    "a seed beyond 32 bits": ("seed", 2**32, "seed: must be less than 4294967296, got 4294967296"),
    "an unknown activation": (
        "model.activation",
        "geluu",
        "model.activation: must be 'relu', 'gelu' or 'silu', got 'geluu'",
    ),
    "an unknown metric": (
        "monitor.metric",
        "val/rms",
        "monitor.metric: must be 'val/loss', 'val/rmse', 'val/mae' or 'val/r2', got 'val/rms'",
    ),
    "an unknown class": (
        "model._target_",
        "studperf.models.mlp.MLPP",
        "model._target_: 'studperf.models.mlp' defines no 'MLPP'; unknown; the nearest valid name is 'MLP'",
    ),
    "an unknown module": (
        "model._target_",
        "studperf.models.mlpp.MLP",
        "model._target_: there is no module 'studperf.models.mlpp'; unknown; the nearest valid name is 'mlp'",
    ),
    "an unknown package": (
        "model._target_",
        "nowhere.at.All",
        "model._target_: there is no module 'nowhere.at'",
    ),
    "a target without a module": ("model._target_", "MLP", "model._target_: there is no module"),
    "an empty target": (
        "trainer._target_",
        None,
        "trainer: names no class to build: _target_ is missing",
    ),
    "a name where a model belongs": ("model", "mlp", "model: must be a block of keys, got 'mlp'"),
    "no data": ("data", None, "data: must be a block of keys"),
    "a logger": ("trainer.logger", True, "trainer.logger: is set by studperf itself; drop it"),
    "callbacks": ("trainer.callbacks", [], "trainer.callbacks: is set by studperf itself; drop it"),
    "the features": ("model.features", 3, "model.features: is set by studperf itself; drop it"),
    "rarer validation": (
        "trainer.check_val_every_n_epoch",
        2,
        "trainer.check_val_every_n_epoch: is set by studperf itself; drop it",
    ),
}


@pytest.mark.parametrize(("key", "value", "expected"), VALUES.values(), ids=VALUES.keys())
def test_a_wrong_value_is_refused_in_words(key: str, value: Any, expected: str) -> None:
    plain = plain_of()
    *blocks, name = key.split(".")
    functools.reduce(lambda inner, block: inner[block], blocks, plain)[name] = value
    with pytest.raises(ConfigError) as caught:
        load(plain)
    assert expected in str(caught.value)


LINES = {  # what a command line may say wrongly: the override, the message
    "a misspelt key": (
        "trainer.max_epoch=5",
        "trainer.max_epoch: unknown; the nearest valid name is 'max_epochs'",
    ),
    "a misspelt key with a plus": (
        "+trainer.max_epoch=5",
        "trainer.max_epoch: unknown; the nearest valid name is 'max_epochs'",
    ),
    "a split above one": (
        "data.split={train: 0.9, val: 0.9, test: 0.1, seed: 1}",
        "data.split: train + val + test must be 1, got 0.9 + 0.9 + 0.1 = 1.9",
    ),
    "a split as a list": (
        "data.split=[0.9,0.9,0.1]",
        "data.split=[0.9,0.9,0.1]: a list and a block of keys can't take each other's place",
    ),
    "widths as a block": (
        "model.d_hidden={a:1}",
        "model.d_hidden={a:1}: a list and a block of keys can't take each other's place",
    ),
    "no target": ("~model._target_", "model: names no class to build: _target_ is missing"),
    "no model": ("~model", "model: is missing"),
    "a key taken away": ("~optimizer.lr", "optimizer.lr: is missing"),
    "a key without a value": ("model.dropout", "model.dropout: is not of the form key=value"),
    "a value that is to be filled in": ("seed=???", "seed"),
    "a reference to nothing": ("seed=${nope}", "'nope'"),
    "two models without -m": ("model=mlp,tabm", "--multirun"),
}


@pytest.mark.parametrize(("override", "expected"), LINES.values(), ids=LINES.keys())
def test_a_wrong_override_is_refused_in_words(override: str, expected: str) -> None:
    assert expected in "\n".join(refusal([override]))


def test_a_value_that_fits_no_branch_of_its_type_is_one_fault() -> None:
    plain = plain_of() | {"threads": "two"}
    with pytest.raises(ConfigError, match=r"refused \(1 fault\):\n  - threads: "):
        load(plain)


def test_all_mistakes_are_listed_in_one_message() -> None:
    overrides = [
        "seed=-1",
        "+trainer.max_epochss=1",
        "+trainer.logger=true",
        "model.dropout=1.7",
        "+model.lrr=1",
        "optimizer.lr=fast",
        "batch_size=32.5",
        "data.split.val=0.9",
        "cloud=locl",
        "not a key",
    ]
    lines = refusal(overrides)
    assert lines[0] == f"The configuration was refused ({len(overrides)} faults):"
    assert len(lines) == len(overrides) + 1
    for key in (
        "seed",
        "trainer.max_epochss",
        "trainer.logger",
        "model.dropout",
        "model.lrr",
        "optimizer.lr",
        "batch_size",
        "data.split",
        "cloud=locl",
        "not a key",
    ):
        assert any(line.startswith(f"  - {key}: ") for line in lines)


def test_an_empty_configuration_is_told_all_that_it_lacks() -> None:
    with pytest.raises(ConfigError) as caught:
        load({})
    for name in RunConfig.model_fields:
        assert f"  - {name}: is missing" in str(caught.value)


def test_a_configuration_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match="its root must be a mapping"):
        load(OmegaConf.create([1]))  # type: ignore[arg-type]


def test_a_key_of_a_model_that_is_no_text_is_refused() -> None:
    plain = plain_of()
    plain["model"][3] = 1  # YAML: `3: 1`
    with pytest.raises(ConfigError, match=r"model\.3: "):
        load(plain)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("model.linear_skip", "no"),
        ("model.linear_skip", "off"),
        ("model.dropout", "0.2"),
        ("trainer.max_epochs", "5"),
    ],
)
def test_an_argument_given_as_text_is_turned_into_its_type_or_refused(key: str, text: str) -> None:
    block, name = key.split(".")
    plain = plain_of()
    plain[block][name] = text
    try:
        value = getattr(load(plain), block)[name]
    except ConfigError:
        return
    assert value == {"no": False, "off": False, "0.2": 0.2, "5": 5}[text]


@pytest.mark.parametrize("block", ["model", "trainer"])
def test_code_of_another_package_is_refused_where_a_run_folder_names_it(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted_by_a_run_folder.py").write_text("def build(*args, **kwargs): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    plain = plain_of()
    plain[block] = {"_target_": "planted_by_a_run_folder.build"}
    load(plain)
    with pytest.raises(
        ConfigError,
        match=rf"{block}\._target_: a run folder could name any code; only .* is taken from one, got 'planted_by",
    ):
        load(plain, is_trusted=False)
    assert "planted_by_a_run_folder" not in sys.modules


def test_a_function_that_runs_the_code_of_a_folder_is_refused_where_a_run_folder_names_it() -> None:
    plain = plain_of()
    plain["trainer"] = {
        "_target_": "torch.hub.load",
        "repo_or_dir": "their/folder",
        "model": "build",
        "source": "local",
    }
    with pytest.raises(ConfigError, match=r"trainer\._target_"):
        load(plain, is_trusted=False)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of `conf/` and `sweeps/` to change at will."""
    for folder in (CONF, SWEEPS):
        shutil.copytree(folder, tmp_path / folder.name)
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "src" / "studperf")
    return tmp_path


def test_the_configuration_lies_in_the_checkout(checkout: Path) -> None:
    assert project_root() == checkout
    assert config_dir() == checkout / "conf"


def test_a_typo_in_a_yaml_file_is_refused(checkout: Path) -> None:
    file = checkout / "conf" / "model" / "mlp.yaml"
    file.write_text(file.read_text().replace("dropout:", "dropuot:"))
    assert "  - model.dropuot: unknown; the nearest valid name is 'dropout'" in refusal([])


def test_a_yaml_that_cannot_be_parsed_is_refused_by_name(checkout: Path) -> None:
    (checkout / "conf" / "model" / "mlp.yaml").write_text("_target_: [\n")
    assert "mlp.yaml" in "\n".join(refusal([]))


def test_a_new_yaml_is_an_option_of_its_group(checkout: Path) -> None:
    (checkout / "conf" / "model" / "wide.yaml").write_text(
        (CONF / "model" / "linear.yaml").read_text()
    )
    assert load_overrides(["model=wide"]).model == load_overrides(["model=linear"]).model


def test_a_folder_of_the_checkout_takes_no_key_away(checkout: Path) -> None:
    (checkout / "runs").mkdir()  # as it is after the first run
    assert load_overrides(["runs=elsewhere"]).runs == "elsewhere"


def test_a_path_is_found_from_every_folder(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    (checkout / "table.csv").touch()
    (elsewhere / "mine.csv").touch()
    assert find_file("table.csv") == checkout / "table.csv"
    assert find_file("mine.csv") == Path("mine.csv")
    assert find_file(str(elsewhere / "mine.csv")) == elsewhere / "mine.csv"
    assert find_file("nowhere.csv") == Path("nowhere.csv")


def test_a_record_from_before_a_key_existed_gets_its_default() -> None:
    plain = plain_of()
    del plain["export"], plain["tracking"]["wandb"]["tags"]
    plain["seed"] = 7
    config = load(plain, is_trusted=False)
    assert (config.export, config.tracking.wandb.tags, config.seed) == ("auto", (), 7)


def test_a_configuration_of_today_must_have_every_key() -> None:
    plain = plain_of()
    del plain["export"]
    with pytest.raises(ConfigError, match="export"):
        load(plain)


def test_a_record_with_a_key_that_is_no_more_is_refused() -> None:
    with pytest.raises(ConfigError, match="flux"):
        load(plain_of() | {"flux": 1}, is_trusted=False)


def test_a_single_width_is_one_hidden_layer() -> None:
    assert load_overrides(["model.d_hidden=64"]).model["d_hidden"] == (64,)
    assert load_overrides(["model.d_hidden=[64]"]).model["d_hidden"] == (64,)
