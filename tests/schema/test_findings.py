import math

import numpy as np

from studperf.schema.findings import Cells, Facts, observe_flags, observe_numbers, show


def test_cells_of_chunks_add_up_to_those_of_the_whole() -> None:
    mask = np.array([False, True, True, False, True, True, True])
    whole = Cells.where(mask, lambda row: f"cell {row}")
    first = Cells.where(mask[:3], lambda row: f"cell {row}")
    later = Cells.where(mask[3:], lambda row: f"cell {row + 3}").shift(3)
    assert first + later == whole
    assert whole.numbers == "rows 2, 3, 5 and 2 more"
    assert whole.examples == "cell 1 (row 2), cell 2 (row 3), cell 4 (row 5) and 2 more"


def test_numbers_are_told_apart_by_what_is_wrong_with_them() -> None:
    numbers = np.array([1.0, math.nan, math.nan, math.inf, 2e30, -5.0])
    missing = np.array([False, True, False, False, False, False])
    facts = observe_numbers(numbers, missing, (0, 1e40), show_cell=lambda _: "'x'")
    assert facts.missing.rows == (1,)
    assert (facts.bad.rows, facts.bad.shown) == ((2,), ("'x'",))
    assert facts.infinite.rows == (3,)
    assert (facts.huge.rows, facts.huge.shown) == ((4,), ("2e+30",))
    assert (facts.outside.rows, facts.outside.shown) == ((5,), ("-5",))
    assert (facts.low, facts.high) == (-5.0, 2e30)


def test_a_flag_is_zero_or_one() -> None:
    flags = np.array([0.0, 1.0, 0.5, math.nan, math.nan])
    missing = np.array([False, False, False, True, False])
    assert observe_flags(flags, missing, str).bad.rows == (2, 4)


def test_facts_of_chunks_know_a_constant_of_the_whole() -> None:
    facts = Facts(2, some=(1.0,), first="1")
    facts.append(Facts(2, some=(1.0,), first="1"), 2)
    assert facts.is_constant
    facts.append(Facts(1, some=(2.0,), first="2"), 4)
    assert not facts.is_constant
    assert (facts.n_rows, facts.first) == (5, "1")


def test_a_long_cell_is_shown_by_its_beginning() -> None:
    assert show("x" * 500).endswith("xxx... (500 characters)")
    assert show(2.0) == "2"
