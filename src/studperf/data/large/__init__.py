"""Tables that are read in chunks, so that they never lie in memory as a whole."""
