"""What people see of runs: terminal tables, plots, and pages that need nothing but a browser; from records and their files alone."""

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
