import pytest

from studperf.config.load import load_overrides
from studperf.train.stack import find_obstacle, stack_key, stack_size

OBSTACLES = {
    "accumulated gradients": "trainer.accumulate_grad_batches=2",
    "another precision": "trainer.precision=bf16-mixed",
    "a GPU": "trainer.accelerator=gpu",
    "values clipped one by one": "trainer.gradient_clip_algorithm=value",
    "an argument that is not known": "trainer.limit_train_batches=3",
}


@pytest.mark.parametrize("word", OBSTACLES.values(), ids=OBSTACLES.keys())
def test_what_a_stack_does_not_follow_is_named(word: str) -> None:
    assert find_obstacle(load_overrides([word])) == f"it does not follow {word}"


@pytest.mark.parametrize(
    "words", [[], ["trainer.gradient_clip_val=1.0"], ["trainer.accelerator=cpu", "trainer=smoke"]]
)
def test_what_a_stack_follows_is_no_obstacle(words: list[str]) -> None:
    assert find_obstacle(load_overrides(words)) is None


ALIKE = {
    "seed=3": True,
    "optimizer.lr=0.1": True,
    "optimizer.weight_decay=0": True,
    "model.dropout=0.1": True,
    "runs=elsewhere": True,
}
APART = {
    "batch_size=32": False,
    "model.d_hidden=[8]": False,
    "model=linear": False,
    "loss.name=huber": False,
    "data.split.seed=1": False,
}


@pytest.mark.parametrize(("word", "is_alike"), (ALIKE | APART).items(), ids=str)
def test_runs_that_differ_in_seed_lr_decay_or_dropout_alone_are_alike(
    word: str,
    is_alike: bool,  # noqa: FBT001
) -> None:
    assert (stack_key(load_overrides([word])) == stack_key(load_overrides([]))) == is_alike


def test_a_stack_is_smaller_where_batches_or_tables_are_large() -> None:
    assert stack_size(256, 6400) == 16
    assert stack_size(32, 6400) == 64
    assert stack_size(256, 10_000_000) == 6
    assert stack_size(100_000, 6400) == 2
