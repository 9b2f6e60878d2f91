"""What is printed for a user stays as it is."""

import io

from rich.console import Console

from studperf.config.console import print_line, warn


def printed(*, width: int = 20) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width), out


def test_a_line_is_not_wrapped_and_holds_no_markup() -> None:
    console, out = printed()
    path = "runs/a-folder-with-a-long-name/rate [/min] [bold].csv"
    print_line(console, path)
    assert out.getvalue() == f"{path}\n"


def test_a_warning_is_marked_as_one() -> None:
    console, out = printed()
    warn(console, "what stands in [brackets] is shown")
    assert out.getvalue() == "warning: what stands in [brackets] is shown\n"
