"""Tables that try to break a command: odd names, odd values, damaged files, things that are no files. All from one seed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

N_ROWS = 160
TARGET = "y"
Build = Callable[[Path, np.random.Generator], Path]
"""Writes into a folder and returns the path that a command is given."""


def good(rng: np.random.Generator, n_rows: int = N_ROWS) -> dict[str, list[str]]:
    """A table of text without a fault: two numbers, a category, a flag, and a target that follows from them."""
    x, z = rng.normal(5, 2, n_rows), rng.integers(0, 100, n_rows)
    colour = rng.choice(["red", "green", "blue"], n_rows)
    y = 3 * x + 0.1 * z + 2 * (colour == "red") + rng.normal(0, 1, n_rows)
    return {
        "x": [f"{v:.3f}" for v in x],
        "z": [str(v) for v in z],
        "colour": list(colour),
        "wet": list(rng.choice(["yes", "no"], n_rows)),
        TARGET: [f"{v:.3f}" for v in y],
    }


def to_csv(columns: dict[str, list[str]], delimiter: str = ",") -> bytes:
    """The table as a CSV."""
    return rows_to_csv(list(columns), zip(*columns.values(), strict=True), delimiter)


def rows_to_csv(header: list[str], rows: object, delimiter: str = ",") -> bytes:
    """A header and rows as a CSV."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)  # type: ignore[arg-type]  # any rows of text
    return text.getvalue().encode("utf-8", "surrogatepass")


def named(name: str) -> Build:
    """A feature of this name."""

    def build(folder: Path, rng: np.random.Generator) -> Path:
        columns = good(rng)
        renamed = {name if key == "x" else key: cells for key, cells in columns.items()}
        return write(folder, to_csv(renamed))

    return build


def valued(column: str, cells: list[str], share: float = 0.1) -> Build:
    """Some cells of a column are these."""

    def build(folder: Path, rng: np.random.Generator) -> Path:
        columns = good(rng)
        for row in rng.choice(N_ROWS, max(len(cells), int(share * N_ROWS)), replace=False):
            columns[column][row] = str(rng.choice(np.array(cells, dtype=object)))
        return write(folder, to_csv(columns))

    return build


def filled(
    column: str, make: Callable[[np.random.Generator, int], list[str]], **form: str
) -> Build:
    """A whole column is made anew."""

    def build(folder: Path, rng: np.random.Generator) -> Path:
        columns = good(rng)
        columns[column] = make(rng, N_ROWS)
        return write(folder, to_csv(columns, **form))

    return build


def changed(change: Callable[[bytes], bytes], name: str = "t.csv") -> Build:
    """The good file's bytes are changed."""

    def build(folder: Path, rng: np.random.Generator) -> Path:
        return write(folder, change(to_csv(good(rng))), name)

    return build


def arrow(name: str, make: Callable[[np.random.Generator, int], pa.Array]) -> Build:
    """A Parquet file whose feature `x` holds this."""

    def build(folder: Path, rng: np.random.Generator) -> Path:
        table = plain_arrow(rng)
        table = table.append_column(name, make(rng, N_ROWS))
        pq.write_table(table, folder / "t.parquet")
        return folder / "t.parquet"

    return build


def plain_arrow(rng: np.random.Generator) -> pa.Table:
    """The good table, with types."""
    columns = good(rng)
    return pa.table(
        {
            "x": pa.array(map(float, columns["x"])),
            "z": pa.array(map(int, columns["z"])),
            "colour": pa.array(columns["colour"]),
            TARGET: pa.array(map(float, columns[TARGET])),
        }
    )


def with_notes(notes: bytes) -> Build:
    """A Parquet file in which pandas' notes are these."""

    def build(folder: Path, rng: np.random.Generator) -> Path:
        table = plain_arrow(rng).replace_schema_metadata({b"pandas": notes})
        pq.write_table(table, folder / "t.parquet")
        return folder / "t.parquet"

    return build


def damaged_parquet(seed: int) -> Build:
    """A Parquet file with some bytes changed."""

    def build(folder: Path, rng: np.random.Generator) -> Path:
        pq.write_table(plain_arrow(rng), folder / "t.parquet")
        raw = bytearray((folder / "t.parquet").read_bytes())
        for place in np.random.default_rng(seed).integers(4, len(raw) - 8, 6):
            raw[place] ^= 0x55
        return write(folder, bytes(raw), "t.parquet")

    return build


def write(folder: Path, content: bytes, name: str = "t.csv") -> Path:
    """A file of these bytes."""
    path = folder / name
    path.write_bytes(content)
    return path


def random_numbers(rng: np.random.Generator, n: int, power: float) -> list[str]:
    return [f"{v:.6g}" for v in rng.normal(5, 1, n) * 10.0**power]


def _pipe(folder: Path, rng: np.random.Generator) -> Path:
    os.mkfifo(folder / "t.csv")
    return folder / "t.csv"


def _socket(folder: Path, rng: np.random.Generator) -> Path:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path may have 107 characters
        listener.bind("s")
        os.chdir(here)
    return path


def _there(path: str) -> Build:
    return lambda _folder, _rng: Path(path)


def _link(to: str) -> Build:
    def build(folder: Path, rng: np.random.Generator) -> Path:
        (folder / "t.csv").symlink_to(to)
        return folder / "t.csv"

    return build


def _folder(folder: Path, rng: np.random.Generator) -> Path:
    (folder / "t.parquet").mkdir()
    return folder / "t.parquet"


def _wide(n_columns: int) -> Build:
    def build(folder: Path, rng: np.random.Generator) -> Path:
        names = [f"c{i}" for i in range(n_columns)] + [TARGET]
        values = rng.normal(size=(N_ROWS, n_columns + 1)).round(3).astype(str)
        return write(folder, rows_to_csv(names, values.tolist()))

    return build


def _fuzzed(seed: int) -> Build:
    """A table drawn at random from pools of what cells and names may be."""

    def build(folder: Path, rng: np.random.Generator) -> Path:
        own = np.random.default_rng(seed)
        n_rows = int(own.choice([1, 2, 9, 40, 120, 400]))
        columns: dict[str, list[str]] = {}
        for _ in range(int(own.integers(1, 9))):
            columns[str(own.choice(NAME_POOL))] = _fuzzed_column(own, n_rows)
        columns[TARGET] = (
            _fuzzed_column(own, n_rows) if own.random() < 0.2 else random_numbers(own, n_rows, 0)
        )
        return write(folder, to_csv(columns, str(own.choice([",", ";", "\t", "|"]))))

    return build


def _fuzzed_column(rng: np.random.Generator, n_rows: int) -> list[str]:
    pool = rng.choice(np.array(CELL_POOL, dtype=object), int(rng.integers(1, 12)))
    kinds: list[Callable[[], list[str]]] = [
        lambda: [str(cell) for cell in rng.choice(pool, n_rows)],
        lambda: random_numbers(rng, n_rows, float(rng.integers(-40, 40))),
        lambda: [str(v) for v in rng.integers(0, 30, n_rows)],
        lambda: [str(v) for v in rng.permutation(n_rows * 3)[:n_rows]],
        lambda: [f"{v:.2f}".replace(".", ",") for v in rng.normal(size=n_rows)],
        lambda: [f"L{v}" for v in rng.integers(0, 300, n_rows)],
    ]
    cells = kinds[int(rng.integers(len(kinds)))]()
    for row in np.flatnonzero(rng.random(n_rows) < rng.choice([0, 0.05, 0.3])):
        cells[row] = str(rng.choice(pool))
    return cells


def _mutated(seed: int) -> Build:
    """A good CSV with bytes changed, cut out and doubled."""

    def change(raw: bytes) -> bytes:
        own = np.random.default_rng(seed)
        out = bytearray(raw)
        for _ in range(int(own.integers(1, 12))):
            place = int(own.integers(len(out)))
            match int(own.integers(4)):
                case 0:
                    out[place] = int(own.integers(256))
                case 1:
                    del out[place : place + int(own.integers(1, 60))]
                case 2:
                    out[place:place] = out[place : place + int(own.integers(1, 90))]
                case _:
                    out[place:place] = own.choice(
                        [b'"', b"\n", b"\r", b",", b"\x00", b"\xff", b'""']
                    )
        return bytes(out)

    return changed(change)


NAME_POOL = (
    *(
        "a",
        "b",
        "rate [/min]",
        "[bold]",
        "x.y",
        "a=b",
        "a,b",
        "zip",
        "school_id",
        "ID",
        "null",
        "yes",
        "1",
        "- a",
        "? b",
        "# c",
    ),
    *(
        "{a}",
        "[a]",
        "a: b",
        "'",
        '"',
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a`",
        "ü",
        "日本",
        "a b",
        " a",
        "a ",
        "~",
        "0x1",
        "1e3",
        ".5",
    ),
)
CELL_POOL = (
    *(
        "",
        "0",
        "1",
        "-1",
        "1e5",
        "1e400",
        "-1e400",
        "inf",
        "-inf",
        "nan",
        "NaN",
        "None",
        "NA",
        "null",
        "?",
        "-",
        "1e-320",
        "1e300",
    ),
    *(
        "9223372036854775807",
        "18446744073709551616",
        "1" * 40,
        "1_000",
        "0x1f",
        "1,5",
        "1.234,5",
        "1,234.5",
        "1 234",
        "12 %",
        "$5",
    ),
    *(
        "[red]",
        "[/red]",
        "\x1b[31mred",
        "a\nb",
        "a\tb",
        "ü",
        "日本",
        "\u202eabc",
        "\u2028",
        "yes",
        "no",
        "true",
        "2012-01-01",
        "01.02.2012",
    ),
    *(
        "<script>",
        "=1+1",
        "a" * 3000,
        " ",
        "  x ",
        '"',
        "'",
        "\\",
        "\x7f",
        "\U0001f600",
        "1.",
        ".5",
        "+5",
        "--5",
        "5e",
        "00501",
    ),
)

NAMES: dict[str, str] = {
    "markup": "rate [/min]",
    "bold": "[bold]",
    "closing": "[/]",
    "link": "[link=http://example.org]x[/link]",
    "emoji": ":smile:",
    "line feed": "a\nb",
    "carriage return": "a\rb",
    "tab": "a\tb",
    "U+2028": "a\u2028b",
    "U+2029": "a\u2029b",
    "next line": "a\u0085b",
    "bell": "a\x07b",
    "escape": "\x1b[2J\x1b[31mred",
    "OSC": "\x1b]0;title\x07",
    "C1": "\x9b31m",
    "delete": "a\x7f",
    "right to left": "\u202etxet",
    "isolate": "a\u2066b",
    "zero width": "a\u200bb",
    "2,000 characters": "n" * 2000,
    "150 characters": "n" * 150,
    "empty": "",
    "blank": "   ",
    "equals": "a=b",
    "dot": "a.b.c",
    "braces": "{a: b}",
    "colon": "a: b",
    "hash": "# a",
    "null": "null",
    "number": "1",
    "true": "true",
    "quote": 'a"b',
    "apostrophe": "it's",
    "backslash": "a\\b",
    "slash": "../a/b",
    "percent": "%s %d {0}",
    "dollar": "$HOME $(id)",
    "emoji itself": "\U0001f600",
    "combining": "e\u0301",
    "merge key": "<<",
    "tilde": "~",
    "asterisk": "*a",
    "name of ours": "__missing",
    "name of a flag beside": "x__missing",
    "prediction": "prediction",
    "row": "row",
    "comma": "a,b",
    "html": "<script>alert(1)</script>",
    "pipe": "a|b",
    "dollar math": "$x^2$ $\\frac{a}",
    "underscore": "_a",
    "leading blank": " a",
}
FEATURE_CELLS: dict[str, list[str]] = {
    "1e400": ["1e400"],
    "inf": ["inf", "-inf"],
    "Infinity": ["Infinity"],
    "nan": ["nan"],
    "1e300": ["1e300"],
    "1e-320": ["1e-320"],
    "2**63": ["9223372036854775807", "9223372036854775808"],
    "400 digits": ["1" * 400],
    "hexadecimal": ["0x1f"],
    "underscored": ["1_000"],
    "blanks": [" 5", "5 "],
    "markup": ["[red]5", "[/]"],
    "escape": ["\x1b[31m5"],
    "line feed": ["5\n6"],
    "quote": ['5"'],
    "full-width": ["\uff15"],
    "Arabic": ["\u0665"],
    "minus sign": ["\u22125"],
    "lone surrogate": ["\ud800"],
}
PARQUET: dict[str, Callable[[np.random.Generator, int], pa.Array]] = {
    "struct": lambda _, n: pa.array([{"a": i} for i in range(n)]),
    "list": lambda _, n: pa.array([[i, i] for i in range(n)]),
    "empty list": lambda _, n: pa.array([[] for _ in range(n)], pa.list_(pa.int64())),
    "map": lambda _, n: pa.array([[("a", i)] for i in range(n)], pa.map_(pa.string(), pa.int64())),
    "list of structs": lambda _, n: pa.array([[{"a": i}] for i in range(n)]),
    "decimal": lambda _, n: pa.array([Decimal(i) / 8 for i in range(n)]),
    "decimal256": lambda _, n: pa.array(
        [Decimal(10) ** 50 + i for i in range(n)], pa.decimal256(60, 2)
    ),
    "bytes": lambda _, n: pa.array([bytes([i % 7]) for i in range(n)]),
    "fixed bytes": lambda _, n: pa.array([bytes([i % 7, 1]) for i in range(n)], pa.binary(2)),
    "date": lambda _, n: pa.array(range(n), pa.date32()),
    "time": lambda _, n: pa.array(range(n), pa.time64("us")),
    "timestamp": lambda _, n: pa.array(range(n), pa.timestamp("ns", "Europe/Berlin")),
    "far timestamp": lambda _, n: pa.array([2**62 - i for i in range(n)], pa.timestamp("us")),
    "duration": lambda _, n: pa.array(range(n), pa.duration("s")),
    "null": lambda _, n: pa.nulls(n),
    "half": lambda r, n: pa.array(r.normal(size=n).astype(np.float16)),
    "uint64": lambda _, n: pa.array([2**64 - 1 - i for i in range(n)], pa.uint64()),
    "int64": lambda _, n: pa.array([2**63 - 1 - i for i in range(n)], pa.int64()),
    "int64 both ends": lambda _, n: pa.array(
        [(-1) ** i * (2**62 + i) for i in range(n)], pa.int64()
    ),
    "int64 few": lambda r, n: pa.array((2**62 + r.integers(0, 5, n)).tolist(), pa.int64()),
    "boolean": lambda r, n: pa.array([None if v == 2 else bool(v) for v in r.integers(0, 3, n)]),
    "large text": lambda r, n: pa.array(r.choice(["a", "b"], n).tolist(), pa.large_string()),
    "dictionary of numbers": lambda r, n: pa.array(r.integers(0, 5, n)).dictionary_encode(),
    "dictionary of text": lambda r, n: pa.array(
        r.choice(["a", "b"], n).tolist()
    ).dictionary_encode(),
    "dictionary of bytes": lambda r, n: pa.array(
        [bytes([v]) for v in r.integers(0, 3, n)]
    ).dictionary_encode(),
    "infinite": lambda r, n: pa.array([np.inf, -np.inf, *r.normal(size=n - 2)]),
    "NaN": lambda r, n: pa.array([np.nan, None, *r.normal(size=n - 2)]),
}
NOTES: dict[str, bytes] = {
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "a list": b"[]",
    "null": b"null",
    "a number": b"5",
    "index not there": json.dumps({"index_columns": ["nope"], "columns": []}).encode(),
    "index of numbers": json.dumps({"index_columns": [1, None], "columns": [1]}).encode(),
    "no columns": json.dumps({"index_columns": []}).encode(),
    "range without ends": json.dumps({"index_columns": [{"kind": "range"}], "columns": []}).encode(),
    "endless range": json.dumps(
        {"index_columns": [{"kind": "range", "start": 0, "stop": 10**18, "step": 1, "name": None}], "columns": []}
    ).encode(),
    "strange types": json.dumps(
        {
            "index_columns": [],
            "column_indexes": [{"name": None, "pandas_type": "datetime", "numpy_type": "M8[ns]", "metadata": None}],
            "columns": [{"name": "x", "field_name": "x", "pandas_type": "nope", "numpy_type": "nope", "metadata": {}}],
        }
    ).encode(),
    "every column an index": json.dumps({"index_columns": ["x", "z", "colour", TARGET], "columns": []}).encode(),
    "nested": b"[" * 3000,
}  # fmt: skip
TARGETS: dict[str, Callable[[np.random.Generator, int], list[str]]] = {
    "1e300": lambda r, n: random_numbers(r, n, 300),
    "1e-300": lambda r, n: random_numbers(r, n, -300),
    "1e38": lambda r, n: random_numbers(r, n, 38),
    "1e-20": lambda r, n: random_numbers(r, n, -20),
    "1e20": lambda r, n: random_numbers(r, n, 20),
    "one is 1e400": lambda r, n: ["1e400", *random_numbers(r, n - 1, 0)],
    "one is 1e25": lambda r, n: ["1e25", *random_numbers(r, n - 1, 0)],
    "far from zero": lambda r, n: [f"{1e9 + v:.9f}" for v in r.normal(0, 1e-4, n)],
    "near 2**63": lambda r, n: [str(2**63 - 1 - int(v)) for v in r.integers(0, 10**6, n)],
    "spread over int64": lambda r, n: [str(int(v)) for v in r.integers(-(2**62), 2**62, n)],
    "constant": lambda _, n: ["5"] * n,
    "two values": lambda r, n: [str(v) for v in r.integers(0, 2, n)],
    "text": lambda _, n: ["a"] * n,
    "all missing": lambda _, n: [""] * n,
    "mostly missing": lambda r, n: [*random_numbers(r, 5, 0), *[""] * (n - 5)],
    "decimal commas": lambda r, n: [f"{v:.2f}".replace(".", ",") for v in r.normal(5, 1, n)],
    "dates": lambda _, n: [f"2012-01-{i % 28 + 1:02}" for i in range(n)],
}
COLUMNS: dict[str, Callable[[np.random.Generator, int], list[str]]] = {
    "decimal commas": lambda r, n: [f"{v:.2f}".replace(".", ",") for v in r.normal(5, 1, n)],
    "European": lambda r, n: [
        f"{v:,.2f}".translate(str.maketrans(",.", ".,")) for v in r.normal(5e4, 1e4, n)
    ],
    "American": lambda r, n: [f"{v:,.2f}" for v in r.normal(5e4, 1e4, n)],
    "percent": lambda r, n: [f"{v:.1f} %" for v in r.normal(50, 9, n)],
    "dollars": lambda r, n: [f"${v:.2f}" for v in r.normal(50, 9, n)],
    "slashed dates": lambda _, n: [f"2012/{i % 12 + 1:02}/{i % 28 + 1:02}" for i in range(n)],
    "American dates": lambda _, n: [f"Jan {i % 28 + 1:02}, 2012" for i in range(n)],
    "many levels": lambda r, n: [f"L{v}" for v in r.integers(0, n // 2, n)],
    "all different": lambda _, n: [f"text {i}" for i in range(n)],
    "tiny": lambda r, n: random_numbers(r, n, -310),
    "small": lambda r, n: random_numbers(r, n, -200),
    "huge": lambda r, n: random_numbers(r, n, 200),
    "nearly alike": lambda r, n: [f"{1 + v * 1e-16:.20f}" for v in r.integers(0, 3, n)],
    "markup levels": lambda r, n: r.choice(["[red]", "[/red]", "[", "]", "[/]"], n).tolist(),
    "steering levels": lambda r, n: r.choice(["\x1b[2J", "a\nb", "\u202e", "\x9b"], n).tolist(),
    "other": lambda r, n: r.choice(["other", "None", "nan", ""], n).tolist(),
    "blanks": lambda r, n: r.choice(["a", " a", "a ", " "], n).tolist(),
    "one level but once": lambda _, n: ["b", *["a"] * (n - 1)],
    "long cells": lambda r, n: ["v" * int(k) for k in r.integers(1, 3000, n)],
    "codes": lambda r, n: [f"{v:05}" for v in r.integers(0, 40, n)],
    "20 digits": lambda r, n: [f"1234567890123456{v:04}" for v in r.integers(0, 20, n)],
    "row numbers": lambda _, n: [str(3 * i) for i in range(n)],
}
FORMS: dict[str, Build] = {
    "empty": changed(lambda _: b""),
    "a blank": changed(lambda _: b" \n"),
    "only a header": changed(lambda raw: raw.split(b"\n")[0] + b"\n"),
    "one row": changed(lambda raw: b"\n".join(raw.split(b"\n")[:2]) + b"\n"),
    "five rows": changed(lambda raw: b"\n".join(raw.split(b"\n")[:6]) + b"\n"),
    "no header": changed(lambda raw: raw.split(b"\n", 1)[1]),
    "byte order mark": changed(lambda raw: b"\xef\xbb\xbf" + raw),
    "UTF-16": changed(lambda raw: raw.decode().encode("utf-16")),
    "latin-1": changed(lambda raw: raw.replace(b"red", b"r\xe9d")),
    "NUL bytes": changed(lambda raw: raw.replace(b"red", b"r\x00d")),
    "carriage returns": changed(lambda raw: raw.replace(b"\n", b"\r")),
    "Windows": changed(lambda raw: raw.replace(b"\n", b"\r\n")),
    "open quote": changed(lambda raw: raw.replace(b"red", b'"red', 1)),
    "open quote in header": changed(lambda raw: b'"' + raw),
    "ragged": changed(lambda raw: raw.replace(b"\n", b",1\n", 5)),
    "short rows": changed(lambda raw: raw.replace(b",yes", b"")),
    "blank lines": changed(lambda raw: raw.replace(b"\n", b"\n\n")),
    "twice a name": changed(lambda raw: raw.replace(b"x,z", b"x,x", 1)),
    "two without a name": changed(lambda raw: raw.replace(b"x,z", b",", 1)),
    "target twice": changed(lambda raw: raw.replace(b"x,z", b"x,y", 1)),
    "gzip": changed(gzip.compress, "t.csv.gz"),
    "cut gzip": changed(lambda raw: gzip.compress(raw)[:-200], "t.csv.gz"),
    "gzip cut in its head": changed(lambda raw: gzip.compress(raw)[:5], "t.csv.gz"),
    "damaged gzip": changed(lambda raw: gzip.compress(raw)[:100] + b"\xff" * 50 + gzip.compress(raw)[150:], "t.csv.gz"),
    "gzip and more": changed(lambda raw: gzip.compress(raw) + b"rubbish", "t.csv.gz"),
    "a bomb": changed(lambda raw: gzip.compress(raw + b"1,2,red,yes,3\n" * 20_000_000, 9), "t.csv.gz"),
    "zip": changed(lambda _: b"PK\x03\x04" + b"\x00" * 500, "t.xlsx"),
    "HTML": changed(lambda _: b"<!doctype html><html><body>Not found, sorry</body></html>"),
    "JSON": changed(lambda _: json.dumps([{"x": 1, TARGET: 2}] * 50).encode(), "t.json"),
    "random bytes": changed(lambda _: np.random.default_rng(0).bytes(5000)),
    "CSV named Parquet": changed(lambda raw: raw, "t.parquet"),
    "a cell of 10 MB": changed(lambda raw: raw.replace(b"red", b"r" * 10_000_000, 1)),
    "a name of 10 MB": changed(lambda raw: b"x" * 10_000_000 + raw),
    "20,000 empty columns": changed(lambda raw: raw.replace(b"\n", b"," * 20_000 + b"\n")),
    "5,000 columns": _wide(5000),
    "600 columns": _wide(600),
    "a pipe": _pipe,
    "a socket": _socket,
    "a folder": _folder,
    "/dev/zero": _there("/dev/zero"),
    "/dev/full": _there("/dev/full"),
    "/dev/null": _there("/dev/null"),
    "/dev/stdin": _there("/dev/stdin"),
    "/proc/self/mem": _there("/proc/self/mem"),
    "/proc/self/maps": _there("/proc/self/maps"),
    "nothing": _there("/no/such/file.csv"),
    "below a file": _there("/etc/passwd/t.csv"),
    "no such user": _there("~nosuchuser/t.csv"),
    "a path of 5,000 characters": _there("/" + "p" * 5000),
    "a link to a device": _link("/dev/zero"),
    "a link in a circle": _link("t.csv"),
    "no Parquet": changed(lambda _: b"PAR1", "t.parquet"),
    "cut Parquet": changed(lambda _: b"PAR1" + b"\x00" * 90 + b"PAR1", "t.parquet"),
}  # fmt: skip


def cases() -> Iterator[tuple[str, Build]]:
    """Each case by name."""
    groups: list[tuple[str, dict[str, Build]]] = [
        ("name", {key: named(name) for key, name in NAMES.items()}),
        ("cells", {key: valued("z", cells) for key, cells in FEATURE_CELLS.items()}),
        ("column", {key: filled("z", make) for key, make in COLUMNS.items()}),
        ("semicolons", {key: filled("z", make, delimiter=";") for key, make in COLUMNS.items()}),
        ("target", {key: filled(TARGET, make) for key, make in TARGETS.items()}),
        ("form", FORMS),
        ("Parquet", {key: arrow("w", values) for key, values in PARQUET.items()}),
        ("notes", {key: with_notes(notes) for key, notes in NOTES.items()}),
        ("damaged Parquet", {str(seed): damaged_parquet(seed) for seed in range(6)}),
        ("mutated", {str(seed): _mutated(seed) for seed in range(24)}),
        ("fuzzed", {str(seed): _fuzzed(seed) for seed in range(24)}),
    ]
    for group, builds in groups:
        for key, build in builds.items():
            yield f"{group}: {key}", build
