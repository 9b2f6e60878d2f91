"""Commands about tables: check, report, infer, simulate, fetch, push.

python -m studperf.data check data=students data.source.path=some.csv
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.cli.command import is_on, quote_words, read_keys, run_command_of
from studperf.cli.process import check_output, end_at_once, make_console, run_command
from studperf.config.console import print_line, warn
from studperf.config.faults import unknown_key
from studperf.config.load import load_overrides
from studperf.config.paths import project_root
from studperf.errors import ConfigError, DataError, brief, one_line

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from studperf.config.dataset import Dataset
    from studperf.data.infer import Draft

_USAGE = """Commands about tables.

  python -m studperf.data check    [data=students] [data.source.path=FILE]   every fault and leak of a table; exit code 2 if there is one
  python -m studperf.data report   [data=students] [out=FOLDER]              a page about it, as HTML and Markdown
  python -m studperf.data report   --against REV [remote=NAME]               what changed since a git revision, an md5 or another file
  python -m studperf.data infer    FILE target=COLUMN [name=NAME] [out=YAML] the first version of a dataset's YAML, from the file
  python -m studperf.data simulate [data=students] out=FILE [rows=N] [seed=N] [noise_sd=X]   a table of this schema with a known law
  python -m studperf.data fetch    [dvc=data.dvc] [remote=NAME] [force=true] the version that data.dvc names, from DVC's remote
  python -m studperf.data push     [dvc=data.dvc] [remote=NAME]              stores it there

FILE is CSV (also .gz) or Parquet. Existing files are kept unless force=true. Flags: --debug shows tracebacks."""

_AGAINST = "--against"
_INFER = ("target", "name", "out", "force")
_NAME = re.compile(r"[\w+-][\w.+-]*")
_N_SHOWN = 200
"""Columns of a table that are shown; the file holds all."""


def check(words: Sequence[str]) -> None:
    """Print every fault, warning and leak of a table.

    Raises:
        DataError: there is a fault or a leak.
    """
    from studperf.data.source import find_source

    config, console = load_overrides(words), make_console()
    # A table that is not there is refused before what reads it brings torch.
    find_source(config.data)

    import numpy as np

    from studperf.data.codes import judge_codes
    from studperf.data.guard.left_out import left_out_signal
    from studperf.data.rows import guard_sample, open_rows
    from studperf.data.schema import raise_faults

    with open_rows(config.data, console) as rows:
        for finding in rows.findings:
            if finding.level == "warning":
                warn(console, finding)
        raise_faults(rows.findings, config.data)
        for finding in judge_codes(rows.table(np.sort(rows.sample))):
            warn(console, finding)
        n_suspects = 0
        for leak in guard_sample(rows):
            text = f"allowed leak: {leak}"
            if not leak.is_refused:
                n_suspects += 1
                text = leak.warning
            warn(console, text)
        _warn_of_left_out(left_out_signal(rows.table(rows.sample), config.data), console)
        leaks = "no leak" if not n_suspects else f"no leak beyond doubt, {n_suspects} suspected"
        where = ""
        if rows.n_sampled is not None:
            where = f" in a sample of {rows.n_sampled:,} training rows"
        size = f"{len(rows)} rows, {len(config.data.feature_names)} features"
        console.print(f"Good: {size}, no fault and {leaks}{where}.", style="green")


def _warn_of_left_out(shares: Sequence[tuple[str, float]], console: Console) -> None:
    """Warn of columns that are no feature though they explain the target.

    Args:
        shares: their names, each with the share of the variance that it explains alone.
        console: the place to print to.
    """
    for name, share in shares:
        warn(
            console,
            f"{name}: is left out, though it explains {share:.0%} of the target's variance alone; "
            "if it is known when the model is asked, make it a feature in the dataset's YAML",
        )


def report(words: Sequence[str]) -> None:
    """Write the page about a table.

    Raises:
        DataError: the table has faults; they are listed.
    """
    from studperf.data.rows import open_good_rows
    from studperf.report.pages.table import write_report
    from studperf.report.views.table import view_table

    own, others = _part_words(words, ("out", "against", "remote"))
    config, console = load_overrides(others), make_console()
    folder = Path(own.get("out", f"reports/{config.data.name}"))
    check_output("out", folder)
    if "against" in own:
        _report_change(config.data, own, folder, console)
        return
    if "remote" in own:
        raise ConfigError("remote: is for --against REV, whose table may lie there")
    with open_good_rows(config.data, console) as rows, console.status("drawing"):
        view = view_table(rows.all(), rows.findings, rows.split, rows.origin)
        pages = write_report(view, folder)
    for page in pages:
        print_line(console, f"Wrote {page}")


def _report_change(
    dataset: Dataset,
    own: dict[str, str],
    out: Path,
    console: Console,
) -> None:
    import tempfile

    from studperf.data.versions.find import read_current, read_version
    from studperf.report.pages.change import show, to_markdown
    from studperf.report.views.change import view_change

    new = read_current(dataset)
    with tempfile.TemporaryDirectory() as folder:
        old = read_version(
            own["against"],
            dataset,
            Path(folder),
            console,
            current=new,
            remote=own.get("remote"),
        )
    with console.status("comparing"):
        view = view_change(old, new, dataset)
    show(view, console)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "changes.md"
    path.write_text(to_markdown(view), encoding="utf-8")
    print_line(console, f"Wrote {path}")


def infer(words: Sequence[str]) -> None:
    """Draft a dataset's YAML from a file.

    Raises:
        DataError: the file can't be read or has no such target.
    """
    from rich.table import Table

    from studperf.data.infer import infer as draft_from
    from studperf.data.infer import to_yaml

    files = [word for word in words if "=" not in word]
    settings = [word for word in words if "=" in word]
    own, others = _part_words(settings, _INFER)
    if others:
        raise ConfigError(f"{others[0]}: {unknown_key(others[0].split('=')[0], _INFER)}")
    if len(files) != 1 or "target" not in own:
        raise ConfigError(
            "say: python -m studperf.data infer FILE target=COLUMN "
            f"[name=NAME] [out=YAML] [force=true]{quote_words(words)}"
        )
    if "out" in own:
        check_output("out", Path(own["out"]), is_file=True)
    if "name" in own and not _NAME.fullmatch(own["name"]):
        raise ConfigError(
            f"name={own['name']}: data=NAME could not choose it; take letters, digits, - and _"
        )
    (file,) = files
    draft = draft_from(Path(file), own["target"], name=own.get("name"))
    out = _dataset_folder() / f"{draft.name}.yaml"
    if "out" in own:
        out = Path(own["out"])
    _write(out, to_yaml(draft), force=is_on(own, "force"))

    console = make_console()
    table = Table(title=f"{draft.name}: target {draft.target}", title_justify="left")
    for heading in ("column", "kind", "what was seen"):
        table.add_column(heading, overflow="fold")
    for name, column in list(draft.columns.items())[:_N_SHOWN]:
        seen = ", ".join(f"{key} {value}" for key, value in column.items() if key != "kind")
        style = {"leak": "red", "id": "dim", "unused": "dim"}.get(column["kind"])
        table.add_row(one_line(name), column["kind"], brief(seen), style=style)
    console.print(table)

    if len(draft.columns) > _N_SHOWN:
        console.print(f"and {len(draft.columns) - _N_SHOWN:,} more columns, in the file")
    for note in draft.notes:
        print_line(console, f"note: {note}")
    _ask(draft, console)
    print_line(
        console,
        f"Wrote {out}. Read it, then:\n  python -m studperf.data check data={out.stem}",
    )


def _dataset_folder() -> Path:
    """Return the folder of a new dataset's YAML: in the checkout that one works in, else here."""
    root, here = project_root(), Path.cwd()
    is_in_checkout = (root / "pyproject.toml").is_file() and here.is_relative_to(root)
    return (root if is_in_checkout else here) / "conf" / "data"


def _ask(draft: Draft, console: Console) -> None:
    """Print the questions that the file can't answer, with the lines to write for other answers."""
    from studperf.data.infer import alternative_line

    for question in list(draft.questions.values())[:_N_SHOWN]:
        kind = draft.columns[question.column]["kind"]
        print_line(
            console,
            f"asks: {one_line(question.column)}: {question.text}. "
            f"Taken as {kind}; if it is not, write\n"
            f"      {brief(alternative_line(question), 300)}",
            style="yellow",
        )


def simulate(words: Sequence[str]) -> None:
    """Write a simulated table to a file.

    Raises:
        ConfigError: no `out`, or a value out of range.
    """
    from studperf.data.simulate import simulate as draw
    from studperf.schema.files import PARQUET_ENDINGS

    own, others = _part_words(words, ("out", "rows", "seed", "noise_sd", "force"))
    if "out" not in own:
        raise ConfigError("say where to: out=FILE.csv or out=FILE.parquet")
    is_forced = is_on(own, "force")
    keys = [key for key in ("rows", "seed", "noise_sd") if key in own]
    plan = [f"data.source.simulate.{key}={own[key]}" for key in keys]
    config = load_overrides([*others, *plan])
    out = Path(own["out"])
    if out.exists() and not is_forced:
        raise DataError(f"{out}: is there already; force=true replaces it")
    check_output("out", out, is_file=True)
    frame: pd.DataFrame = draw(config.data)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix in PARQUET_ENDINGS:
        frame.to_parquet(out, index=False)
    else:
        frame.to_csv(out, index=False)
    print_line(make_console(), f"Wrote {len(frame)} SIMULATED rows to {out}")


def fetch(words: Sequence[str]) -> None:
    """Download the version of the table that `data.dvc` names.

    Raises:
        DataError: names what is in the way.
    """
    from studperf.data.dvc.transfer import fetch as bring
    from studperf.data.dvc.transfer import find_place

    own = _read_own(words, "fetch", ("dvc", "remote", "force"))
    bring(
        find_place(own.get("dvc")),
        make_console(),
        remote=own.get("remote"),
        is_forced=is_on(own, "force"),
    )


def push(words: Sequence[str]) -> None:
    """Upload the version of the table that `data.dvc` names to DVC's remote.

    Raises:
        DataError: names what is in the way.
    """
    from studperf.data.dvc.transfer import find_place
    from studperf.data.dvc.transfer import push as store

    own = _read_own(words, "push", ("dvc", "remote"))
    store(find_place(own.get("dvc")), make_console(), remote=own.get("remote"))


def _read_own(
    words: Sequence[str],
    command: str,
    keys: Sequence[str],
) -> dict[str, str]:
    """Return the `key=value` words of a command that takes no others.

    Raises:
        ConfigError: there is another word, or one has no value, or two.
    """
    own, others = _part_words(words, keys)
    if others:
        known = ", ".join(f"{key}=" for key in keys)
        raise ConfigError(f"{others[0]}: {command} takes {known} and nothing else")
    return own


def _part_words(
    words: Sequence[str],
    keys: Sequence[str],
) -> tuple[dict[str, str], list[str]]:
    """Part a command's own `key=value` words from the configuration's overrides.

    Raises:
        ConfigError: one of its own has no value, or two.
    """
    own = [word for word in words if word.split("=", 1)[0] in keys]
    others = [word for word in words if word not in own]
    return read_keys(own, keys), others


def _write(path: Path, text: str, *, force: bool) -> None:
    if path.exists() and not force:
        raise DataError(
            f"{path}: is there already; force=true replaces it, out=FILE writes elsewhere"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "check": check,
    "report": report,
    "infer": infer,
    "simulate": simulate,
    "fetch": fetch,
    "push": push,
}


def main() -> None:
    """Run the command that the command line names."""
    sys.argv[1:] = _as_words(sys.argv[1:])
    run_command_of(_COMMANDS, _USAGE, [_AGAINST])


def _as_words(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--against REV` and `--against=REV` as the word against=REV."""
    rest = iter(arguments)
    words = []
    for word in rest:
        if word == _AGAINST:
            words.append(f"against={next(rest, '')}")
        elif word.startswith(f"{_AGAINST}="):
            words.append(word.removeprefix("--"))
        else:
            words.append(word)
    return words


if __name__ == "__main__":
    end_at_once()
    run_command(main)
