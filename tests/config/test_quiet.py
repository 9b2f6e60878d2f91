"""A library's logger reports errors alone inside the block, and is as it was after it."""

import logging

import pytest

from studperf.config.quiet import errors_only


def test_errors_alone_are_reported_inside_the_block(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("talkative")
    logger.setLevel(logging.INFO)
    with errors_only("talkative"):
        logger.warning("advice")
        logger.error("a fault")
    logger.info("afterwards")
    assert caplog.messages == ["a fault", "afterwards"]


def test_the_level_comes_back_after_an_error() -> None:
    logger = logging.getLogger("failing")
    logger.setLevel(logging.DEBUG)
    with pytest.raises(RuntimeError), errors_only("failing"):
        raise RuntimeError
    assert logger.level == logging.DEBUG
