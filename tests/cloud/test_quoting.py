"""Words on their way into a container: typed, packed, expanded by Vertex AI, unpacked."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from studperf.cloud.container.quoting import is_for_cloud, pack, unpack, words_for_container

ENVIRONMENT = {"HOME": "/root", "A": "expanded", "STUDPERF_STORAGE": "postgresql://secret"}
TYPED = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.text(
    "$()%{}A'\" \\\n=é\u20ac,[]:", max_size=30
)


def as_kubernetes(text: str) -> str:
    """$(NAME) is expanded, $$ is one $, wherever it stands."""
    return re.sub(
        r"\$\$|\$\((\w+)\)", lambda m: "$" if m[0] == "$$" else ENVIRONMENT.get(m[1], m[0]), text
    )


def as_documented(text: str) -> str:
    """$(NAME) is expanded, $$(NAME) is $(NAME), and any other $ stays."""
    return re.sub(r"\$(\$\(\w+\))|\$\((\w+)\)", lambda m: m[1] or ENVIRONMENT.get(m[2], m[0]), text)


@pytest.mark.parametrize("expand", [as_kubernetes, as_documented])
@given(word=TYPED)
@example(word="$(A)")
@example(word="$$(A)")
@example(word="a=${oc.env:HOME}$$")
@example(word="%24(A)")
@example(word="x='a b',\"c\"\n\t€")
@example(word="not-utf8=\udcff")
def test_a_word_arrives_as_it_was_typed_however_arguments_are_expanded(
    expand: Any, word: str
) -> None:
    assert unpack(expand(pack(word))) == word


@given(word=TYPED)
def test_what_is_sent_is_printable_and_gives_nothing_to_expand(word: str) -> None:
    assert re.fullmatch(r"[ -#%-~]*", pack(word))


@pytest.mark.parametrize(
    "word",
    [
        "model=mlp",
        "model.d_hidden=[64,32]",
        "data.source.path='a b.csv'",
        "+x={a: 1}",
        "optimizer.lr=1e-3,3e-3",
    ],
)
def test_usual_words_can_be_read_in_the_console(word: str) -> None:
    assert pack(word) == word


@pytest.mark.parametrize(
    ("words", "is_meant"),
    [
        (["cloud=vertex"], True),
        (["model=mlp", "+cloud=vertex"], True),
        (["cloud=vertex", "cloud=local"], False),
        (["cloud.workers=3"], False),
        (["data.name=cloud=vertex"], False),
        ([], False),
    ],
)
def test_a_job_is_asked_for_by_the_last_word_about_the_cloud(
    words: list[str], *, is_meant: bool
) -> None:
    assert is_for_cloud(words) is is_meant


def test_words_about_the_cloud_and_this_machine_stay_here() -> None:
    typed = [
        "model=mlp",
        "cloud=vertex",
        "cloud.secrets.A=b",
        "++cloud.workers=2",
        "runs=/home/me/runs",
        "data.name=cloud",
    ]
    assert words_for_container(typed) == ["model=mlp", "data.name=cloud"]
