from pathlib import Path

import pytest

from studperf.errors import RunError
from studperf.tracking.log_file import read_run


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 400 rows, written by wandb itself: longer than a block of 32 KB."""
    import wandb

    place = tmp_path_factory.mktemp("log")
    settings = wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True)
    run = wandb.init(
        mode="offline",
        project="p",
        id="abc",
        dir=place,
        config={"a": {"b": [1, 2]}},
        tags=["t"],
        group="g",
        settings=settings,
    )
    for step in range(400):
        run.log({"x": step, "text": "word " * 20})
    run.finish(exit_code=3)
    wandb.teardown()
    return next(place.rglob("run-abc.wandb"))


def test_wandb_still_has_the_messages_that_the_reader_needs() -> None:
    from wandb.proto import wandb_internal_pb2

    fields = {field.name for field in getattr(wandb_internal_pb2, "Record").DESCRIPTOR.fields}  # noqa: B009
    assert {"run", "config", "summary", "history", "artifact", "stats", "exit"} <= fields


def test_what_wandb_wrote_is_read_back(log: Path) -> None:
    run = read_run(log)
    assert (run.id, run.project, run.group, run.tags) == ("abc", "p", "g", ["t"])
    assert run.config["a"] == {"b": [1, 2]}
    assert [row["x"] for row in run.rows] == list(range(400))
    assert run.rows[0]["text"] == "word " * 20
    assert run.summary["x"] == 399
    assert run.exit_code == 3
    assert run.is_whole
    assert log.stat().st_size > 32768
    assert read_run(log.parent) == run


def test_a_torn_log_gives_the_rows_before_the_tear(log: Path, tmp_path: Path) -> None:
    torn = tmp_path / "run-abc.wandb"
    torn.write_bytes(log.read_bytes()[:40_001])
    run = read_run(torn)
    assert [row["x"] for row in run.rows] == list(range(len(run.rows)))
    assert 50 < len(run.rows) < 400
    assert run.exit_code is None
    assert not run.is_whole


def test_a_damaged_log_is_refused(log: Path, tmp_path: Path) -> None:
    content = bytearray(log.read_bytes())
    content[5000] ^= 1
    (tmp_path / "run-abc.wandb").write_bytes(content)
    with pytest.raises(RunError, match="is damaged at byte"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and so on"], ids=["empty", "another format"])
def test_what_is_no_log_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run-abc.wandb").write_bytes(content)
    with pytest.raises(RunError, match="is not a W&B log"):
        read_run(tmp_path)


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no W&B log"):
        read_run(tmp_path)


def test_a_head_alone_is_a_run_without_rows(log: Path, tmp_path: Path) -> None:
    (tmp_path / "run-abc.wandb").write_bytes(log.read_bytes()[:7])
    assert read_run(tmp_path).rows == []
