"""`verify_claims`: claims of somebody else's, as a file, as Python and as a tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drawn import disc
from reader_script import write_ct

from medloupe import Resources, ScriptedVLM, averify_claims, verify_claims, verify_tool
from medloupe.agent.verifying import _tentative
from medloupe.errors import InputRejected, ReplyRefused, UserError
from medloupe.types import Verdict

DISC = {"box": [55, 75, 105, 125]}
"""Round a disc of 20 mm (40 px) at (80, 100), a little loose."""


@pytest.fixture
def study(ct_file: Path) -> Path:
    return ct_file


def check(study: Path, *claims: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Verdicts by id, as verdicts.json holds them."""
    given = [{"id": f"c{n}", **claim} for n, claim in enumerate(claims, 1)]
    found = verify_claims(study, given, resources=options.pop("resources", None) or Resources(), **options)
    return {verdict["id"]: verdict for verdict in json.loads(found.as_json())["verdicts"]}


@pytest.mark.parametrize(
    ("attribute", "value", "unit", "verdict"),
    [
        ("long_axis", 20, "mm", "supported"),
        ("long_axis", 2.0, "cm", "supported"),
        ("long_axis", 30, "mm", "refuted"),
        ("short_axis", 40, "px", "supported"),
        ("area", 314, "mm2", "supported"),
        ("site", "image left", "", "supported"),
        ("site", "image right", "", "refuted"),
        ("side", "right", "", "supported"),
        ("side", "left", "", "refuted"),
        ("intensity", "brighter", "", "supported"),
        ("intensity", "hypointense", "", "refuted"),
        ("density", "soft-tissue", "", "supported"),
        ("density", 60, "HU", "supported"),
        ("density", "fat", "", "refuted"),
        ("shape", "round", "", "supported"),
        ("shape", "irregular", "", "refuted"),
        ("fluffiness", "very", "", "undetermined"),
        ("shape", "tesseract", "", "undetermined"),
        ("long_axis", 20, "furlong", "undetermined"),
    ],
)
def test_a_claim_of_a_box_is_checked_in_the_pixels(
    study: Path, attribute: str, value: float | str, unit: str, verdict: str
) -> None:
    found = check(study, {"attribute": attribute, "value": value, "unit": unit, "region": DISC})["c1"]
    assert found["verdict"] == verdict, found
    assert found["reason"]
    assert {"claim", "source_text", "measured", "unit", "method", "independent"} <= set(found)


def test_the_unit_is_that_of_what_was_measured(study: Path) -> None:
    found = check(study, {"attribute": "long_axis", "value": 3, "unit": "cm", "region": DISC})["c1"]
    assert found["measured"] == pytest.approx(2.0, rel=0.1)
    assert found["unit"] == "cm" and found["claim"].endswith("long axis 3 cm") and found["source_text"].endswith("3 cm")


def test_things_are_counted_in_the_whole_image(tmp_path: Path) -> None:
    picture = np.full((256, 256), 200, np.uint8)
    for n in range(9):
        cv2.circle(picture, (45 + 80 * (n % 3), 45 + 80 * (n // 3)), 14, 60, -1)
    path = tmp_path / "cells.png"
    cv2.imwrite(str(path), picture)
    found = check(path, *({"attribute": "count", "value": number} for number in (9, 12, 6)))
    assert [verdict["verdict"] for verdict in found.values()] == ["supported", "refuted", "refuted"]


def test_a_mask_is_taken_as_it_is(study: Path, tmp_path: Path) -> None:
    mask = disc((256, 256), (180, 60), 10)
    cv2.imwrite(str(tmp_path / "m.png"), mask.astype(np.uint8) * 255)
    claim = {"attribute": "long_axis", "value": 10, "unit": "mm", "region": {"mask": "m.png"}}
    assert check(study, claim, folder=tmp_path)["c1"]["verdict"] == "supported"
    cv2.imwrite(str(tmp_path / "m.png"), np.zeros((256, 256), np.uint8))
    assert check(study, claim, folder=tmp_path)["c1"]["verdict"] == "undetermined"


@pytest.mark.parametrize("name", ["../m.png", "/etc/passwd", "link.png", "in/../../m.png", "C:\\m.png", "", "there\0"])
def test_a_mask_is_never_read_from_outside_the_folder(study: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    cv2.imwrite(str(tmp_path / "m.png"), np.full((256, 256), 255, np.uint8))
    (folder / "link.png").symlink_to(tmp_path / "m.png")
    with pytest.raises(InputRejected, match="claims-mask"):
        check(study, {"attribute": "area", "value": 1, "region": {"mask": name}}, folder=folder)


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", '{"claims": {}}', '{"claims": [1]}', '{"claims": [{"id": "a"}]}',
        '{"claims": [{"id": "a", "attribute": "area", "value": NaN}]}',
        '{"claims": [{"id": "a", "attribute": "area", "value": null}]}',
        '{"claims": [{"id": "a", "attribute": "area", "value": 1, "region": {"box": [1, 2, 3]}}]}',
        '{"claims": [{"id": "a", "attribute": "area", "value": 1, "region": {"box": [5, 5, 5, 9]}}]}',
        '{"claims": [{"id": "a", "attribute": "area", "value": 1, "region": {"image": 4}}]}',
        '{"claims": [{"id": "a", "attribute": "area", "value": 1, "region": {"image": "1.2.3"}}]}',
        '{"claims": [{"id": "a", "attribute": "area", "value": 1, "region": {"frame": 7}}]}',
        '{"claims": [{"id": "a", "attribute": "area", "value": 1, "region": {"mask": "none.png"}}]}',
        '{"claims": [{"id": 1, "attribute": "area", "value": 1}, {"id": "1", "attribute": "area", "value": 2}]}',
    ],
)  # fmt: skip
def test_a_malformed_file_is_one_clear_line(study: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "claims.json"
    path.write_text(content)
    with pytest.raises(InputRejected) as raised:
        verify_claims(study, path, resources=Resources())
    assert "\n" not in str(raised.value) and str(tmp_path) not in str(raised.value)


def test_a_value_of_no_type_is_one_line_that_says_why_it_is_none(study: Path) -> None:
    given = [{"id": "c1", "region": DISC, "attribute": "long_axis", "value": float("inf"), "unit": "mm"}]
    with pytest.raises(InputRejected, match=r"at claims\.0\.value: .*boolean; or: .*finite number; or: .*string"):
        verify_claims(study, given)


def test_a_box_outside_the_image_decides_nothing(study: Path) -> None:
    claim = {"attribute": "area", "value": 1, "unit": "px2", "region": {"box": [900, 900, 950, 950]}}
    assert (
        check(study, claim, resources=Resources(vlm=ScriptedVLM({"probe": "yes"})))["c1"]["verdict"] == "undetermined"
    )


def test_images_are_named_by_uid_or_by_their_place(tmp_path: Path) -> None:
    for n, centre in enumerate(((64, 128), (192, 128))):
        values = np.full((256, 256), -100.0)
        values[disc(values.shape, centre, 20)] = 60
        write_ct(tmp_path / f"{n}.dcm", values)
    claim = {"attribute": "intensity", "value": "brighter"}
    with pytest.raises(InputRejected, match="which of the study's 2 images"):
        check(tmp_path, claim)
    boxes = ({"image": n, "box": box} for n in (0, 1) for box in ([40, 100, 90, 155], [168, 100, 218, 155]))
    found = [check(tmp_path, {**claim, "region": box})["c1"]["verdict"] for box in boxes]
    assert sorted(found[:2]) == sorted(found[2:]) == ["supported", "undetermined"] and found[0] != found[2]


def test_sentences_are_checked_in_a_box_or_in_the_one_region_that_stands_out(study: Path) -> None:
    text = "A round structure of 30 mm in the left part of the image, with frobnication."
    found = verify_claims(study, text=text, box=(55, 75, 105, 125), resources=Resources())
    assert [(c.attribute, c.verdict) for c in found.verdicts] == [
        ("shape", "supported"), ("long_axis", "refuted"), ("site", "supported")
    ]  # fmt: skip
    assert "frobnication" in found.unparsed


def test_without_a_vlm_presence_is_undetermined_and_with_one_it_is_probed(study: Path) -> None:
    claim = {"attribute": "presence", "value": True, "finding": "nodule", "region": DISC}
    assert check(study, claim)["c1"]["method"] == "none"

    def says(request: Any) -> str:
        return (
            "no" if " no " in f" {request.messages[-1].parts[-1]}" or "absent" in str(request.messages[-1]) else "yes"
        )

    probed = check(study, claim, resources=Resources(vlm=ScriptedVLM(says)))["c1"]
    assert probed["method"] == "probe" and probed["verdict"] in ("supported", "undetermined")
    failed = check(study, claim, resources=Resources(vlm=ScriptedVLM({"probe": ReplyRefused("declined")})))["c1"]
    assert failed["verdict"] == "undetermined" and "declined" in failed["reason"]


async def test_the_tool_answers_a_model_in_words_and_a_program_in_verdicts(study: Path) -> None:
    tool = verify_tool(study, resources=Resources())
    call = {"name": "verify", "id": "1", "type": "tool_call"}
    claims = [{"id": "c1", "attribute": "long_axis", "value": 30, "unit": "mm", "region": DISC}]
    message = await tool.ainvoke({**call, "args": {"claims": claims}})
    assert "refuted" in message.content and message.artifact.verdicts[0].verdict == "refuted"
    message = await tool.ainvoke({**call, "args": {"claims": [{"id": "c1"}]}})
    assert message.status == "error" and "malformed" in message.content


async def test_either_claims_or_a_text_is_given(study: Path) -> None:
    with pytest.raises(UserError, match="either claims or a text"):
        await averify_claims(study, resources=Resources())


def test_a_region_that_was_only_found_refutes_nothing_unless_its_outlines_agree() -> None:
    refuted = Verdict(
        claim="C1", verdict="refuted", reason="stated 30 px, measured 12 px", measured=12.0, unit="px",
        method="measured", independent=True, numbers={"agreement": 0.7},
    )  # fmt: skip
    doubted = _tentative(refuted)
    assert (doubted.verdict, doubted.measured, doubted.independent) == ("undetermined", 12.0, False)
    assert "another may be meant: give a box" in doubted.reason
    for kept in ({"numbers": {"agreement": 0.95}}, {"verdict": "supported"}, {"method": "rules"}):
        assert _tentative(refuted.model_copy(update=kept)) == refuted.model_copy(update=kept)
