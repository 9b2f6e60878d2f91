"""Words of a command line, packed for a container and unpacked in it exactly as typed.

Vertex AI expands `$(NAME)` in arguments, and how it reads `$$` is documented for `$$(NAME)` alone.
So no `$` is sent at all: it goes as %24, and so does all that is not printable ASCII. Most words
have none of it and can be read in the console as they were typed.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterable
from urllib.parse import quote_from_bytes, unquote_to_bytes

_PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
_AS_IT_IS = "".join(sorted(set(_PRINTABLE) - {"$", "%"}))
# Keys that are about this machine: where runs lie, and where `fetch` puts them.
_HERE = ("runs",)


def pack(word: str) -> str:
    """Return a word as an argument of a container."""
    return quote_from_bytes(os.fsencode(word), safe=_AS_IT_IS)


def unpack(argument: str) -> str:
    """Return the word that was packed."""
    return os.fsdecode(unquote_to_bytes(argument))


def key_of(word: str) -> str:
    """Return a word's key, such as model.dropout of +model.dropout=0.1."""
    return word.partition("=")[0].lstrip("+~")


def is_for_cloud(words: Iterable[str]) -> bool:
    """Return True if a command line asks for a job.

    The last word about it counts, as it does for Hydra.
    """
    place = "local"
    for word in words:
        if key_of(word) == "cloud":
            place = word.partition("=")[2].strip("'\"")
    return place != "local"


def words_for_container(words: Iterable[str]) -> list[str]:
    """Return the words of the run itself, without those about the cloud and this machine."""
    kept = []
    for word in words:
        key = key_of(word)
        is_about_cloud = key.split(".")[0] == "cloud"
        if not is_about_cloud and key not in _HERE:
            kept.append(word)
    return kept
