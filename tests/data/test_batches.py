import pytest
import torch

from studperf.data import batches as module
from studperf.data.batches import Batches, Chunk, Chunks, epoch_generator, epoch_seed, split_chunk


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
@pytest.mark.parametrize(
    ("n", "batch_size"), [(1, 1), (1, 8), (7, 3), (8, 4), (9, 4), (100, 1), (100, 1000)]
)
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


@pytest.mark.parametrize("seed", [None, 7], ids=["in order", "shuffled"])
@pytest.mark.parametrize(
    ("n", "batch_size"), [(0, 4), (1, 4), (9, 4), (1000, 3), (300, 1), (70, 64)]
)
def test_chunks_hold_the_very_batches(n: int, batch_size: int, seed: int | None) -> None:
    batches = Batches(numbered(n), batch_size, seed=seed)
    chunks = Chunks(batches)
    assert len(list(chunks)) == len(chunks)
    cut = [
        target.div(100).int().tolist() for chunk in chunks for _, _, target in split_chunk(chunk)
    ]
    assert cut == rows_of(batches)
    assert all(sum(chunk.sizes) == len(chunk.target) for chunk in chunks)


def test_a_chunk_is_limited_in_batches_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BATCHES", 4)
    monkeypatch.setattr(module, "CHUNK_ROWS", 30)
    assert [chunk.sizes for chunk in Chunks(Batches(numbered(50), 5))] == [
        [5] * 4,
        [5] * 4,
        [5] * 2,
    ]
    assert [chunk.sizes for chunk in Chunks(Batches(numbered(50), 20))] == [[20], [20], [10]]
    assert [chunk.sizes for chunk in Chunks(Batches(numbered(50), 100))] == [[50]]


def test_a_chunk_of_wide_rows_is_limited_by_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PREPARED_VALUES", 0)
    monkeypatch.setattr(module, "_CHUNK_VALUES", 1000)

    def widen(x_num: torch.Tensor, x_cat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x_num.expand(-1, 100), x_cat[:, :0]

    chunks = Chunks(Batches(numbered(30), 4, prepare=widen))
    assert [chunk.sizes for chunk in chunks] == [[4, 4]] * 3 + [[4, 2]]
    assert len(chunks) == 4


def test_a_part_is_some_rows_of_a_table() -> None:
    rows = torch.tensor([7, 3, 5, 1])
    assert rows_of(Batches(numbered(10), 3, rows=rows)) == [[7, 3, 5, 1]]  # a last single row joins
    assert sorted(order_of(Batches(numbered(10), 3, rows=rows, seed=0))) == [1, 3, 5, 7]


def test_a_part_comes_in_the_order_of_its_copy() -> None:
    rows = torch.randperm(100)[:40]
    copied = Batches(tuple(tensor[rows] for tensor in numbered(100)), 8, seed=4)
    assert rows_of(Batches(numbered(100), 8, rows=rows, seed=4)) == rows_of(copied)


def test_codes_of_any_width_come_out_as_int64() -> None:
    x_num, x_cat, target = numbered(20)
    for _, codes, _ in Batches((x_num, x_cat.to(torch.uint8), target), 8, seed=0):
        assert codes.dtype == torch.int64


@pytest.mark.parametrize("seed", [None, 0], ids=["in order", "shuffled"])
@pytest.mark.parametrize("n_ranks", [2, 3])
@pytest.mark.parametrize("n", [12, 13, 47, 48, 49, 50, 100])
def test_processes_share_every_batch_without_overlap(
    n: int, n_ranks: int, seed: int | None
) -> None:
    shares = [Batches(numbered(n), 16, seed=seed, share=(rank, n_ranks)) for rank in range(n_ranks)]
    seen = [rows_of(share) for share in shares]
    assert sorted(row for share in seen for batch in share for row in batch) == list(range(n))
    assert {len(share) for share in shares} == {len(share) for share in seen} == {len(shares[0])}
    alone = rows_of(Batches(numbered(n), 16, seed=seed))
    for i in range(len(shares[0]) - 1):
        assert sorted(row for share in seen for row in share[i]) == sorted(alone[i])
    assert min(len(batch) for share in seen for batch in share) >= 2


def test_a_process_without_a_row_of_a_small_part_gets_no_batch() -> None:
    assert [rows_of(Batches(numbered(2), 8, share=(rank, 3))) for rank in range(3)] == [
        [[0]],
        [[1]],
        [],
    ]


def test_blocks_are_shuffled_and_every_row_still_comes_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 10)
    monkeypatch.setattr(module, "_BLOCKS_AT_ONCE", 3)
    order = order_of(Batches(numbered(205), 8, seed=0, in_blocks=True))
    assert sorted(order) == list(range(205))
    assert order != sorted(order)
    first = {row // 10 for row in order[:20]}
    assert len(first) <= 3  # what is read together lies together
    other = order_of(Batches(numbered(205), 8, seed=0, epoch=lambda: 1, in_blocks=True))
    assert other != order


class Doubling:
    """Prepares numbers by doubling them, and drops the codes."""

    def __init__(self) -> None:
        self.n_rows: list[int] = []

    def __call__(
        self, x_num: torch.Tensor, x_cat: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.n_rows.append(len(x_num))
        return x_num * 2, x_cat[:, :0]


@pytest.mark.parametrize("n_values", [20, 19], ids=["at once", "by the chunk"])
@pytest.mark.parametrize("seed", [None, 0], ids=["in order", "shuffled"])
@pytest.mark.parametrize("share", [(0, 1), (1, 2)], ids=["one process", "the second of two"])
def test_rows_are_prepared_before_they_are_cut_into_batches(
    n_values: int, seed: int | None, share: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PREPARED_VALUES", n_values)
    prepare, epoch = Doubling(), Clock()
    rows = torch.arange(20) + 3
    words = {"rows": rows, "seed": seed, "epoch": epoch, "share": share}
    prepared, plain = (
        Batches(numbered(30), 4, prepare=prepare, **words),
        Batches(numbered(30), 4, **words),
    )
    for epoch.epoch in (0, 1):
        (chunk,), (expected,) = Chunks(prepared), Chunks(plain)
        assert isinstance(chunk, Chunk)
        assert torch.equal(chunk.x_num, 2 * expected.x_num)
        assert torch.equal(chunk.target, expected.target)
        assert chunk.x_cat.shape == (len(chunk.target), 0)
        assert chunk.sizes == expected.sizes
    n_own = 20 // share[1]
    assert prepare.n_rows == ([1, 20] if n_values == 20 else [1, n_own, n_own])


def test_single_batches_are_cut_from_prepared_rows() -> None:
    prepare = Doubling()
    sizes = [len(x_num) for x_num, _, _ in Batches(numbered(20), 8, prepare=prepare)]
    assert (sizes, prepare.n_rows) == ([8, 8, 4], [1, 20])
