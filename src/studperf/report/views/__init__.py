"""What is to be said of a run, of runs, of a study, of a table and of a change, as plain data."""
