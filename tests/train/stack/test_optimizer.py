import pytest
import torch
from torch import nn

from studperf.config.load import load_overrides
from studperf.train.network.module import ScoreModule
from studperf.train.network.optimizer import build_optimizer, lr_factor
from studperf.train.stack.optimizer import Update
from studperf.train.stack.parameters import Layout, shapes_of

SETTINGS = [(1e-3, 0.0), (1e-2, 0.1), (3e-2, 0.5)]


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_steps_are_those_of_torchs_optimizers(name: str) -> None:
    base = load_overrides([f"optimizer.name={name}"])
    modules, optimizers, configs = [], [], []
    for lr, decay in SETTINGS:
        config = base.optimizer.model_copy(update={"lr": lr, "weight_decay": decay})
        module = ScoreModule(Two(), base, target_mean=0.0, target_std=1.0)
        modules.append(module)
        configs.append(config)
        optimizers.append(build_optimizer(config, module))
    layout = Layout(shapes_of(modules[0]), len(modules))
    values = layout.read(modules)
    update = Update(configs, layout)
    generator = torch.Generator().manual_seed(0)
    for step in range(20):
        gradients = torch.randn(values.shape, generator=generator)
        factor = lr_factor(step, 20, base.scheduler)
        for k, (module, optimizer) in enumerate(zip(modules, optimizers, strict=True)):
            for parameter_name, parameter in module.named_parameters():
                parameter.grad = layout.split(gradients)[parameter_name][k].t().contiguous()
            for group in optimizer.param_groups:
                group["lr"] = configs[k].lr * factor
            optimizer.step()
        update.step(values, gradients, factor)
    for k, module in enumerate(modules):
        for parameter_name, parameter in module.named_parameters():
            torch.testing.assert_close(
                layout.split(values)[parameter_name][k].t(),
                parameter.detach(),
                rtol=2e-6,
                atol=1e-7,
            )
