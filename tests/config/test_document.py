import yaml
from hypothesis import given
from hypothesis import strategies as st

from studperf.config.document import read_dataset, write_document, write_inline, write_key

PARTS = (
    *(
        "${",
        "}",
        "$",
        "\\",
        ":",
        "'",
        '"',
        " ",
        "\n",
        "\r",
        "\t",
        "?",
        ",",
        "#",
        "1e",
        "3",
        "_",
        "-",
    ),
    *("null", "yes", "@", "%", "!", "&", "*", "|", ">", "[", "]", "{", "\u2028", "\x85", "\x00"),
    *("\x1b", "\xe9", ".5", "nan", "---", "...", "oc.env:PLANTED", "x" * 600),
)
TEXTS = st.lists(st.sampled_from(PARTS), max_size=6).map("".join)


@given(name=TEXTS, level=TEXTS)
def test_whatever_a_table_holds_comes_back_as_it_was(name: str, level: str) -> None:
    plain = {"columns": {name: {"levels": [level, "b"], "why": level}}, "target": {"unit": level}}
    assert read_dataset(write_document(plain)) == plain
    line = f"  {write_key(name, indent='  ')}: {write_inline(plain['columns'][name])}"
    text = f"columns:\n{line}\ntarget: {write_inline(plain['target'])}\n"
    assert read_dataset(text) == plain


def test_what_is_a_number_to_hydra_alone_is_quoted() -> None:
    assert write_inline(["1e3", "plain", "12", 12]) == "['1e3', plain, '12', 12]"


def test_text_without_references_is_the_yaml_of_everybody() -> None:
    plain = {"a": ["x y", "\\ and $", 1.5, None, True], "b": {"c": "\u00e9"}}
    assert yaml.safe_load(write_document(plain)) == plain
