"""The model card of a run, in Markdown."""

from __future__ import annotations

from studperf.record.record import RunRecord
from studperf.report.pages.template import fill
from studperf.report.views.run import view_run


def write_card(record: RunRecord) -> str:
    """Return the model card of a run, from its record alone."""
    return fill("card.md", view=view_run(record))
