"""Descriptions of errors in a user's own model file.

They name the file, the line and its source instead of a traceback through the libraries.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

from studperf.config.code.signature import module_file

# Lines of an error's own message that are shown: torch appends pages to some.
_MAX_LINES = 4


def describe_own_fault(error: BaseException, target: str) -> str | None:
    """Describe an error that passed through the file of the class that a node names.

    Args:
        error: anything that was raised; the errors that it came from are looked through too.
        target: the dotted path of the class, as in `_target_`.

    Returns:
        A few lines for people; None where that file has no part in it.
    """
    file = module_file(target.rpartition(".")[0])
    if file is None:
        return None
    for link in _chain(error):
        if isinstance(link, SyntaxError) and link.filename and Path(link.filename) == file:
            source = (link.text or "").strip()
            return _describe(link, file, link.lineno, source, "")

        frames = [
            frame
            for frame in traceback.extract_tb(link.__traceback__)
            if Path(frame.filename) == file
        ]
        if frames:
            last = frames[-1]
            source = (last.line or "").strip()
            return _describe(link, file, last.lineno, source, last.name)
    return None


def is_raised_on_purpose(error: BaseException) -> bool:
    """Return True if the statement that raised an error is a `raise`."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and (frames[-1].line or "").startswith("raise")


def _describe(
    error: BaseException,
    file: Path,
    line: int | None,
    source: str,
    name: str,
) -> str:
    where = f", in {name}" if name and name != "<module>" else ""
    message = str(error.msg if isinstance(error, SyntaxError) else error).strip()
    kept = message.splitlines()[:_MAX_LINES]
    first = kept[0] if kept else ""
    headline = f"{type(error).__name__}: {first}".rstrip()
    what = "\n    ".join([headline, *kept[1:]])
    return (
        "the model's own code failed\n"
        f"  {file}, line {line}{where}\n"
        f"    {source}\n"
        f"  {what}\n"
        "--debug shows the whole traceback"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
