"""Many runs at once: K models of one architecture, trained together as batched matrices.

Each gets the numbers that it would get in a run of its own.

- `plan`: which models can be stacked, and as what steps,
- `stack`: their parameters, forward pass, losses and gradients,
- `masks`: each member's own dropout,
- `update`: each member's own optimizer,
- `fit`: the epochs: validation, early stopping and best weights for each member.

Letters as in `models`, and K members, before all others: a value that is (B, F) in one model is (K,
B, F) in a stack.

What stands in this file looks at configurations alone and imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studperf.config.code.grown import is_grown, is_one_of

if TYPE_CHECKING:
    from studperf.config.run import RunConfig

VARIED = ("seed", "optimizer.lr", "optimizer.weight_decay", "model.dropout")
"""Keys in which the members of a stack may differ."""
# Arguments of the Trainer that a stack follows, with the values that it follows.
_TRAINER = {
    "_target_": ("lightning.pytorch.Trainer",),
    "accelerator": (None, "auto", "cpu"),
    "devices": (None, 1, "auto"),
    "precision": (None, "32-true", "32", 32),
    "accumulate_grad_batches": (None, 1),
    "gradient_clip_algorithm": (None, "norm"),
}
# Arguments that it follows whatever their value.
_ANY_VALUE = frozenset({"max_epochs", "gradient_clip_val", "deterministic"})
# Larger stacks gain nothing more: what lies between the layers, or the optimizer's state, leaves
# the cache (measured at batch 32 and 256).
_MAX_STEP_ROWS = 1 << 12
_MAX_MEMBERS = 64
# The batch orders of an epoch, 8 bytes a row and member.
_MAX_EPOCH_ROWS = 1 << 26


def stack_size(batch_size: int, n_rows: int) -> int:
    """Return how many runs to train together at most; more are trained stack after stack."""
    by_step = _MAX_STEP_ROWS // batch_size
    by_epoch = _MAX_EPOCH_ROWS // n_rows
    return max(2, min(_MAX_MEMBERS, by_step, by_epoch))


def stack_key(config: RunConfig) -> str:
    """Return a text that is equal for runs which differ in `VARIED` alone."""
    plain = config.model_dump(mode="json", exclude={"runs", "resume"})
    for key in VARIED:
        block, _, name = key.rpartition(".")
        holder = plain[block] if block else plain
        holder.pop(name, None)
    return repr(plain)


def find_obstacle(config: RunConfig) -> str | None:
    """Return the reason why runs of this configuration can't be stacked; None if there is none.

    Only the configuration is looked at, not the model.
    """
    if is_grown(config.model):
        return "trees are grown run after run"
    for name, value in config.trainer.items():
        if name in _ANY_VALUE:
            continue
        if not is_one_of(value, _TRAINER.get(name, ())):
            return f"it does not follow trainer.{name}={value}"
    return None
