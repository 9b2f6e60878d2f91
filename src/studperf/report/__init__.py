"""Views of runs, studies and tables, and what prints them: terminal, plots, pages and cards."""

from studperf.report.plots import PLOTS, draw_plots
from studperf.report.terminal import (
    score_table,
    show_end,
    show_stack,
    show_start,
    show_verdict,
)

__all__ = [
    "PLOTS",
    "draw_plots",
    "score_table",
    "show_end",
    "show_stack",
    "show_start",
    "show_verdict",
]
