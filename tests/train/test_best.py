"""Training that was cut short, and the weights that are taken from it."""

from collections.abc import Callable

import pytest

from studperf.config.load import load_overrides
from studperf.config.run import RunConfig
from studperf.record.record import RunRecord
from studperf.record.shape import CutShort
from studperf.report.views.limits import band_line
from studperf.report.views.scores import choice_line
from studperf.train.best import find_cut, find_longer
from studperf.train.run import run


def trained(errors: list[float], *words: str, metric: str = "val/rmse") -> CutShort | None:
    """What is said of a run with these errors after each epoch."""
    config = load_overrides(["data.source.simulate.rows=200", f"monitor.metric={metric}", *words])
    record = RunRecord.model_construct(
        history=[{metric: error} for error in errors],
        best_epoch=(max if metric == "val/r2" else min)(range(len(errors)), key=errors.__getitem__),
        is_stopped_early=False,
    )
    return find_cut(record, config.monitor, find_longer(config, len(errors)))


def test_best_epoch_at_the_end_was_cut_short() -> None:
    errors = [10.0 - 0.1 * epoch for epoch in range(30)]
    cut = trained(errors, "trainer.max_epochs=30")
    assert cut is not None
    # Epoch 24 had 7.7, epoch 30 had 7.1.
    assert (cut.best_epoch, cut.n_epochs, cut.n_gained) == (30, 30, 6)
    assert cut.gain == pytest.approx(1 - 7.1 / 7.7)
    assert cut.line.endswith("by 7.8 % over the last 6; try trainer.max_epochs=60.")


def test_training_that_a_schedule_brought_to_rest_too_early_was_cut_short() -> None:
    # A cosine took the rate to 0 within five epochs: the last one gained 0.07 %, the last half 0.97 %.
    cut = trained([343.06, 340.15, 338.05, 337.04, 336.81], "trainer.max_epochs=5")
    assert cut is not None
    assert cut.n_gained == 2


def test_r2_that_still_rose_was_cut_short() -> None:
    cut = trained([0.1, 0.2, 0.3, 0.4, 0.5], "trainer.max_epochs=5", metric="val/r2")
    assert cut is not None
    assert cut.gain == pytest.approx(1 - 0.5 / 0.6)


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([9.0, 8.0, 7.0, 6.0, 6.1], id="best before the end"),
        pytest.param([9.0, 6.0, 6.0, 6.0, 5.999], id="at rest"),
        pytest.param([9.0], id="one epoch"),
    ],
)
def test_training_that_had_settled_was_not_cut_short(errors: list[float]) -> None:
    assert trained(errors, f"trainer.max_epochs={len(errors)}") is None


def test_what_else_ended_training_is_named() -> None:
    cut = trained([9.0, 8.0, 7.0], "trainer.max_epochs=60", "+trainer.max_steps=30")
    assert cut is not None
    assert cut.way_out == "a larger trainer.max_steps"


def test_a_run_that_was_cut_short_says_so(
    small_config: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(small_config("trainer.max_epochs=2"))
    assert record.cut_short is not None
    printed = capsys.readouterr().out
    assert record.cut_short.line in printed
    assert "try trainer.max_epochs=4" in printed
    assert record.judgement is not None
    assert choice_line(record.judgement.choice) in printed
    assert band_line(record, record.judgement.conformal) in printed
