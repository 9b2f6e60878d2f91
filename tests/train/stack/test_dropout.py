import pytest
import torch
from torch.nn import functional

from studperf.data.batches import epoch_seed
from studperf.train.stack import dropout as room
from studperf.train.stack.dropout import Masks, is_bernoulli_a_comparison

SHAPES = [torch.Size([4, 7, 64]), torch.Size([4, 7, 33])]
SEEDS = [3, 3, 9, 3]
RATES = {
    "a rate for each layer": [[0.3, 0.5, 0.3, 0.3], [0.3, 0.5, 0.0, 0.3]],
    "one rate for all layers": [[0.3, 0.5, 0.0, 0.3]] * 2,
}


def dropped_alone(seed: int, rates: list[float], epoch: int, n_steps: int) -> list[torch.Tensor]:
    torch.manual_seed(epoch_seed(seed, epoch))
    return [
        functional.dropout(torch.ones(shape[1:]), rate)
        for _ in range(n_steps)
        for shape, rate in zip(SHAPES, rates, strict=True)
    ]


@pytest.mark.parametrize("rates", RATES.values(), ids=RATES.keys())
@pytest.mark.parametrize("n_ahead", [1, 500, 1 << 13])
@pytest.mark.parametrize(
    "is_comparison", [True, False], ids=["by comparison", "by torch's sampler"]
)
def test_each_member_drops_what_it_drops_alone(
    is_comparison: bool,  # noqa: FBT001
    n_ahead: int,
    rates: list[list[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if is_comparison and not is_bernoulli_a_comparison():
        pytest.skip("torch samples with MKL here")
    monkeypatch.setattr(room, "is_bernoulli_a_comparison", lambda: is_comparison)
    monkeypatch.setattr(room, "_DRAWN_AHEAD", n_ahead)
    masks = Masks(SEEDS, rates, epoch=2)
    drawn = []
    for _ in range(3):
        for layer, shape in enumerate(SHAPES):
            mask = masks.draw(layer, shape)
            assert mask is not None
            drawn.append(mask.clone())
    for k, seed in enumerate(SEEDS):
        expected = dropped_alone(seed, [layer[k] for layer in rates], epoch=2, n_steps=3)
        for mask, alone in zip(drawn, expected, strict=True):
            assert torch.equal(mask[k], alone)


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    masks = Masks([0, 1], [[0.0, 0.0]], epoch=0)
    assert masks.draw(0, torch.Size([2, 3, 4])) is None
