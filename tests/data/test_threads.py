import threading
from collections.abc import Iterator

import pytest

from studperf.data.threads import in_order
from studperf.errors import DataError


def test_results_come_in_order_and_few_items_are_taken_ahead() -> None:
    release, taken = threading.Event(), []

    def items() -> Iterator[int]:
        for i in range(20):
            taken.append(i)
            yield i

    def work(i: int) -> int:
        if i == 0:
            release.wait(5)
        return i

    results = in_order(work, items(), n_workers=2)
    timer = threading.Timer(0.2, release.set)
    timer.start()
    assert next(results) == 0
    assert len(taken) == 3
    assert list(results) == list(range(1, 20))


def test_fault_in_a_chunk_ends_the_reading() -> None:
    def work(i: int) -> int:
        if i == 3:
            raise DataError("bad")
        return i

    taken: list[int] = []
    results = in_order(work, (taken.append(i) or i for i in range(1000)), n_workers=2)  # type: ignore[func-returns-value]
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="bad"):
        next(results)
    assert len(taken) < 10
