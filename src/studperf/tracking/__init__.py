"""Tracking with W&B: runs logged live or recorded for later, and dashboards.

No other room imports wandb.
"""
