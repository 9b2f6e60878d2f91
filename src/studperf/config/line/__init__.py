"""The command line: reading its words and finding all of their faults at once."""
