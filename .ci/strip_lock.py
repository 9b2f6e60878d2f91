"""Takes every download address out of a uv.lock read from stdin; names, versions and edges stay.

The lock file is committed without addresses, so that it resolves through whatever index a user's uv is set up with. uv finds a lock
without metadata, resolves again with the recorded versions as preferences, and completes the file on disk. As a git clean filter
(`make setup` installs it, `.gitattributes` names it), the completed file on disk counts as unchanged.
"""

import re
import sys

text = sys.stdin.read()
text = re.sub(r"^sdist = .*\n", "", text, flags=re.MULTILINE)
text = re.sub(r"^wheels = \[\n(?:    .*\n)*\]\n", "", text, flags=re.MULTILINE)
text = re.sub(r'registry = "https?://[^"]*"', 'registry = "index"', text)
text = re.sub(r"^\[package\.metadata[^\]]*\]\n(?:(?!\[).*\n)*", "", text, flags=re.MULTILINE)
sys.stdout.write(text)
