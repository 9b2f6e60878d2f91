"""Predictions over HTTP from a bundle.

`predictor` says what may be asked, `api` answers. Needs no torch, and knows nothing of training.
"""
