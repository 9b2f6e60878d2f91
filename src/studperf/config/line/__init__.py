"""The command line: its words, and all their faults at once."""
