"""Views of a run, of runs, of a study, of a table and of a change, as plain data to be printed."""
