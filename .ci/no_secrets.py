"""Refuses files that hold a key: exit code 1, with the file, the line and the kind, and never the key itself.

python .ci/no_secrets.py FILE ...
"""

import re
import sys
from pathlib import Path

KINDS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a service account's key file": r'"private_key_id"\s*:\s*"[0-9a-f]{20,}"',
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a Google OAuth token": r"\bya29\.[0-9A-Za-z_-]{20,}",
    "a GitHub token": r"\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{50,})\b",
    "a W&B key": r"(?i)wandb_?api_?key\W{1,4}[0-9a-f]{40}\b",
    "a password in an address": r"\b[a-z][a-z0-9+]*://[^\s:/@{}$<>]+:(?!\.\.\.)[^\s/@{}$<>]{6,}@(?!127\.0\.0\.1)[\w-]+\.[\w.-]+",
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in KINDS.items()}


def find_secrets(text: str) -> list[tuple[int, str]]:
    """(line, kind) of each key in a text."""
    return [
        (n, kind)
        for n, line in enumerate(text.splitlines(), start=1)
        for kind, pattern in _PATTERNS.items()
        if pattern.search(line)
    ]


def main(names: list[str]) -> int:
    """Looks through files; those that are no text hold none."""
    found = 0
    for name in names:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        for line, kind in find_secrets(text):
            found += 1
            sys.stderr.write(
                f"{name}:{line}: looks like {kind}. If it was ever committed or shown, it is burnt: revoke it first.\n"
            )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
