"""Keys that mean nothing to trees are refused with the key that does it, before anything is imported."""

import subprocess
import sys

import pytest

from studperf.config.code.grown import is_grown
from studperf.config.load import accept_command, load_overrides
from studperf.errors import ConfigError


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_overrides(["model=lightgbm", *words])
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "way_out"),
    {
        "optimizer.lr=0.1": "model.learning_rate does",
        "optimizer.weight_decay=0.1": "model.l2 does",
        "optimizer.name=sgd": "not trained by gradient descent",
        "scheduler.warmup=0.5": "learning rate stays as it is",
        "batch_size=64": "all training rows at once",
        "monitor.patience=5": "model.patience does",
    }.items(),
)
def test_a_key_of_networks_is_refused_with_the_key_that_does_it(word: str, way_out: str) -> None:
    key = word.partition("=")[0]
    assert f"{key}: means nothing to model=lightgbm: " in refusal(word)
    assert way_out in refusal(word)


@pytest.mark.parametrize(
    ("word", "key"),
    {
        "trainer=gpu": "trainer.accelerator",
        "trainer=ddp": "trainer.strategy",
        "trainer.devices=2": "trainer.devices",
        "trainer.gradient_clip_val=1.0": "trainer.gradient_clip_val",
        "trainer.precision=bf16-mixed": "trainer.precision",
        "trainer.deterministic=false": "trainer.deterministic",
        "+trainer.max_steps=5": "trainer.max_steps",
        "trainer.accumulate_grad_batches=2": "trainer.accumulate_grad_batches",
        "loss.name=gaussian_nll": "loss.name",
    }.items(),
)
def test_what_trees_can_not_follow_is_refused(word: str, key: str) -> None:
    assert f"  - {key}: " in refusal(word)


@pytest.mark.parametrize(
    "word",
    ["trainer.max_epochs=5", "+trainer.max_time=00:00:01:00", "monitor.metric=val/mae",
     "monitor.min_delta=0.1", "loss.name=huber", "seed=3", "threads=2", "trainer=smoke"],
)  # fmt: skip
def test_what_trees_follow_is_taken(word: str) -> None:
    load_overrides(["model=lightgbm", word])


def test_all_faults_are_told_at_once() -> None:
    message = refusal("optimizer.lr=0.1", "batch_size=3", "model.n_leaves=1")
    assert "3 faults" in message
    assert message.index("model.n_leaves") < message.index("optimizer.lr")


def test_a_key_is_taken_where_another_model_of_the_command_reads_it() -> None:
    accept_command(["model=lightgbm,mlp", "optimizer.lr=0.01"], is_multirun=True)
    with pytest.raises(ConfigError, match=r"optimizer.lr: means nothing to model=lightgbm"):
        accept_command(["model=lightgbm", "optimizer.lr=0.01,0.1"], is_multirun=True)


def test_the_rounds_are_the_models_unless_the_trainer_says_less() -> None:
    assert load_overrides(["model=lightgbm"]).trainer["max_epochs"] == 1000
    assert load_overrides(["model=lightgbm", "model.n_rounds=7"]).trainer["max_epochs"] == 7
    assert load_overrides(["model=lightgbm", "trainer.max_epochs=30"]).trainer["max_epochs"] == 30
    assert load_overrides(["model=mlp"]).trainer["max_epochs"] == 60


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("studperf.models.lightgbm.LightGBM", True),
        ("studperf.models.trees.TreeModel", True),
        ("studperf.models.mlp.MLP", False),
        ("studperf.models.nowhere.Nothing", False),
        ("nowhere", False),
    ],
)
def test_a_class_is_known_by_its_base(target: str, *, expected: bool) -> None:
    assert is_grown({"_target_": target}) is expected


def test_a_refusal_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from studperf.config.load import load_overrides\n"
        "try:\n    load_overrides(['model=lightgbm', 'optimizer.lr=1'])\n"
        "except Exception as error:\n    assert 'model.learning_rate' in str(error)\n"
        "sys.exit(bool({'torch', 'lightgbm', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
