"""YAML documents that OmegaConf reads back as the values that were written.

Hydra reads `conf/` with OmegaConf.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import yaml

from studperf.config.interpolation import escape, find_references, resolve, to_raw
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_BREAKS_LINE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
# A reader looks no further than 1,024 characters for the colon of a key.
_MAX_SIMPLE_KEY = 1000


class _Dumper(yaml.SafeDumper):
    """YAML dumper that also quotes texts that only OmegaConf takes for numbers, such as 1e3."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if _is_number(text) else None
    if _BREAKS_LINE.search(text):
        style = '"'  # the other styles write a break as it is, in which an indentation is lost
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_Dumper.add_representer(str, _represent_text)


def write_document(plain: Any) -> str:  # noqa: ANN401 - whatever YAML can hold
    """Return plain values as a YAML document, one key a line.

    Everything that OmegaConf would follow as a reference is escaped.
    """
    return yaml.dump(escape(plain), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def write_inline(value: Any) -> str:  # noqa: ANN401 - whatever YAML can hold
    """Return a plain value as YAML on one line, for the right of a key."""
    return _on_one_line(escape(value))


def write_key(name: str, *, indent: str = "") -> str:
    """Return a key of a block as YAML, without its colon.

    OmegaConf follows no reference in a key, so nothing is escaped.
    """
    key = _on_one_line(name)
    return key if len(key) < _MAX_SIMPLE_KEY else f"? {key}\n{indent}"


def _on_one_line(value: Any) -> str:  # noqa: ANN401 - whatever YAML can hold
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        sort_keys=False,
        width=float("inf"),  # by default lines are folded at 80 characters
        allow_unicode=True,
    )
    # PyYAML ends a single value with the mark of a document's end.
    return text.strip().removesuffix("...").strip()


def read_dataset(text: str) -> dict[str, Any]:
    """Return the values that Hydra reads from a dataset's YAML, before their shape is checked.

    Raises:
        ConfigError: a text in it is still a reference.
        YAMLError: it is no YAML.
    """
    from omegaconf import OmegaConf

    plain = yaml.load(text, _fast_loader())  # noqa: S506 - a safe loader
    # OmegaConf would change nothing, and take half a minute for 5,000 columns to find that out.
    if not any(mark in text for mark in ("$", "???")) and isinstance(plain, dict):
        return plain
    raw = {"data": to_raw(cast("DictConfig", OmegaConf.create(plain)))}
    if faults := find_references(raw):
        raise ConfigError("; ".join(map(str, faults)))
    return dict(resolve(raw)["data"])


@cache
def _fast_loader() -> type[Any]:
    """Return OmegaConf's YAML reader on top of libyaml, if libyaml is installed.

    The reader in Python takes 20 s for 5,000 columns.
    """
    from omegaconf._utils import get_yaml_loader

    slow: type[Any] = get_yaml_loader()
    if not hasattr(yaml, "CSafeLoader"):
        return slow

    class Loader(yaml.CSafeLoader):
        """YAML loader that distinguishes numbers from text as OmegaConf does."""

        yaml_implicit_resolvers = slow.yaml_implicit_resolvers

    return Loader
