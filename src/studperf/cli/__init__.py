"""What every command shares: exit codes, the words of a command line, Hydra's main."""
