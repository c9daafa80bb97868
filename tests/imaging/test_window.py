"""Windows: the file's own as DICOM defines it, presets where they mean something, percentiles elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut, apply_windowing
from pydicom.sequence import Sequence

from medloupe.errors import ActionRejected
from medloupe.prompts import knowledge
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


def exactly(values: np.ndarray, ds: Dataset) -> np.ndarray:
    """What pydicom shows of these values, 8-bit."""
    if "VOILUTSequence" in ds:
        return np.rint(apply_voi_lut(values, ds) / (2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1) * 255)
    with np.errstate(over="ignore"):
        darkest, brightest = apply_windowing(np.array([-1e9, 1e9]), ds)
        return np.rint((apply_windowing(values.astype(float), ds) - darkest) / (brightest - darkest) * 255)


def table(entries: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(entries) % 2**16, first, bits], entries.astype("<u2").tobytes()
    return item


RAMP = np.clip((np.arange(1000) - 300) * 1023 / 400, 0, 1023)
CURVE = 4095 / (1 + np.exp(-(np.arange(4096) - 1500) / 300))
FALLING = np.linspace(65535, 0, 2000)
NOT_MONOTONE = np.abs(np.sin(np.arange(500) / 60)) * 1023


@pytest.mark.parametrize(
    ("entries", "first", "bits"),
    [(RAMP, 0, 10), (RAMP, 900, 10), (CURVE, 100, 12), (FALLING, 0, 16), (NOT_MONOTONE, 1000, 10)],
    ids=["ramp", "ramp from 900", "curve", "falling", "not monotone"],
)
def test_a_voi_lut_is_applied_exactly(
    ct: Callable[..., Dataset],
    save: Callable[..., Path],
    store: MemoryStore,
    entries: np.ndarray,
    first: int,
    bits: int,
) -> None:
    pixels = np.arange(4800, dtype=np.uint16).reshape(60, 80)
    ds = ct(pixels, Modality="OT", RescaleIntercept=0, VOILUTSequence=Sequence([table(entries, first, bits)]))
    study = load_study(save(ds), store)
    image, values = study.images[0], store.get(study.images[0].digest)
    assert image.window is not None
    assert (image.window.source, study.warnings) == ("VOI LUT", ())
    assert np.array_equal(render(values, image, None), exactly(pixels, ds))
    assert np.array_equal(render(values.astype(np.float32), image, None), exactly(pixels, ds))
    if entries is RAMP:
        assert (image.window.centre, image.window.width) == pytest.approx((500 + first, 400), abs=20)


def test_a_real_voi_lut(shared_data: Path, store: MemoryStore) -> None:
    path = shared_data / "dicom" / "valid" / "pydicom-data" / "vlut_04.dcm"
    image, ds = load_study(path, store).images[0], pydicom.dcmread(path)
    assert np.array_equal(render(store.get(image.digest), image, None), exactly(ds.pixel_array, ds))


@pytest.mark.parametrize(("modality", "first"), [("DX", "VOI LUT"), ("MG", "VOI LUT"), ("CT", "VOI")])
def test_a_radiograph_is_shown_by_its_voi_lut(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore, modality: str, first: str
) -> None:
    ds = ct(Modality=modality, WindowCenter=20, WindowWidth=30, VOILUTSequence=Sequence([table(RAMP, 10, 10)]))
    image = load_study(save(ds), store).images[0]
    assert image.window is not None
    assert image.window.source == first
    assert {first, image.further_windows[0].source} == {"VOI", "VOI LUT"}
    assert "file-2" in preset_names(image)


@pytest.mark.parametrize(
    "broken",
    [table(np.zeros(100), 0, 8), table(RAMP, 0, 40), table(np.arange(60_000) % 2 * 255, 0, 8), Dataset()],
    ids=["flat", "40 bits", "ragged", "empty"],
)
def test_a_voi_lut_that_is_none_is_told(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore, broken: Dataset
) -> None:
    study = load_study(save(ct(VOILUTSequence=Sequence([broken]))), store)
    assert study.images[0].window == Window(centre=40, width=400, source="soft-tissue")
    assert study.warnings == ("The VOI LUT cannot be read and is not used.",)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2000, 4096), (1024.5, 1), (300, 77), (-500, 12000)])
def test_each_voi_function_is_applied_exactly(
    ct: Callable[..., Dataset],
    save: Callable[..., Path],
    store: MemoryStore,
    function: str,
    centre: float,
    width: float,
) -> None:
    pixels = np.arange(4800, dtype=np.uint16).reshape(60, 80)
    ds = ct(pixels, RescaleIntercept=0, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    study = load_study(save(ds), store)
    image = study.images[0]
    assert study.warnings == ()
    apart = np.abs(render(store.get(image.digest), image, None) - exactly(pixels, ds))
    # Where a value lies just between two greys, float32 and float64 may round it differently.
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.005


def test_padding_is_black_and_out_of_percentiles(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    pixels = np.tile(np.arange(100, dtype=np.uint16), (100, 1)) + 500
    pixels[:20] = 4000
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        ds = ct(pixels, Modality="DX", RescaleSlope=None, RescaleIntercept=None, PhotometricInterpretation=photometric)
        ds.PixelPaddingValue, ds.PixelPaddingRangeLimit = 3900, 4095
        image = load_study(save(ds), store).images[0]
        assert image.padding == (3900, 4095)
        assert image.window is not None
        assert image.window.centre + image.window.width / 2 < 600, "without the padding"
        shown = render(store.get(image.digest), image, None)
        assert not shown[:20].any()
        assert shown[20:].std() > 50


# --- presets --------------------------------------------------------------------------------------------------------


def within(value: float, published: float | list[float]) -> bool:
    low, high = published if isinstance(published, list) else (published, published)
    return low <= value <= high


@pytest.mark.parametrize("name", knowledge("windows")["CT"]["hu"])
def test_a_ct_preset_is_as_published_and_shows_so(name: str, shared_data: Path, store: MemoryStore) -> None:
    """Real Hounsfield units: black up to the lower edge, white from the upper one, half-way between at the centre."""
    preset = knowledge("windows")["CT"]["hu"][name]
    assert preset["published"]["source"] in knowledge("windows")["sources"]
    assert all(within(preset[what], preset["published"][what]) for what in ("centre", "width"))
    image = load_study(shared_data / "dicom" / "valid" / "pydicom-data" / "693_UNCR.dcm", store).images[0]
    values = store.get(image.digest).astype(int)
    assert image.values == "HU"
    shown = render(store.get(image.digest), image, window_for(image, values, name)).astype(int)
    low, high = preset["centre"] - preset["width"] / 2, preset["centre"] + preset["width"] / 2
    assert not shown[values <= low].any()
    assert (shown[values >= high] == 255).all()
    inside = (values > low) & (values < high)
    assert inside.any()
    assert np.abs(shown[inside] - (values[inside] - low) / preset["width"] * 255).max() <= 0.51


@pytest.mark.parametrize(
    ("modality", "source"), [("MG", "full"), ("US", "full"), ("MR", "percentile"), ("DX", "percentile")]
)
def test_what_a_modality_is_shown_with_where_the_file_does_not_say(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore, modality: str, source: str
) -> None:
    pixels = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    ds = ct(pixels, Modality=modality, RescaleSlope=None, RescaleIntercept=None)
    image = load_study(save(ds), store).images[0]
    shown = render(store.get(image.digest), image, None)
    assert image.window is not None
    assert image.window.source == source
    assert (np.diff(shown.ravel().astype(int)) >= 0).all()
    assert (shown == 255).sum() == (20 if source == "full" else 120)


def test_an_ultrasound_picture_keeps_the_greys_it_was_shown_with(shared_data: Path, store: MemoryStore) -> None:
    path = next((shared_data / "us_breast_lesions_usg").rglob("*.png"))
    image = load_study(path, store, modality="US").images[0]
    values = store.get(image.digest)
    assert np.array_equal(render(values, image, None), values)


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
