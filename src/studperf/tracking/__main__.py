"""Commands for W&B: upload what runs recorded offline, and keep the dashboard as code.

python -m studperf.tracking sync [runs/FOLDER ...]
python -m studperf.tracking dashboard check|dump|apply
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studperf.cli.command import read_keys, read_words
from studperf.cli.process import make_console, run_command
from studperf.config.console import print_line
from studperf.config.faults import unknown_key
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from wandb_workspaces.workspaces import Workspace

_USAGE = """Uploads what runs recorded offline, and keeps the W&B dashboard as code.

  python -m studperf.tracking sync [FOLDER ...]          by default all below runs/; what has arrived is not sent again
  python -m studperf.tracking dashboard check [run=FOLDER]   are all its keys logged? by the newest study below runs/, or a run or study given
  python -m studperf.tracking dashboard dump             the specification, as JSON
  python -m studperf.tracking dashboard apply            puts it at W&B: the same view each time
Keys of dashboard: project=studperf, entity=... Flags: --debug shows tracebacks.

The key is read from WANDB_API_KEY or ~/.netrc. Exit codes: 0 all there, 1 something is missing, 2 it could not be tried."""
_RUNS = "runs"
_DASHBOARD_KEYS = ("project", "entity")


def main() -> int | None:
    """Run the command that the command line names; return the exit code."""
    words = read_words(_USAGE)
    if words is None:
        return None
    match words:
        case ["sync"]:
            return _sync([Path(_RUNS)])
        case ["sync", *folders]:
            return _sync([Path(folder) for folder in folders])
        case ["dashboard", ("check" | "dump" | "apply") as action, *settings]:
            return _dashboard(action, settings)
        case ["dashboard", *_]:
            raise ConfigError(
                f"say what to do with the dashboard: check, dump or apply\n\n{_USAGE}"
            )
        case [word, *_]:
            raise ConfigError(f"{word}: {unknown_key(word, ('sync', 'dashboard'))}\n\n{_USAGE}")
        case _:
            raise ConfigError(f"say what to do: sync or dashboard\n\n{_USAGE}")


def _sync(paths: list[Path]) -> int | None:
    """Upload what lies below the paths, and print what arrived."""
    from studperf.tracking.sync import show, sync

    console = make_console()
    uploads = sync(paths, console)
    console.print(show(uploads))
    is_fine = all(upload.is_fine for upload in uploads)
    return None if is_fine else 1


def _dashboard(action: str, words: list[str]) -> int | None:
    """Build the dashboard, and check, print or save it."""
    from studperf.tracking import dashboard
    from studperf.tracking.panel_keys import newest_study

    keys = [*_DASHBOARD_KEYS]
    if action == "check":
        keys.append("run")
    given = read_keys(words, keys)
    console = make_console()
    project = given.get("project") or dashboard.default_project()
    workspace = dashboard.build(given.get("entity"), project)

    if action == "dump":
        console.out(dashboard.dump(workspace), highlight=False)
        return None
    if action == "apply":
        print_line(console, f"The dashboard is at {dashboard.apply(workspace)}")
        return None
    if "run" in given:
        folder = Path(given["run"])
    else:
        folder = newest_study(Path(_RUNS))
        print_line(console, f"Checking by {folder}")
    return _check_dashboard(workspace, folder, console)


def _check_dashboard(workspace: Workspace, folder: Path, console: Console) -> int | None:
    """Print each key of the dashboard that no run logs; return 1 if there is one."""
    from studperf.tracking import panel_keys

    has_study = panel_keys.winners_folder(folder) is not None
    logged = panel_keys.logged_keys(folder)
    dead = panel_keys.dead_keys(workspace, logged, has_study=has_study)
    for key in dead:
        line = f"{key.section}, {key.panel}: no run logs {key.name}"
        console.print(line, style="bold red", markup=False)

    if dead:
        console.print("Some panels would stay empty.")
        return 1
    if has_study:
        console.print("Every panel shows what runs and studies log.")
    else:
        console.print("Every panel shows what runs log; those of studies were not looked at.")
    return None


if __name__ == "__main__":
    run_command(main)
