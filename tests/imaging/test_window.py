"""Windows: the file's own as DICOM defines it, presets where they mean something, percentiles elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing
from pydicom.sequence import Sequence

from medloupe.errors import ActionRejected
from medloupe.tools.imaging import MemoryStore, load_study, preset_names, render, window_for
from medloupe.types import Image, Window


@pytest.mark.parametrize("name", ["MR_small.dcm", "examples_overlay.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_the_files_window_shows_what_pydicom_shows(name: str, real: Callable[[str], Path], store: MemoryStore) -> None:
    image = load_study(real(name), store).images[0]
    ds = pydicom.dcmread(real(name))
    values = store.get(image.digest)
    shown = apply_windowing(values.astype(np.float64), ds)
    low, high = shown.min(), shown.max()
    assert image.window is not None
    assert image.window.source == "VOI"
    full = apply_windowing(np.array([-1e9, 1e9]), ds)  # the output range
    expected = np.rint((shown - full[0]) / (full[1] - full[0]) * 255)
    assert high > low
    assert np.abs(render(values, image, None) - expected).max() <= 1


def test_of_several_windows_the_first_is_used(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    image = load_study(save(ct(WindowCenter=[40, 300], WindowWidth=[350, 1500])), store).images[0]
    assert image.window == Window(centre=40, width=350, source="VOI")


@pytest.mark.parametrize(("centre", "width", "warned"), [("40", "0", True), ("40", "-5", True), ("", "", False)])
def test_a_window_that_makes_no_sense_gives_way_to_the_modalitys_preset(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore, centre: str, width: str, warned: bool
) -> None:
    study = load_study(save(ct(WindowCenter=centre, WindowWidth=width)), store)
    assert study.images[0].window == Window(centre=40, width=400, source="soft-tissue")
    assert bool(study.warnings) == warned


@pytest.mark.parametrize("text", [b"NaN     ", b"inf     ", b"forty   "])
def test_a_window_that_is_no_number_is_not_used(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore, text: bytes
) -> None:
    path = save(ct(WindowCenter="12345678", WindowWidth=400))
    path.write_bytes(path.read_bytes().replace(b"12345678", text))
    study = load_study(path, store)
    assert study.images[0].window == Window(centre=40, width=400, source="soft-tissue")
    assert any("WindowCenter cannot be read" in w for w in study.warnings)


def test_a_voi_lut_without_a_window_becomes_the_window_nearest_to_it(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    table = Dataset()
    ramp = np.clip((np.arange(1000) - 300) * 255 / 400, 0, 255).astype(np.uint16)
    table.LUTDescriptor, table.LUTData = [1000, 0, 8], ramp.tobytes()
    pixels = np.arange(48, dtype=np.uint16).reshape(6, 8)
    study = load_study(save(ct(pixels, RescaleIntercept=0, VOILUTSequence=Sequence([table]))), store)
    window = study.images[0].window
    assert window is not None
    assert (window.centre, window.width) == pytest.approx((500, 400), abs=20)
    assert window.source == "VOI LUT"
    assert any("VOI LUT" in w for w in study.warnings)


def test_linear_exact_and_whole_numbers(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    tags = {"WindowCenter": -976, "WindowWidth": 48, "VOILUTFunction": "LINEAR_EXACT"}
    image = load_study(save(ct(**tags)), store).images[0]
    shown = render(np.array([[-1001, -1000, -976, -952, 0]], np.int16), image, None)
    assert shown.tolist() == [[0, 0, 128, 255, 255]]


def test_presets_in_hounsfield_units_are_for_hounsfield_units_only(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    image = load_study(save(ct()), store).images[0]
    values = store.get(image.digest)
    assert window_for(image, values, "Lung") == Window(centre=-600, width=1500, source="lung")
    scout = load_study(save(ct(RescaleSlope=None, RescaleIntercept=None)), store).images[0]
    assert scout.values == "stored"
    with pytest.raises(ActionRejected, match="Presets: default, percentile, full, dark, bright"):
        window_for(scout, values, "lung")


def test_mr_without_a_window_is_shown_between_its_percentiles(store: MemoryStore, shared_data: Path) -> None:
    study = load_study(shared_data / "mri_t1_dicom_studyforrest" / "stack_0150" / "N2D_0160.dcm", store)
    image = study.images[0]
    values = store.get(image.digest)
    low, high = np.percentile(values, (1, 99))
    assert image.window == Window(centre=(low + high) / 2, width=high - low, source="percentile")


def test_percentile_presets_follow_the_values() -> None:
    image = Image(index=0, series=0, width=101, height=1, values="stored", digest="")
    values = np.arange(101, dtype=np.int16)[None]
    full = window_for(image, values, "full")
    assert (full.centre - full.width / 2, full.centre + full.width / 2) == (0, 100)
    bright = window_for(image, values, "bright")
    assert (bright.centre - bright.width / 2, bright.centre + bright.width / 2) == (50, 100)


def test_one_grey_is_no_error() -> None:
    image = Image(index=0, series=0, width=4, height=4, values="stored", digest="")
    shown = render(np.full((4, 4), 7, np.int16), image, None)
    assert shown.shape == (4, 4)


def test_a_value_that_is_no_number_is_black() -> None:
    image = Image(index=0, series=0, width=3, height=1, values="stored", digest="")
    shown = render(np.array([[np.nan, 0.0, 1.0]], np.float32), image, Window(centre=0.5, width=1, source="set"))
    assert shown.tolist() == [[0, 0, 255]]


def test_colour_has_no_presets() -> None:
    image = Image(index=0, series=0, width=1, height=1, values="RGB", digest="")
    assert preset_names(image) == ()
    with pytest.raises(ActionRejected, match="colour"):
        window_for(image, np.zeros((1, 1, 3), np.uint8), "default")


@pytest.mark.parametrize(("centre", "width"), [(1e300, 1e-300), (-1e300, 5), (0, 1e308), (3, 1e-40)])
def test_a_window_beyond_all_sense_still_shows_something(centre: float, width: float) -> None:
    image = Image(index=0, series=0, width=5, height=1, values="stored", digest="")
    for kind in (np.int16, np.int32, np.float32):
        shown = render(np.arange(5, dtype=kind)[None], image, Window(centre=centre, width=width, source="set"))
        assert shown.dtype == np.uint8
        assert np.all(np.diff(shown.astype(int)) >= 0)
