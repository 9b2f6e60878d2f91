"""What changed between two versions of a table: rows, columns, distributions, and what a quick baseline makes of it."""
