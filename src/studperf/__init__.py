"""Experiments on tabular data: tracked, judged against baselines, guarded against leaks."""

__version__ = "0.1.0"
