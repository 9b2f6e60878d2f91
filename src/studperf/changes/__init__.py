"""The change between two versions of a table: rows, columns, distributions, a baseline's scores."""
