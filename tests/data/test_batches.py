import pytest
import torch

from studperf.data.batches import Batches, epoch_generator, epoch_seed


class Clock:
    """Tells the epoch."""

    def __init__(self) -> None:
        self.epoch = 0

    def __call__(self) -> int:
        return self.epoch


def numbered(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows = torch.arange(n)
    return rows[:, None].float(), rows[:, None] * 10, rows.float() * 100


def rows_of(batches: Batches) -> list[list[int]]:
    return [target.div(100).int().tolist() for _, _, target in batches]


def order_of(batches: Batches) -> list[int]:
    return [row for batch in rows_of(batches) for row in batch]


@pytest.mark.parametrize("seed", [None, 0], ids=["in order", "shuffled"])
@pytest.mark.parametrize(("n", "batch_size"), [(1, 1), (1, 8), (7, 3), (8, 4), (9, 4), (100, 1), (100, 1000)])
def test_every_row_comes_once_an_epoch(n: int, batch_size: int, seed: int | None) -> None:
    batches = Batches(numbered(n), batch_size, seed=seed)
    assert sorted(order_of(batches)) == list(range(n))
    assert len(rows_of(batches)) == len(batches)
    assert batches.n_rows == n


def test_rows_come_in_order_without_a_seed() -> None:
    assert rows_of(Batches(numbered(5), 2)) == [[0, 1], [2, 3, 4]]


def test_last_batch_may_be_smaller() -> None:
    assert rows_of(Batches(numbered(8), 3)) == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_last_single_row_joins_the_batch_before_it() -> None:
    assert rows_of(Batches(numbered(7), 3)) == [[0, 1, 2], [3, 4, 5, 6]]


def test_single_row_is_a_batch() -> None:
    assert rows_of(Batches(numbered(1), 3)) == [[0]]


def test_no_rows_are_no_batch() -> None:
    batches = Batches(numbered(0), 3, seed=0)
    assert rows_of(batches) == []
    assert len(batches) == 0


def test_rows_of_the_three_tensors_stay_together() -> None:
    for x_num, x_cat, target in Batches(numbered(50), 8, seed=3):
        assert torch.equal(x_num[:, 0] * 10, x_cat[:, 0].float())
        assert torch.equal(x_num[:, 0] * 100, target)


def test_iterating_twice_gives_the_same_order() -> None:
    batches = Batches(numbered(100), 8, seed=0)
    assert rows_of(batches) == rows_of(batches)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    clock = Clock()
    walked = Batches(numbered(100), 8, seed=5, epoch=clock)
    orders = []
    for clock.epoch in range(4):
        orders.append(order_of(walked))
        torch.rand(3)  # what else is drawn in between makes no difference
    resumed = Batches(numbered(100), 32, seed=5, epoch=lambda: 3)
    assert order_of(resumed) == orders[3]
    assert len(set(map(tuple, orders))) == 4


def test_shuffling_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    order_of(Batches(numbered(100), 8, seed=0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_each_seed_and_epoch_has_a_seed_of_its_own() -> None:
    seeds = {epoch_seed(seed, epoch) for seed in range(50) for epoch in range(50)}
    assert len(seeds) == 2500


def test_generator_is_the_same_for_the_same_epoch() -> None:
    first, second = (torch.rand(5, generator=epoch_generator(1, 2)) for _ in range(2))
    assert torch.equal(first, second)
