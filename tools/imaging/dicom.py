"""A DICOM file to frames: values in their own meaning, geometry, and nothing else of the header."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.prompts import knowledge
from medloupe.tools.imaging.frame import PHANTOM_WARNING, Draft, Frame, Values, check_size, compact, rescaled
from medloupe.tools.imaging.geometry import Warn, laterality, patient_orientation, plane, spacing, stack_key
from medloupe.tools.imaging.inflate import RAW, inflated
from medloupe.tools.imaging.marks import Mark, read_rtstruct, read_seg, read_sr
from medloupe.tools.imaging.pixels import (
    LITTLE_ENDIAN,
    PIXEL_TAGS,
    check_length,
    decoded,
    plain_pixels,
    stored_range,
    syntax_name,
)
from medloupe.tools.imaging.plausible import warn_of_header
from medloupe.tools.imaging.tags import BadValueError, code, functional, numbers, recall, says, stated, uid, whole
from medloupe.tools.imaging.window import full_range, voi_windows, window_for
from medloupe.types import Window

__all__ = ["read_dicom"]

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_MARKS = {"SEG": read_seg, "RTSTRUCT": read_rtstruct, "SR": read_sr}
_DEFERRED = 4096
"""Bytes of a value beyond which it is left in the file until it is asked for."""
_DICOMDIR = "1.2.840.10008.1.3.10"
_ON_WHITE = {"SM"}
"""Modalities whose background is white: their padding is glass, and is shown as it is."""
_FRONTAL = {"CR", "DX", "RG", "RF"}


def read_dicom(file: BinaryIO, *, modality: str | None, warn: Warn, limits: Limits) -> tuple[list[Frame], list[Mark]]:
    """Every frame of a DICOM image, in its order; or the marks of a SEG, RTSTRUCT or SR.

    InputRejected for what is neither, or cannot be read whole.
    """
    try:
        ds = _read(file, warn, limits)
        kind = code(ds, "Modality", _MARKS)
        if kind:
            return [], _MARKS[kind](ds, warn, limits) or _nothing_in(kind)
        _reject_non_image(ds)
        frames = _check_header(ds, limits)
        return _frames(ds, frames, modality, warn), []
    except InputRejected:
        raise
    except BadValueError as error:
        raise InputRejected("bad-header", f"{error} cannot be read.") from error
    except RecursionError as error:
        raise _too_deep() from error
    except Exception as error:  # pydicom and its decoders may raise anything on a damaged file
        raise InputRejected("undecodable", "The DICOM file is damaged and cannot be read.") from error


# --- the file -------------------------------------------------------------------------------------------------------


def _read(file: BinaryIO, warn: Warn, limits: Limits) -> Any:
    preamble = file.read(132)
    has_preamble = preamble[128:] == b"DICM"
    if not has_preamble:
        warn("The file has no DICOM preamble.")
    elif any(preamble[:128]):
        warn("The file's preamble is not empty; it was not looked at.")
    ds = _dataset(file, has_preamble, limits)
    if not len(ds):
        raise InputRejected("truncated", "The DICOM file ends early and cannot be read whole.")
    size = file.seek(0, os.SEEK_END)
    if any(_is_cut(element, size) for element in ds.values()):
        raise InputRejected("truncated", "The DICOM file ends in the middle of an element.")
    _check_depth(ds, limits.sequence_depth)
    _name_transfer_syntax(ds, warn)
    return ds


def _dataset(file: BinaryIO, has_preamble: bool, limits: Limits) -> Any:
    """The file's elements, unconverted. Of plain files long values are left where they are: no pixel is copied."""
    count = _counter(limits.file_elements)
    if has_preamble:
        meta = read_dataset(file, False, True, stop_when=lambda *element: count(*element) or element[0].group != 2)
        syntax = meta.get("TransferSyntaxUID")
        if syntax in LITTLE_ENDIAN:
            implicit = syntax == ImplicitVRLittleEndian
            elements = read_dataset(file, implicit, True, stop_when=count, defer_size=_DEFERRED)
            ds = FileDataset(file, elements, None, FileMetaDataset(meta), implicit)
            ds.set_original_encoding(implicit, True, elements._character_set)
            ds.buffer = file  # where deferred values are; pydicom would open the path again
            recall(ds)
            return ds
        if syntax == DeflatedExplicitVRLittleEndian:
            for _ in inflated(file, RAW, limits):  # pydicom would inflate it whole, without a limit
                continue
    file.seek(0)
    return read_partial(file, stop_when=count, force=not has_preamble)


def _counter(most: int) -> Callable[[Any, str | None, int], bool]:
    """A pydicom stop condition that never stops, and refuses a file of more elements: empty ones cost eight bytes."""
    left = iter(range(most))

    def count(_tag: Any, _vr: str | None, _length: int) -> bool:
        if next(left, None) is None:
            raise InputRejected("too-large", f"The DICOM file holds more than {most:,} elements.")
        return False

    return count


def _is_cut(element: Any, size: int) -> bool:
    """pydicom hands out short values without a word, and defers without looking where the file of `size` bytes ends."""
    length = getattr(element, "length", None)  # raw elements only: those already converted were whole
    if not length or length == 0xFFFFFFFF:
        return False
    return bool(element.value_tell + length > size if element.value is None else len(element.value) < length)


def _check_depth(ds: Any, levels: int) -> None:
    """Sequences of undefined length were read with the file; pydicom opens the others one by one when they are asked
    for, and nothing asks for deep ones."""
    for element in ds.values():
        if isinstance(element, DataElement) and element.VR == "SQ":
            if not levels:
                raise _too_deep()
            for content in element.value:
                _check_depth(content, levels - 1)


def _too_deep() -> InputRejected:
    return InputRejected("too-large", "The DICOM file nests sequences more deeply than is allowed.")


def _name_transfer_syntax(ds: Any, warn: Warn) -> None:
    if ds.file_meta.get("TransferSyntaxUID"):
        return
    implicit, little = ds.original_encoding
    plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    ds.file_meta.TransferSyntaxUID = plain
    warn("The file does not name its transfer syntax: uncompressed is assumed.")


# --- the header -----------------------------------------------------------------------------------------------------


def _nothing_in(kind: str) -> NoReturn:
    holds = knowledge("dicom_terms")["not_images"][kind]
    raise InputRejected("not-an-image", f"The DICOM file holds {holds} without a region or a coded text, not an image.")


def _reject_non_image(ds: Any) -> None:
    kinds = knowledge("dicom_terms")["not_images"]
    kind = code(ds, "Modality", kinds)
    if uid(ds.file_meta, "MediaStorageSOPClassUID") == _DICOMDIR:
        raise InputRejected("not-an-image", "The file is a DICOMDIR index; open its folder instead.")
    pixels = any(tag in ds for tag in PIXEL_TAGS)
    if kind:
        raise InputRejected("not-an-image", f"The DICOM file holds {kinds[kind]}, not an image.")
    if not pixels and "Rows" in ds:
        raise InputRejected("truncated", "The DICOM file describes an image and ends before its pixels.")
    if not pixels:
        raise InputRejected("not-an-image", "The DICOM file holds no pixels.")


def _check_header(ds: Any, limits: Limits) -> int:
    """How many frames there are, once the header and the pixel data agree in size. Nothing is decoded before."""
    photometric = code(ds, "PhotometricInterpretation", (*_GREY, *_COLOUR, "PALETTE COLOR"))
    if not photometric:
        raise InputRejected("unsupported", "The photometric interpretation is missing or not supported.")
    rows, columns, frames = whole(ds, "Rows") or 0, whole(ds, "Columns") or 0, whole(ds, "NumberOfFrames")
    frames = 1 if frames in (None, 0) else int(frames)
    check_size(columns, rows, frames, limits)
    samples, allocated = whole(ds, "SamplesPerPixel") or 1, whole(ds, "BitsAllocated") or 0
    stored = whole(ds, "BitsStored") or allocated
    if samples != (3 if photometric in _COLOUR else 1) or allocated not in (1, 8, 16, 32, 64) or stored > allocated:
        raise InputRejected("bad-header", "Samples, bits and photometric interpretation do not fit together.")
    if photometric == "PALETTE COLOR" and not _has_palette(ds):
        raise InputRejected("no-palette", "The image is PALETTE COLOR and brings no colour table.")
    check_length(ds, frames)
    return frames


def _has_palette(ds: Any) -> bool:
    kinds = ("", "Segmented")
    return all(
        f"{c}PaletteColorLookupTableDescriptor" in ds
        and any(f"{kind}{c}PaletteColorLookupTableData" in ds for kind in kinds)
        for c in ("Red", "Green", "Blue")
    )


# --- the frames -----------------------------------------------------------------------------------------------------


def _frames(ds: Any, frames: int, modality: str | None, warn: Warn) -> list[Frame]:
    told = code(ds, "Modality", knowledge("dicom_terms")["modality"])
    if not told:
        warn("The file does not say its modality.")
    if modality and told and modality != told:
        warn(f"Modality {modality} was set by hand; the file says {told}.")
    if code(ds, "BurnedInAnnotation", ("YES",)):
        warn("The file says that text is burned into its pixels.")
    plain = plain_pixels(ds)
    warn_of_header(ds, warn, in_range=plain is not None)
    arrays = decoded(ds) if plain is None else plain
    within = None if plain is None else stored_range(whole(ds, "BitsStored") or 0, signed=plain.dtype.kind == "i")
    made = [_frame(ds, n, frames, a, within, modality or told or "OT", warn) for n, a in enumerate(arrays)]
    if len(made) < frames:
        raise InputRejected("truncated", "Fewer frames could be decoded than the header declares.")
    return made


def _frame(
    ds: Any, n: int, frames: int, array: Values, within: tuple[int, int] | None, modality: str, warn: Warn
) -> Frame:
    photometric = code(ds, "PhotometricInterpretation", (*_GREY, *_COLOUR, "PALETTE COLOR"))
    position, orientation = plane(ds, n, frames, warn)
    terms = knowledge("dicom_terms")
    grey = photometric in _GREY
    values, meaning = _grey(ds, n, array, within, modality, warn) if grey else (_rgb(ds, array), "RGB")
    draft = Draft(
        frame=n,
        sop_instance_uid=uid(ds, "SOPInstanceUID"),
        modality=modality,
        width=values.shape[1],
        height=values.shape[0],
        values=meaning,
        inverted=photometric == "MONOCHROME1",
        padding=_padding(ds, n, warn) if grey and modality not in _ON_WHITE else None,
        spacing=spacing(ds, n, warn),
        position=position,
        orientation=orientation,
        patient_orientation=patient_orientation(ds, orientation, warn),
        photometric=photometric,
        transfer_syntax=syntax_name(ds.file_meta.TransferSyntaxUID),
        body_part=code(ds, "BodyPartExamined", terms["body_part"]),
        laterality=laterality(ds, n),
        view_position=code(ds, "ViewPosition", terms["view_position"]),
        phantom=says(ds, "ImageComments", knowledge("dicom_terms")["phantom_label"]),
    )
    _warn_of_gaps(draft, warn)
    if draft.phantom:
        warn(PHANTOM_WARNING)
    if meaning != "RGB":
        first, *others = _windows(ds, n, draft, values, warn)
        draft = draft.model_copy(update={"window": first, "further_windows": tuple(others)})
    return Frame(
        values=values,
        draft=draft,
        kind="DICOM",
        study_uid=uid(ds, "StudyInstanceUID"),
        series_uid=uid(ds, "SeriesInstanceUID"),
        series_number=_order(ds, "SeriesNumber"),
        instance_number=_order(ds, "InstanceNumber"),
        stack=stack_key(ds, n),
    )


def _order(ds: Any, keyword: str) -> int:
    try:
        return whole(ds, keyword) or 0
    except BadValueError:
        return 0


def _warn_of_gaps(draft: Draft, warn: Warn) -> None:
    if draft.spacing is None:
        warn("No usable pixel spacing: sizes are in pixels.")
    frontal = draft.modality in _FRONTAL and draft.view_position in ("PA", "AP")
    if frontal and draft.patient_orientation is None:
        warn("The radiograph does not say which way the patient lies in it: left and right cannot be told.")


def _grey(
    ds: Any, n: int, array: Values, within: tuple[int, int] | None, modality: str, warn: Warn
) -> tuple[Values, str]:
    """Modality LUT applied; Hounsfield units for CT that says how to reach them."""
    if code(ds, "Modality", ("RTDOSE",)):
        return _dose(ds, array, warn)
    rescale = functional(ds, n, "PixelValueTransformationSequence") or ds
    try:
        slope, intercept = numbers(rescale, "RescaleSlope", 1), numbers(rescale, "RescaleIntercept", 1)
    except BadValueError as bad:
        raise InputRejected("bad-header", f"{bad} is not a number: the values have no meaning.") from bad
    if slope == (0.0,):
        raise InputRejected("bad-header", "RescaleSlope is zero: the values have no meaning.")
    hounsfield = code(rescale, "RescaleType", ("HU",)) or not stated(rescale, "RescaleType")
    in_units = modality == "CT" and slope is not None and intercept is not None and hounsfield
    meaning = "HU" if in_units else "stored"
    if "ModalityLUTSequence" in rescale:
        # As int32: pydicom's table look-up clips in the array's own type, which 8 bits overflow.
        return compact(apply_modality_lut(array.astype(np.int32), rescale)), meaning
    if slope is None or intercept is None:
        return compact(array), meaning
    return rescaled(array, slope[0], intercept[0], within), meaning


def _dose(ds: Any, array: Values, warn: Warn) -> tuple[Values, str]:
    """Stored value x DoseGridScaling, in gray where DoseUnits says so (PS3.3 C.8.8.3)."""
    scaling = numbers(ds, "DoseGridScaling", 1)
    if not scaling or scaling[0] <= 0:
        raise InputRejected("bad-header", "DoseGridScaling is missing or not positive: the values have no meaning.")
    in_gray = bool(code(ds, "DoseUnits", ("GY",)))
    if not in_gray:
        warn("The dose is relative, or does not name its unit: it is not in gray.")
    return compact(array.astype(np.float64) * scaling[0]), "Gy" if in_gray else "stored"


def _rgb(ds: Any, array: Values) -> Values:
    """RGB uint8 from any colour: pydicom has already turned YBR to RGB; palettes are looked up here."""
    bits = whole(ds, "BitsStored") or 8
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        array = apply_color_lut(array, ds)[..., :3]
        bits = 8 * array.dtype.itemsize
    if array.dtype.kind != "u":
        raise InputRejected("unsupported", "Signed colour is not supported.")
    if bits > 8:
        array = array >> (bits - 8)
    elif bits < 8:
        array = array * (255 / (2**bits - 1))
    return np.ascontiguousarray(array, dtype=np.uint8)


def _padding(ds: Any, n: int, warn: Warn) -> tuple[float, float] | None:
    """PixelPaddingValue, to its range limit where there is one, through the modality LUT (PS3.3 C.7.5.1.1.2)."""
    rescale = functional(ds, n, "PixelValueTransformationSequence") or ds
    try:
        value = numbers(ds, "PixelPaddingValue", 1)
        if value is None or "ModalityLUTSequence" in rescale:
            return None
        limit = numbers(ds, "PixelPaddingRangeLimit", 1) or value
        slope, intercept = (
            numbers(rescale, "RescaleSlope", 1) or (1.0,),
            numbers(rescale, "RescaleIntercept", 1) or (0.0,),
        )
    except BadValueError as bad:
        warn(f"{bad} cannot be read and is not used.")
        return None
    ends = sorted(v[0] * slope[0] + intercept[0] for v in (value, limit))
    return ends[0], ends[1]


def _windows(ds: Any, n: int, draft: Draft, values: Values, warn: Warn) -> tuple[Window, ...]:
    """The file's windows, or the one to show it with."""
    own = voi_windows(functional(ds, n, "FrameVOILUTSequence") or ds, ds, values, warn, draft.modality)
    if own:
        return own
    bits = whole(ds, "BitsStored") or 16
    if bits <= 8 and not whole(ds, "PixelRepresentation") and "RescaleSlope" not in ds and draft.values == "stored":
        return (full_range(bits),)
    return (window_for(draft, values, "default"),)
