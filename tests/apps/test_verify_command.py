"""`medloupe verify`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Medloupe

BOX = [55, 75, 105, 125]
"""Round the disc of 20 mm (40 px)."""


def claims_file(folder: Path, *claims: dict[str, object]) -> Path:
    path = folder / "claims.json"
    path.write_text(json.dumps({"claims": [{"id": f"c{n}", **claim} for n, claim in enumerate(claims, 1)]}))
    return path


def test_claims_become_verdicts(disc_ct: Path, here: Path, medloupe: Medloupe) -> None:
    claim = {"attribute": "long_axis", "unit": "mm", "region": {"box": BOX}}
    path = claims_file(here, {**claim, "value": 20}, {**claim, "value": 30}, {"attribute": "aura", "value": "odd"})
    ended = medloupe("verify", disc_ct, "--claims", path, "--out", "verdicts.json")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[0] == "1 supported, 1 refuted, 1 undetermined: verdicts.json"
    written = json.loads((here / "verdicts.json").read_text())
    assert {"verdicts", "unparsed"} <= set(written)
    assert [v["verdict"] for v in written["verdicts"]] == ["supported", "refuted", "undetermined"]
    assert set(written["verdicts"][1]) == {
        "id", "claim", "source_text", "verdict", "reason", "measured", "unit", "method", "independent", "numbers",
    }  # fmt: skip


def test_sentences_are_read_and_checked_and_printed(disc_ct: Path, medloupe: Medloupe) -> None:
    ended = medloupe("verify", disc_ct, "--text", "A round lesion of 30 mm.", "--box", "55,75,105,125")
    assert ended.returncode == 0, ended.stderr
    verdicts = {v["claim"]: v["verdict"] for v in json.loads(ended.stdout)["verdicts"]}
    assert verdicts["lesion: long axis 30 mm"] == "refuted"


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("--claims", "absent.json"), ("--claims", "bad.json"), ("--text", "a", "--claims", "bad.json"),
        ("--text", "A lesion.", "--box", "1,2,3"), ("--text", "A lesion.", "--box", "5,5,5,9"),
        ("--text", "A round lesion.", "--out", "no/such/folder.json"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_one_line_and_exit_2(
    disc_ct: Path, here: Path, medloupe: Medloupe, arguments: tuple[str, ...]
) -> None:
    (here / "bad.json").write_text('{"claims": [{"id": "c1"}]}')
    ended = medloupe("verify", disc_ct, *arguments)
    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.splitlines()) == 1 and ended.stderr.startswith("medloupe: ")
    assert ended.stdout == ""
