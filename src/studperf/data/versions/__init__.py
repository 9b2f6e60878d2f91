"""Two versions of a table held against each other."""
