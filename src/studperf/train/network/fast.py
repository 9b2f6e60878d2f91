"""The fast path: lightning is called for a chunk of steps, and the optimizer's kernel directly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from studperf.config.run import RunConfig

_FUSED_KERNELS: dict[type[torch.optim.Optimizer], str] = {
    torch.optim.AdamW: "_fused_adamw_",
    torch.optim.Adam: "_fused_adam_",
}
# The Trainer's arguments with which steps can be made by the chunk, the default first.
_CHUNKED: dict[str, tuple[Any, ...]] = {
    "precision": ("32-true", "32", 32, None),
    "accumulate_grad_batches": (1,),
    "devices": (1,),
    "num_nodes": (1,),
    "strategy": ("auto",),
}
# Arguments that hold for a chunk of steps as for each of them. Any other one is lightning's to act
# upon, step by step.
_SAME_FOR_CHUNKS = frozenset(
    (
        "_target_",
        "max_epochs",
        "min_epochs",
        "accelerator",
        "gradient_clip_val",
        "gradient_clip_algorithm",
        "deterministic",
        "benchmark",
    )
)
_STEP_HOOKS = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward"),
    *("on_after_backward", "on_before_optimizer_step"),
)


def why_stepwise(config: RunConfig, callbacks: Sequence[Callback]) -> str | None:
    """Return why lightning must be called for every single step, or None if it need not be.

    A chunk makes the same steps, to the last bit, and costs a fraction of the time; but lightning
    then sees no single batch.
    """
    trainer = config.trainer
    for name, values in _CHUNKED.items():
        value = trainer.get(name, values[0])
        is_one_device = name == "devices" and isinstance(value, list) and len(value) == 1
        if value not in values and not is_one_device:
            return f"trainer.{name}={value}"

    others = trainer.keys() - _CHUNKED.keys() - _SAME_FOR_CHUNKS
    given = sorted(name for name in others if trainer[name] is not None)
    if given:
        return f"trainer.{given[0]} is set"

    for callback in callbacks:
        hooks = [
            name
            for name in _STEP_HOOKS
            if getattr(type(callback), name) is not getattr(Callback, name)
        ]
        if hooks:
            return f"{type(callback).__name__} has {hooks[0]}"
    return None


def lean_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """Return the optimizer's step, on the CPU without what torch does around its kernel.

    torch 2.15 takes 90 us a step around its one fused kernel, this takes 12, to the same bits.
    Before its first step, with hooks, or for an optimizer without such a kernel, this is
    `optimizer.step` itself.
    """
    kernel = _FUSED_KERNELS.get(type(optimizer), "")
    # torch has no public way to ask for hooks.
    before = optimizer._optimizer_step_pre_hooks  # noqa: SLF001 - see above
    after = optimizer._optimizer_step_post_hooks  # noqa: SLF001 - see above
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    is_begun = all(p.device.type == "cpu" and optimizer.state[p] for p in parameters)
    # The kernels are private, so another torch may lack them.
    if before or after or not is_begun or not hasattr(torch, kernel):
        return optimizer.step

    run = getattr(torch, kernel)
    with torch.no_grad():
        all_counts = torch.stack([optimizer.state[p]["step"] for p in parameters])
        for i, parameter in enumerate(parameters):
            # A view, so that one addition counts for all.
            optimizer.state[parameter]["step"] = all_counts[i]
    groups = []
    for group in optimizer.param_groups:
        if group["params"]:
            states = [optimizer.state[p] for p in group["params"]]
            means = [state["exp_avg"] for state in states]
            squares = [state["exp_avg_sq"] for state in states]
            counts = [state["step"] for state in states]
            groups.append((group, means, squares, counts))

    @torch.no_grad()
    def step() -> None:
        # A parameter that the loss did not reach is left as it is, which the kernel can't do.
        if any(p.grad is None for p in parameters):
            optimizer.step()
            return
        all_counts.add_(1)
        for group, means, squares, counts in groups:
            beta1, beta2 = group["betas"]
            gradients = [p.grad for p in group["params"]]
            run(
                group["params"],
                gradients,
                means,
                squares,
                [],  # for amsgrad alone
                counts,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                eps=group["eps"],
                maximize=False,
            )

    return step
