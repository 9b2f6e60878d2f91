"""Words of a command line on their way into a container and out of it again: exactly as typed, whatever characters they hold.

Vertex AI expands `$(NAME)` in arguments, and how it reads `$$` is documented for `$$(NAME)` alone. So no `$` is sent at all: it goes as
%24, and so does all that is not printable ASCII. Most words have none of it and can be read in the console as they were typed.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterable
from urllib.parse import quote_from_bytes, unquote_to_bytes

_AS_IT_IS = "".join(
    sorted({*string.ascii_letters, *string.digits, *string.punctuation, " "} - {"$", "%"})
)
_HERE = ("runs",)
"""Keys that are about this machine: where runs lie, and where `fetch` puts them."""


def pack(word: str) -> str:
    """A word as an argument of a container."""
    return quote_from_bytes(os.fsencode(word), safe=_AS_IT_IS)


def unpack(argument: str) -> str:
    """The word that was packed."""
    return os.fsdecode(unquote_to_bytes(argument))


def key_of(word: str) -> str:
    """`model.dropout` for model.dropout=0.1, however it is written."""
    return word.partition("=")[0].lstrip("+~")


def is_for_cloud(words: Iterable[str]) -> bool:
    """Whether a command line asks for a job; the last word on it counts, as it does for Hydra."""
    asked = [word.partition("=")[2].strip("'\"") for word in words if key_of(word) == "cloud"]
    return bool(asked) and asked[-1] != "local"


def words_for_container(words: Iterable[str]) -> list[str]:
    """The words of the run itself. What they say of the cloud and of this machine is not for the container."""
    return [
        word
        for word in words
        if (key := key_of(word)).split(".")[0] != "cloud" and key not in _HERE
    ]
