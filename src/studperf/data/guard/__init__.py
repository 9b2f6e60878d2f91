"""Columns that give the target away, and columns that were left out though they carry signal."""
