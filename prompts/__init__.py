"""Prompt texts and medical knowledge, as files. Imports nothing of medloupe, so that every layer may read it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Prompt", "give", "knowledge", "prompt"]


@dataclass(frozen=True)
class Prompt:
    """A prompt template and its hash."""

    name: str
    text: str
    sha256: str

    def render(self, **values: object) -> str:
        """The prompt with its places filled; a missing place is an error."""
        return _compiled(self.text).render(**values).strip()


@cache
def _compiled(text: str) -> Template:
    """Compiling a template takes longer than anything else a request needs from us."""
    from jinja2 import Environment, StrictUndefined  # loaded late: what reads files needs knowledge only

    plain = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - text for a model, not HTML
    return plain.from_string(text)


@cache
def prompt(name: str) -> Prompt:
    """The template `prompts/<name>.md`."""
    text = (files("medloupe.prompts") / f"{name}.md").read_text("utf-8")
    return Prompt(name=name, text=text, sha256=hashlib.sha256(text.encode()).hexdigest())


_GIVEN: dict[str, dict[str, Any]] = {}


def give(tables: Mapping[str, dict[str, Any]]) -> None:
    """Have `knowledge` answer from what another process has read: parsing takes a process that just starts too long."""
    _GIVEN.update(tables)


@cache
def knowledge(name: str) -> dict[str, Any]:
    """The knowledge file `prompts/knowledge/<name>.yaml`."""
    if name in _GIVEN:
        return _GIVEN[name]
    import yaml

    loaded: dict[str, Any] = yaml.safe_load(
        (files("medloupe.prompts") / "knowledge" / f"{name}.yaml").read_text("utf-8")
    )
    return loaded
