"""The changelog's words on one version, once the tag, the package and the changelog were seen to agree.

python .ci/release_notes.py v1.2.3 --out notes.md
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def read_notes(tag: str, changelog: str, version: str) -> str:
    """The section of a version.

    Raises:
        ValueError: the tag is not the package's version, or the changelog does not speak of it.
    """
    if tag != f"v{version}":
        raise ValueError(
            f"the tag is {tag!r}, and pyproject.toml says version {version}: they must be v{version} and {version}"
        )
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    for section in sections:
        heading, _, text = section.partition("\n")
        if heading.split(" ")[0].strip("[]") == version:
            return text.strip() + "\n"
    raise ValueError(f"CHANGELOG.md has no heading '## {version}'; rename '## Unreleased' to it")


def main() -> int:
    """Writes the notes; 2 if there is nothing to release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tag")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    try:
        notes = read_notes(given.tag, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    given.out.write_text(notes, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
