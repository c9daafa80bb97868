"""The look tools as an agent of LangChain's sees them."""

from __future__ import annotations

import pytest
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydicom.data import get_testdata_file

from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.look import LookBook, Loupe, look_tools
from medloupe.types import Measurement, Region, View


@pytest.fixture
def book(abdomen) -> LookBook:
    return LookBook(abdomen)


@pytest.fixture
def call(book):
    """Calls a tool as a model would; the whole ToolMessage comes back."""
    tools = {tool.name: tool for tool in look_tools(book.loupe, book)}

    def call(name: str, **arguments: object):
        return tools[name].invoke({"type": "tool_call", "id": "c1", "name": name, "args": arguments})

    return call


def test_every_tool_has_a_description_and_a_closed_schema_for_the_wire(abdomen):
    tools = look_tools(abdomen)
    assert [tool.name for tool in tools] == ["zoom", "segment", "crop", "window", "measure", "compare"]
    for tool in tools:
        function = convert_to_openai_tool(tool)["function"]
        assert function["description"] and function["parameters"]["type"] == "object"
    zoom = convert_to_openai_tool(tools[0])["function"]["parameters"]
    assert zoom["required"] == ["view", "box"]
    assert zoom["properties"]["box"]["minItems"] == 4 and "full image" in zoom["properties"]["box"]["description"]


def test_slice_is_offered_only_where_there_is_a_stack():
    store = MemoryStore()
    loupe = Loupe(load_study(get_testdata_file("SC_rgb_rle_2frame.dcm", download=False), store), store)
    tools = {tool.name: tool for tool in look_tools(loupe)}
    message = tools["slice"].invoke({"type": "tool_call", "id": "1", "name": "slice", "args": {"index": 1}})
    assert message.content.startswith("V1: slice of image 1, 512 x 512 pixels")
    assert message.artifact.kind == "slice"


def test_a_slice_may_name_a_plane(shared_data):
    store = MemoryStore()
    loupe = Loupe(load_study(shared_data / "mri_t1_dicom_studyforrest" / "stack_0150", store), store)
    tools = {tool.name: tool for tool in look_tools(loupe)}
    asked = {"index": 60, "plane": "sagittal"}
    message = tools["slice"].invoke({"type": "tool_call", "id": "1", "name": "slice", "args": asked})
    assert message.content.startswith("V1: sagittal slice of image")
    assert message.artifact.plane == "sagittal"
    refused = tools["slice"].invoke(
        {"type": "tool_call", "id": "2", "name": "slice", "args": {"index": 1, "plane": "top"}}
    )
    assert refused.status == "error"


def test_later_calls_name_what_earlier_calls_made(call, book):
    zoomed = call("zoom", view=0, box=[280, 190, 360, 260])
    assert isinstance(zoomed.artifact, View)
    assert zoomed.content == "V1: zoom of image 0, 512 x 448 pixels, showing [280, 190, 360, 260]"
    outlined = call("segment", view=1, box=[285, 195, 350, 255])
    assert [type(region) for region in outlined.artifact] == [Region] and outlined.artifact[0].view == 1
    assert outlined.content.startswith("R1: [") and "pixels outlined" in outlined.content
    focal = call("crop", view=1, region="R1")
    assert focal.artifact.index == 2 and focal.artifact.region == "R1"
    measured = call("measure", region="R1")
    assert isinstance(measured.artifact, Measurement)
    assert "outlined by threshold" in measured.content and "long_axis: " in measured.content
    assert call("compare", view=0, other=2).artifact.overlay == "pair"
    assert [view.index for view in book.views] == [0, 1, 2, 3] and list(book.regions) == ["R1"]


def test_with_neither_box_nor_points_segment_proposes(call):
    message = call("segment", view=0)
    assert [region.id for region in message.artifact] == [f"R{i}" for i in range(1, 7)]
    assert len(message.content.splitlines()) == 6


def test_a_window_by_preset_or_by_numbers(call):
    assert call("window", view=0, centre=300, width=500).artifact.window.centre == 300
    assert call("window", view=0, preset="default").artifact.kind == "window"


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        pytest.param("zoom", {"view": 0, "box": [900, 0, 950, 50]}, "outside image 0", id="outside"),
        pytest.param("zoom", {"view": 7, "box": [0, 0, 9, 9]}, "no view V7; there are V0 to V0", id="view"),
        pytest.param("zoom", {"view": 0, "box": [9, 9, 9, 20]}, "is no box", id="zero area"),
        pytest.param("zoom", {"view": 0, "box": [1, 2]}, "box: List should have at least 4", id="short box"),
        pytest.param("zoom", {"view": 0, "box": [float("nan"), 0, 5, 5]}, "is no box", id="not a number"),
        pytest.param("zoom", {"box": [0, 0, 9, 9]}, "view: Field required", id="missing"),
        pytest.param("crop", {"view": 0, "region": "R9"}, "no region R9; there are none yet", id="region"),
        pytest.param("window", {"view": 0, "centre": 4}, "both a centre and a width", id="half a window"),
    ],
)
def test_what_cannot_be_done_comes_back_to_the_model_as_an_error(call, book, name, arguments, words):
    message = call(name, **arguments)
    assert message.status == "error" and words in message.content and "\n" not in message.content
    assert len(book.views) == 1, "nothing is kept of a refused call"
