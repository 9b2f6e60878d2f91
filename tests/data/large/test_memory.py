import os
from pathlib import Path

import numpy as np
import pytest

from studperf.config.dataset import Memory
from studperf.data.large import memory
from studperf.data.large.memory import available_bytes, belongs_on_disk, make_array
from studperf.errors import DataError


@pytest.mark.parametrize(
    ("asked", "n_bytes", "expected"),
    [("auto", 50, False), ("auto", 51, True), ("ram", 1000, False), ("disk", 0, True)],
)
def test_tensors_go_to_disk_when_they_take_more_than_half(
    asked: Memory, n_bytes: int, *, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 100)
    assert belongs_on_disk(n_bytes, asked) == expected


def test_tensors_stay_in_memory_where_its_size_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    assert not belongs_on_disk(10**15, "auto")


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="Linux tells")
def test_available_memory_is_less_than_there_is() -> None:
    there_is = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < (available_bytes() or 0) < there_is


@pytest.mark.parametrize(("limit", "expected"), [("max\n", None), ("1000\n", 400), ("500\n", 0)])
def test_limit_of_a_container_counts(
    limit: str, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("600\n")
    without = available_bytes()
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    if expected is None:
        assert without is None or (available_bytes() or 0) > 10**6
    else:
        assert available_bytes() == expected


@pytest.mark.parametrize("on_disk", [True, False])
def test_array_holds_what_is_written(*, on_disk: bool) -> None:
    array = make_array((1000, 3), np.float32, on_disk=on_disk)
    array[:] = np.arange(3)
    assert isinstance(array, np.memmap) == on_disk
    assert array.sum(axis=0).tolist() == [0.0, 1000.0, 2000.0]
    assert make_array((10, 0), np.uint8, on_disk=on_disk).shape == (10, 0)


def test_disk_that_is_too_full_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(memory, "_reserve", refuse)
    with pytest.raises(
        DataError,
        match=r"can't hold 0\.4 GB of tensors: No space left on device\. Name a folder .* TMPDIR=FOLDER",
    ):
        make_array((10**8,), np.float32, on_disk=True)
