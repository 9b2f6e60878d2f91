"""The command `python -m studperf.train`."""

from studperf.cli.process import end_at_once, run_command

if __name__ == "__main__":
    end_at_once()

    from studperf.train.session import main

    run_command(main)
