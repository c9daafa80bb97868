"""docs/attributes.md from the vocabulary: `python -m medloupe.tools.verify.attributes_doc docs/attributes.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medloupe.prompts import knowledge
from medloupe.tools.measure.vocabulary import findings

__all__ = ["render"]

_HEAD = """# What can be claimed, and how it is checked

Generated from `prompts/knowledge/*.yaml` by `make docs`; edit those, never this page. Prompts, the claim parser, the
verifiers and the benchmarks read the same files.

A word in a sentence is matched whole and without regard to case; "-" and " " are the same. Any word can be denied
("not round", "no", "without", "non-") and stated with doubt ("may represent"); negations listed here are those that
need no such word. "Measured" is checked against the pixels and the file's geometry, "probe only" by asking a model
about the claim and its twin. Whatever is not listed is "undetermined", with the reason, and never an error."""


def render() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD, *_attributes(), *_outline(), *_lidc(), *_skincon(), *_vindr(), *_findings()]
    return "\n\n".join(parts) + "\n"


def _attributes() -> Iterator[str]:
    yield "## Attributes"
    rows = [
        (f"`{name}`", entry["kind"], ", ".join(f"`{u}`" for u in entry["units"] if u), _modalities(entry), _how(entry))
        for name, entry in knowledge("attributes")["attributes"].items()
    ]
    yield _table(("attribute", "kind", "units", "modalities", "checked"), rows)
    for name, entry in knowledge("attributes")["attributes"].items():
        yield from _attribute(name, entry)


def _attribute(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{name}`"
    yield entry["definition"]
    said = [f"Also: {', '.join(entry['synonyms'])}."]
    if "called" in entry:
        said.append("By modality: " + ", ".join(f"{word} ({code})" for code, word in entry["called"].items()) + ".")
    yield " ".join(said)
    if "values" in entry:
        yield _table(
            ("value", "twin", "range", "synonyms", "negations"),
            [
                (f"`{value}`" + (" (probe only)" if about.get("zone") else ""), about["twin"], _range(about),
                 _listed(about), ", ".join(about.get("negations", ())))
                for value, about in entry["values"].items()
            ],
        )  # fmt: skip
    if "exclusive" in entry:
        yield "Not at once: " + ", ".join(" and ".join(pair) for pair in entry["exclusive"]) + "."
    if "thresholds" in entry:
        yield _thresholds(entry["thresholds"])


def _listed(about: Mapping[str, Any]) -> str:
    notes = {"structured": "in a structured reply", "in_picture": "in a colour picture"}
    more = [f"{note}: {', '.join(about[key])}" for key, note in notes.items() if key in about]
    return "; ".join([", ".join(about.get("synonyms", ())), *more]).strip("; ")


def _range(about: Mapping[str, Any]) -> str:
    limits = [f"{about['hu'][0]} to {about['hu'][1]} HU"] if "hu" in about else []
    return "; ".join([*limits, *([about["source"]] if "source" in about else [])])


def _thresholds(table: Mapping[str, Any]) -> str:
    return _table(("threshold", "value", "why"), [(f"`{n}`", f"{t['value']:g}", t["why"]) for n, t in table.items()])


def _outline() -> Iterator[str]:
    yield "## How far an outline is trusted"
    yield _thresholds(knowledge("attributes")["outline"])


def _lidc() -> Iterator[str]:
    yield "## LIDC-IDRI's nine characteristics"
    yield "Of nodules of 3 mm and more in CT, as readers scored them. Read in structured replies, by score or by word."
    for name, entry in knowledge("lidc")["characteristics"].items():
        yield f"### `{name}`"
        caution = f" {entry['caution']}" if "caution" in entry else ""
        yield f"`{entry['tag']}` in the XML, {entry['order']}. {entry['definition']}{caution}"
        yield _table(
            ("score", "word", "also states"),
            [(str(v["score"]), word, " ".join(v.get("means", ()))) for word, v in entry["values"].items()],
        )


def _skincon() -> Iterator[str]:
    yield "## SkinCon's 48 concepts"
    yield "Image-level, probe only. Synonyms and negations are those of what a concept states."
    values = knowledge("attributes")["attributes"]
    rows = []
    for concept, stated in knowledge("skincon")["concepts"].items():
        if "finding" in stated:
            rows.append((concept, f"`presence` of {stated['finding']}", *_spellings(findings()[stated["finding"]])))
        else:
            name, value = stated["value"]
            rows.append((concept, f"`{name}` {value}", *_spellings(values[name]["values"][value])))
    yield _table(("concept", "states", "synonyms", "negations"), rows)


def _vindr() -> Iterator[str]:
    yield "## VinDr-CXR's labels"
    yield "22 local ones with boxes, 6 global ones; presence is probe only."
    rows = []
    for kind in ("local", "global"):
        for label, stated in knowledge("vindr_cxr")[kind].items():
            known = [findings()[noun] for noun in stated["findings"]]
            synonyms, negations = (_joined(known, key) for key in ("synonyms", "negations"))
            rows.append((label, kind, " or ".join(stated["findings"]), synonyms, negations))
    yield _table(("label", "kind", "`presence` of", "synonyms", "negations"), rows)


def _findings() -> Iterator[str]:
    yield "## Nouns"
    yield "What `presence`, `count` and the rest are said of. Cells and nuclei are counted in the pixels."
    yield _table(
        ("noun", "synonyms", "negations"), [(noun, *_spellings(entry)) for noun, entry in findings().items()]
    )  # fmt: skip


def _spellings(entry: Mapping[str, Any]) -> tuple[str, str]:
    return (", ".join(entry["synonyms"]), ", ".join(entry.get("negations", ())))


def _joined(entries: Iterable[Mapping[str, Any]], key: str) -> str:
    return ", ".join(word for entry in entries for word in entry.get(key, ()))


def _modalities(entry: Mapping[str, Any]) -> str:
    return ", ".join(entry.get("modalities", ("all",)))


def _how(entry: Mapping[str, Any]) -> str:
    return "measured" if entry["measured"] else "probe only"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    cells.insert(1, ["---"] * len(cells[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), "utf-8")
