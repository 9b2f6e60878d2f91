"""Experiments on tabular data: tracked, judged against baselines, guarded against leaks."""

from studperf.cli.telemetry import switch_off as _switch_off

__version__ = "0.1.0"

# Here, as whatever is imported from this package, by a command or by somebody's script, comes later.
_switch_off()
