"""The rules for a table's cells, and the words for every fault of them; numpy alone.

Tables to train on, new rows of a finished run and requests to a bundle are checked by the same
rules.
"""
