"""Sizes as ranges, where another outline of the same thing gives another size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drawn import LESION, Say, disc

from medloupe.agent.describe import measured_sentence
from medloupe.tools.look import Loupe
from medloupe.tools.verify import MeasuredVerifier, Scene, bounds, with_ranges
from medloupe.types import Mask, Region, StatedAttribute

Scenes = Callable[..., Scene]


def _outlined(radius: float, source: str = "proposal") -> Region:
    """The disc of 40 px (20 mm), as somebody outlined it that radius wide."""
    mask = Mask.from_array(disc((256, 256), (80, 100), radius))
    return LESION.model_copy(update={"mask": mask, "source": source})


@pytest.mark.parametrize(
    ("region", "said"),
    [(_outlined(20), 20.0), (_outlined(21.5), 21.5), (_outlined(26), "20.0..26.2"), (_outlined(16), "16.0..20.6"),
     (_outlined(34), 34.0), (_outlined(26, "person"), 26.0)],
    ids=["alike", "within readers' tolerance", "wide", "narrow", "another thing", "drawn by a person"],
)  # fmt: skip
def test_a_size_that_fresh_outlines_do_not_give_is_a_range(ct: Loupe, region: Region, said: float | str) -> None:
    found = with_ranges(ct.measure(region), region, ct).get("long_axis")
    assert found is not None and found.unit == "mm"
    if isinstance(said, float):
        assert found.value == pytest.approx(said, abs=0.6)
        return
    assert isinstance(found.value, str) and "several outlines" in found.method
    low, high = (float(end) for end in found.value.split(".."))
    assert (low, high) == pytest.approx(tuple(float(end) for end in said.split("..")), abs=0.6)


async def test_a_range_that_holds_the_measured_size_is_supported_and_one_beside_it_is_not(
    ct: Loupe, say: Say, scene: Scenes
) -> None:
    for value, verdict in (("18..26", "supported"), ("26..32", "refuted")):
        found = await MeasuredVerifier()(say("long_axis", value, "mm"), scene(ct))
        assert found is not None and found.verdict == verdict


def test_a_range_is_said_in_words() -> None:
    stated = StatedAttribute(attribute="long_axis", value="20..26", unit="mm")
    assert measured_sentence("R1", [stated]) == "R1: long axis 20 to 26 mm."


@pytest.mark.parametrize(
    ("written", "meant"),
    [("158..202", (158, 202)), ("1.23e+06..2.35e+06", (1.23e6, 2.35e6)), ("-3..2.5", (-3, 2.5)), (".5..1", (0.5, 1))],
)
def test_a_range_is_read_as_it_is_written(written: str, meant: tuple[float, float]) -> None:
    assert bounds(written) == meant
