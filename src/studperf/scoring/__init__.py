"""Metrics with their intervals, and the baselines that every model is held against."""
