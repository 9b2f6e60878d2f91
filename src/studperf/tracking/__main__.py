"""Uploads what runs recorded offline, and keeps the W&B dashboard as code.

python -m studperf.tracking sync [runs/FOLDER ...]
python -m studperf.tracking dashboard check|dump|apply
"""

from __future__ import annotations

from pathlib import Path

from studperf.cli import make_console, read_keys, read_words, run_command
from studperf.config.faults import unknown_key
from studperf.errors import ConfigError

_USAGE = """Uploads what runs recorded offline, and keeps the W&B dashboard as code.

  python -m studperf.tracking sync [FOLDER ...]          by default all below runs/; what has arrived is not sent again
  python -m studperf.tracking dashboard check [run=FOLDER]   are all its keys logged? by a study made for it, or a run or study given
  python -m studperf.tracking dashboard dump             the specification, as JSON
  python -m studperf.tracking dashboard apply            puts it at W&B: the same view each time
Keys of dashboard: project=studperf, entity=... Flags: --debug shows tracebacks.

The key is read from WANDB_API_KEY or ~/.netrc. Exit codes: 0 all there, 1 something is missing, 2 it could not be tried."""
_RUNS = "runs"
_DASHBOARD_KEYS = ("project", "entity")


def main() -> int | None:
    """The command."""
    if (words := read_words(_USAGE)) is None:
        return None
    match words:
        case ["sync", *folders]:
            return _sync([Path(folder) for folder in folders] or [Path(_RUNS)])
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
    from studperf.tracking.sync import show, sync

    console = make_console()
    uploads = sync(paths, console)
    console.print(show(uploads))
    return None if all(upload.is_fine for upload in uploads) else 1


def _dashboard(action: str, words: list[str]) -> int | None:
    from studperf.tracking import dashboard

    given = read_keys(words, [*_DASHBOARD_KEYS, *(["run"] if action == "check" else [])])
    console = make_console()
    workspace = dashboard.build(
        given.get("entity"), given.get("project") or dashboard.default_project()
    )
    if action == "dump":
        console.out(dashboard.dump(workspace), highlight=False)
    elif action == "apply":
        console.print(f"The dashboard is at {dashboard.apply(workspace)}", soft_wrap=True)
    else:
        folder = Path(given["run"]) if "run" in given else None
        has_study = folder is None or dashboard.winners_folder(folder) is not None
        dead = dashboard.dead_keys(workspace, dashboard.logged_keys(folder), has_study=has_study)
        for key in dead:
            console.print(
                f"{key.section}, {key.panel}: no run logs {key.name}",
                style="bold red",
                markup=False,
            )
        which = (
            "panel shows what runs and studies log"
            if has_study
            else "panel shows what runs log; those of studies were not looked at"
        )
        console.print("Some panels would stay empty." if dead else f"Every {which}.")
        return 1 if dead else None
    return None


if __name__ == "__main__":
    run_command(main)
