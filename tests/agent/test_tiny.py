"""The agent with loupe-tiny's own prompts: it searches tiles, zooms, describes, and gives lengths the image's units.

The replies are scripted from a phantom's truth: what is tested is how they are asked for and what becomes of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from medloupe import Budget, Resources, ScriptedVLM, make_graph
from medloupe.agent.resources import load_default_segmenter
from medloupe.evals.phantoms import Order, read_truth, write_phantom
from medloupe.evals.phantoms.truth import LesionTruth
from medloupe.models.tiny.language import description, location
from medloupe.types import Answer, BoundingBox

SEED = 1_100_004


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> tuple[Path, LesionTruth]:
    """A radiograph and its largest opacity."""
    for seed in range(SEED, SEED + 20):
        folder = tmp_path_factory.mktemp("phantom")
        truth = read_truth(write_phantom(folder, Order(kind="cxr"), seed)[0]).images[0]
        large = [x for x in truth.lesions if x.long_axis_px > 60]
        if large:
            return folder / truth.file, large[0]
    raise AssertionError("no phantom with a large opacity")


def script(lesion: LesionTruth, asked: list[str]):
    """Points at the lesion on the first picture that it is shown, and describes it."""
    side = 2048

    def say(request) -> str:
        words = request.messages[0].parts[1]
        asked.append(words)
        if "Where to look" in words:
            first = sum("Where to look" in w for w in asked) == 1
            return location([tuple(v / side for v in lesion.box)] if first else [], lesion.finding)
        if "Describe" in words:
            x0, y0, x1, y1 = lesion.box
            size = lesion.long_axis_px * 0.45 / max(x1 - x0, y1 - y0)
            return description(lesion.finding, lesion.attributes, size=size, site=lesion.site)
        return "yes" if lesion.site in words or "present" in words else "no"

    return say


async def ask(study: Path, vlm: ScriptedVLM, **options) -> Answer:
    graph = make_graph(Resources(vlm=vlm, **options))
    return (await graph.ainvoke({"study": str(study), "question": "Is there an opacity?"}))["answer"]


async def test_it_searches_zooms_and_says_sizes_in_millimetres(phantom) -> None:
    file, lesion = phantom
    asked: list[str] = []
    answer = await ask(file, ScriptedVLM(script(lesion, asked), model="loupe-tiny"), verify=False)
    assert sum("Where to look" in words for words in asked) == 1 + 16
    zoom = answer.views[1]
    assert zoom.box.x0 <= lesion.box[0] and zoom.box.y1 >= lesion.box[3]
    assert zoom.box.width == pytest.approx(zoom.box.height, abs=1)
    said = {a.attribute: a for a in answer.observations[0].attributes}
    assert said["long_axis"].unit == "mm"
    assert said["long_axis"].value == pytest.approx(lesion.long_axis_mm, rel=0.15)  # the overview's box is coarse
    assert lesion.finding in answer.answer and f"{said['long_axis'].value:g} mm" in answer.answer
    assert len(asked) == 1 + 16 + 1
    (region,) = answer.regions  # the lesion's own place, not the close-up round it
    assert region.box.iou(BoundingBox.from_tuple(lesion.box)) > 0.6
    assert answer.views[1].region == region.id


async def test_the_search_leaves_calls_for_what_it_finds(phantom) -> None:
    """Three places are pointed at on the overview, and a cap leaves calls for two of them."""
    asked: list[str] = []
    boxes = [(0.1, 0.1, 0.2, 0.2), (0.4, 0.4, 0.5, 0.5), (0.7, 0.7, 0.8, 0.8)]

    def say(request) -> str:
        asked.append(request.messages[0].parts[1])
        if "Where" not in asked[-1]:
            return description("opacity", None)
        return location(boxes if len(asked) == 1 else [], "opacity")

    answer = await ask(phantom[0], ScriptedVLM(say, model="loupe-tiny"), verify=False, budget=Budget(calls=7))
    assert [("Where" in words) for words in asked] == [True] * 5 + [False] * 2
    assert any(warning.startswith("1 of the places pointed at") for warning in answer.warnings)


async def test_a_segmenter_tightens_a_coarse_box_and_draws_nothing_on_the_picture(phantom) -> None:
    segmenter, missing = load_default_segmenter()
    if segmenter is None:
        pytest.skip(missing[0])
    file, lesion = phantom
    true = BoundingBox.from_tuple(lesion.box)
    loose = true.grow(0.15, 0.0)
    asked: list[str] = []
    pointing = script(lesion.model_copy(update={"box": loose.as_tuple()}), asked)
    answer = await ask(file, ScriptedVLM(pointing, model="loupe-tiny"), verify=False, segmenter=segmenter)
    assert answer.views[1].overlay == "none"
    assert answer.regions[0].box.iou(true) > loose.iou(true)


async def test_statements_are_put_to_it_in_its_own_words(phantom) -> None:
    file, lesion = phantom
    asked: list[str] = []
    await ask(file, ScriptedVLM(script(lesion, asked), model="loupe-tiny"))
    probes = [words for words in asked if words.endswith("?") and "Where" not in words]
    assert any(f"margin {lesion.attributes['margin']}" in words for words in probes)
    assert all("mm" not in words for words in probes)


async def test_on_a_phantom_nothing_is_warned_of_and_on_another_image_it_is(phantom, tmp_path) -> None:
    import pydicom

    file, lesion = phantom
    ds = pydicom.dcmread(file)
    ds.ImageComments = ""
    ds.save_as(tmp_path / "real.dcm")
    vlm = lambda: ScriptedVLM(script(lesion, []), model="loupe-tiny")  # noqa: E731
    on_phantom, on_real = await ask(file, vlm(), verify=False), await ask(tmp_path / "real.dcm", vlm(), verify=False)
    assert not any("phantoms only" in w for w in on_phantom.warnings)
    assert any("loupe-tiny was trained on drawn phantoms only" in w for w in on_real.warnings)


async def test_a_lesion_free_search_says_that_nothing_was_pointed_at(phantom) -> None:
    answer = await ask(phantom[0], ScriptedVLM(lambda request: location([], "opacity"), model="loupe-tiny"))
    assert answer.abstained
    assert "pointed at no place" in answer.answer


async def test_an_unreadable_reply_is_told_and_is_no_finding(phantom) -> None:
    answer = await ask(phantom[0], ScriptedVLM(lambda request: "gibberish", model="loupe-tiny"))
    assert answer.abstained
    assert any("was not searched" in warning for warning in answer.warnings)
