"""Datasets and tables that the tests of this room share."""

from kit.tables import make_dataset, real_table, students, students_raw, students_table  # noqa: F401 - fixtures
