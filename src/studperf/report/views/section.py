"""A section of a page about data: the same for terminal, Markdown and HTML."""

from __future__ import annotations

from dataclasses import dataclass, field

from studperf.scoring.metrics import FloatArray


class Code(str):
    """A text from the data or the dataset: no rendering may read markup in it."""

    __slots__ = ()


class Strong(str):
    """A text that is to be seen first."""

    __slots__ = ()


Line = str | tuple[str, ...]
"""A sentence or a cell: a text, or its parts, some of them `Code` or `Strong`."""


def parts_of(line: Line) -> tuple[str, ...]:
    """Return the parts of a line."""
    return (line,) if isinstance(line, str) else line


def plain(line: Line) -> str:
    """Return a line as text."""
    return "".join(parts_of(line))


@dataclass(frozen=True)
class Panel:
    """Counts by level, the largest first, or in the bins between edges."""

    title: str
    counts: list[int]
    levels: list[str] = field(default_factory=list)
    edges: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Panels:
    """Panels in rows; `height` of each, in inches."""

    panels: list[Panel]
    n_columns: int = 3
    height: float = 1.7


@dataclass(frozen=True)
class Matrix:
    """Correlations of columns with each other."""

    names: list[str]
    values: FloatArray


@dataclass(frozen=True)
class Section:
    """A heading with sentences, a table and a picture, each if there is one."""

    title: str
    prose: list[Line] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[list[Line]] = field(default_factory=list)
    picture: Panels | Matrix | None = None

    @property
    def name(self) -> str:
        """The heading as a name for files and links."""
        return self.title.lower().replace(" ", "_")
