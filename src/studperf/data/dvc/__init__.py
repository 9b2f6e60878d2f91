"""Versions of a table: the `.dvc` file, and DVC's remote."""
