"""Clients of Google Cloud: the only place that speaks with it."""
