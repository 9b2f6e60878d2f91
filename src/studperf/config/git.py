"""The state of the git checkout that the code runs from."""

from __future__ import annotations

import subprocess

from studperf.config.paths import project_root


def read_commit() -> tuple[str, bool] | None:
    """Return the commit, and whether the checkout differs from it.

    None for an installed package or without git.
    """
    root = project_root()
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        )
        # By default `git status` refreshes the index too, and its lock would stop a user's own git.
        status = subprocess.run(
            ["git", "--no-optional-locks", "status", "--porcelain"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip(), bool(status.stdout.strip())
