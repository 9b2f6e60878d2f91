"""Many runs at once: K models of one architecture trained together, as batched matrices, to the numbers of K ordinary runs.

- `plan`: which models can be stacked, and as what steps,
- `stack`: their parameters, forward pass, losses and gradients,
- `masks`: each member's own dropout,
- `update`: each member's own optimizer,
- `fit`: the epochs: validation, early stopping and best weights for each member.

Letters as in `models`, and K members, before all others: a value that is (B, F) in one model is (K, B, F) in a stack.

What stands in this file looks at configurations alone and imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studperf.config.shape import RunConfig

VARIED = ("seed", "optimizer.lr", "optimizer.weight_decay", "model.dropout")
"""In what the members of a stack may differ."""
_TRAINER = {
    "_target_": ("lightning.pytorch.Trainer",),
    "accelerator": (None, "auto", "cpu"),
    "devices": (None, 1, "auto"),
    "precision": (None, "32-true", "32", 32),
    "accumulate_grad_batches": (None, 1),
    "gradient_clip_algorithm": (None, "norm"),
}
"""Arguments of the Trainer that a stack follows, with the values it follows; `_ANY_VALUE` it follows whatever they are."""
_ANY_VALUE = frozenset({"max_epochs", "gradient_clip_val", "deterministic"})
# Larger stacks gain nothing more: what lies between the layers, or the optimizer's state, leaves the cache (measured at batch 32 and 256).
_MAX_STEP_ROWS = 1 << 12
_MAX_MEMBERS = 64
# The batch orders of an epoch, 8 bytes a row and member.
_MAX_EPOCH_ROWS = 1 << 26


def stack_size(batch_size: int, n_rows: int) -> int:
    """How many runs to train together at most; more are trained stack after stack."""
    return max(2, min(_MAX_MEMBERS, _MAX_STEP_ROWS // batch_size, _MAX_EPOCH_ROWS // n_rows))


def stack_key(config: RunConfig) -> str:
    """Equal for runs that differ in `VARIED` alone."""
    plain = config.model_dump(mode="json", exclude={"runs", "resume"})
    for key in VARIED:
        block, _, name = key.rpartition(".")
        (plain[block] if block else plain).pop(name, None)
    return repr(plain)


def find_obstacle(config: RunConfig) -> str | None:
    """Why runs of this configuration can't be stacked, as far as the configuration says; None if nothing speaks against it."""
    for name, value in config.trainer.items():
        if name in _ANY_VALUE or (name in _TRAINER and _is_one_of(value, _TRAINER[name])):
            continue
        return f"it does not follow trainer.{name}={value}"
    return None


def _is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:  # noqa: ANN401 - an argument of the Trainer
    return any(value == option and type(value) is type(option) for option in allowed)
