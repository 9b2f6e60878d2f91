"""The frame of every command: exit codes, the words of a command line, Hydra's main."""
