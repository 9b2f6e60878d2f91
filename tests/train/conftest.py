"""Tables that the tests of this room share."""

from kit.tables import (  # noqa: F401 - fixtures
    make_dataset,
    students,
    students_raw,
    students_table,
)
