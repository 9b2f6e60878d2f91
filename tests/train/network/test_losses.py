"""The losses against torch's own and scikit-learn's, and those of a stack against those of one model."""

import pytest
import torch
from sklearn.metrics import mean_pinball_loss
from torch import Tensor
from torch.nn import functional

from studperf.config.load import load_overrides
from studperf.config.run import Loss
from studperf.train.network.losses import Criterion, compute_loss

NAMES = ["mse", "huber", "gaussian_nll", "quantile"]
LOG_VARIANCE = 0.7


def loss_of(name: str) -> Loss:
    return load_overrides([f"loss.name={name}", "loss.delta=0.7", "loss.quantile=0.3"]).loss


def criterion_of(name: str, log_variance: Tensor) -> Criterion:
    criterion = Criterion(loss_of(name))
    for parameter in criterion.parameters():
        parameter.data = log_variance
    return criterion


def expect(name: str, y: Tensor, target: Tensor) -> Tensor:
    """The mean loss by somebody else's code."""
    match name:
        case "mse":
            return functional.mse_loss(y, target)
        case "huber":
            return functional.smooth_l1_loss(y, target, beta=0.7) * 0.7
        case "gaussian_nll":
            variance = torch.full_like(y, LOG_VARIANCE).exp()
            return functional.gaussian_nll_loss(y, target, variance)
    return torch.tensor(mean_pinball_loss(target, y, alpha=0.3), dtype=torch.float32)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_the_mean_that_others_reckon(name: str) -> None:
    y, target = torch.randn(31), torch.randn(31)
    found = criterion_of(name, torch.tensor(LOG_VARIANCE))(y, target)
    torch.testing.assert_close(found.detach(), expect(name, y, target))


@pytest.mark.parametrize("name", NAMES)
def test_only_the_variance_is_learnt_beside_a_model(name: str) -> None:
    learnt = list(Criterion(loss_of(name)).state_dict())
    assert learnt == (["log_variance"] if name == "gaussian_nll" else [])


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_gradients_of_a_stack_are_those_of_each_model(name: str) -> None:
    y, z, log_variance = torch.randn(3, 11, requires_grad=True), torch.randn(3, 11), torch.randn(3)
    values = compute_loss(loss_of(name), y, z, log_variance.unsqueeze(1), reduction="none")
    found = values.mean(1)
    (gradient,) = torch.autograd.grad(found.sum(), y)
    for k in range(3):
        own = y[k].detach().requires_grad_()
        expected = criterion_of(name, log_variance[k])(own, z[k])
        torch.testing.assert_close(found[k], expected)
        torch.testing.assert_close(gradient[k], torch.autograd.grad(expected, own)[0])


def test_a_variance_that_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="gaussian_nll needs a variance"):
        compute_loss(loss_of("gaussian_nll"), torch.ones(2), torch.ones(2), None, reduction="mean")
