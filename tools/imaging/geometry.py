"""Where a frame lies: spacing, plane and sides from DICOM tags. What is absurd is dropped with a warning."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from medloupe.tools.imaging.tags import BadValueError, code, functional, items, letters, numbers, stated
from medloupe.types import Image, Spacing

__all__ = [
    "Orientation", "Position", "Warn", "along_normal", "laterality", "letters_of", "patient_orientation", "plane",
    "spacing", "stack_key",
]  # fmt: skip

Warn = Callable[[str], None]
Position = tuple[float, float, float]
Orientation = tuple[float, float, float, float, float, float]

SPACING_MM = (1e-5, 100.0)
"""Ten nanometres to ten centimetres: outside it a spacing is taken for a fault."""
POSITION_MM = 1e5
_SAME_Z_MM = 0.01
UNIT_TOLERANCE = 1e-2
"""How far a direction's length may be from 1, and two directions' dot product from 0."""
_AXES = (("L", "R"), ("P", "A"), ("H", "F"))
"""Letters of the positive and negative x, y and z of the patient (LPS, PS3.3 C.7.6.1.1.1)."""


def spacing(ds: Any, frame: int, warn: Warn) -> Spacing | None:
    """PixelSpacing, else ImagerPixelSpacing, else the one calibrated ultrasound region, else None."""
    try:
        measures = functional(ds, frame, "PixelMeasuresSequence")
        for source, keyword in ((measures, "PixelSpacing"), (ds, "PixelSpacing"), (ds, "ImagerPixelSpacing")):
            pair = None if source is None else numbers(source, keyword, 2)
            if pair is not None:
                return _trusted_spacing(pair, keyword, warn, _is_calibrated(ds, pair))
        return _ultrasound_spacing(ds, warn)
    except BadValueError as bad:
        warn(f"{bad} cannot be read and is not used: sizes are in pixels.")
        return None


def _is_calibrated(ds: Any, pair: tuple[float, ...]) -> bool:
    """A projection whose PixelSpacing was corrected from that at the detector (PS3.3 10.7.1.3)."""
    at_detector = numbers(ds, "ImagerPixelSpacing", 2)
    named = code(ds, "PixelSpacingCalibrationType", ("GEOMETRY", "FIDUCIAL"))
    return bool(named) or (at_detector is not None and at_detector != pair)


def _trusted_spacing(pair: tuple[float, ...], source: str, warn: Warn, calibrated: bool = False) -> Spacing | None:
    if not all(SPACING_MM[0] <= mm <= SPACING_MM[1] for mm in pair):
        warn(f"{source} is not plausible and is not used: sizes are in pixels.")
        return None
    if source == "PixelSpacing" and calibrated:
        warn("PixelSpacing is calibrated for one depth (geometry or a fiducial): millimetres hold there.")
    if source == "ImagerPixelSpacing":
        warn("Spacing is at the detector (ImagerPixelSpacing): millimetres are magnified.")
    return Spacing(row_mm=pair[0], column_mm=pair[1], source=source)


def _ultrasound_spacing(ds: Any, warn: Warn) -> Spacing | None:
    """From PS3.3 C.8.5.5, if exactly one region is in centimetres and it covers at least half the image."""
    regions = [r for r in items(ds, "SequenceOfUltrasoundRegions") if _in_centimetres(r)]
    if not regions:
        return None
    corner = [numbers(regions[0], f"RegionLocation{name}", 1) for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    steps = [numbers(regions[0], f"PhysicalDelta{axis}", 1) for axis in "YX"]
    if len(regions) > 1 or None in corner or None in steps:
        warn("The image has several calibrated regions: sizes are in pixels.")
        return None
    x0, y0, x1, y1 = (value[0] for value in corner if value is not None)
    if (x1 - x0) * (y1 - y0) < 0.5 * int(ds.Rows) * int(ds.Columns):
        warn("The calibrated region covers less than half the image: sizes are in pixels.")
        return None
    warn("Spacing holds inside the calibrated ultrasound region only.")
    return _trusted_spacing(tuple(abs(s[0]) * 10 for s in steps if s is not None), "SequenceOfUltrasoundRegions", warn)


def _in_centimetres(region: Any) -> bool:
    return all(numbers(region, f"PhysicalUnits{axis}Direction", 1) == (3.0,) for axis in "XY")


def plane(ds: Any, frame: int, frames: int, warn: Warn) -> tuple[Position | None, Orientation | None]:
    """ImagePositionPatient and ImageOrientationPatient of a frame; (None, None) when absent or absurd."""
    placed = functional(ds, frame, "PlanePositionSequence")
    turned = functional(ds, frame, "PlaneOrientationSequence")
    # Without a functional group the header's position is that of the first frame only, but in a dose grid.
    placed, turned = placed or (ds if frames == 1 else None), turned or ds
    try:
        position = None if placed is None else numbers(placed, "ImagePositionPatient", 3)
        orientation = numbers(turned, "ImageOrientationPatient", 6)
        if position is None and orientation is not None:
            position = _grid_position(ds, frame, orientation, warn)
    except BadValueError as bad:
        warn(f"{bad} cannot be read: position and orientation are not used.")
        return None, None
    if orientation is not None and not _is_rotation(orientation):
        warn("ImageOrientationPatient is not two perpendicular directions: position and orientation are not used.")
        return None, None
    if position is not None and max(map(abs, position)) > POSITION_MM:
        warn("ImagePositionPatient is not plausible and is not used.")
        position = None
    return _three(position), _six(orientation)


def _grid_position(ds: Any, frame: int, orientation: tuple[float, ...], warn: Warn) -> tuple[float, ...] | None:
    """Of a dose grid's frame (PS3.3 C.8.8.3.2): offsets from the first along the normal, or else z coordinates."""
    offsets, first = numbers(ds, "GridFrameOffsetVector"), numbers(ds, "ImagePositionPatient", 3)
    if offsets is None or first is None:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    if frame < len(offsets) and offsets[0] == 0:
        return tuple(float(v) for v in np.array(first) + offsets[frame] * normal)
    if frame < len(offsets) and abs(offsets[0] - first[2]) < _SAME_Z_MM and abs(normal[2]) > 1 - UNIT_TOLERANCE:
        return first[0], first[1], offsets[frame]
    warn("GridFrameOffsetVector does not fit the frames: their positions are not known.")
    return None


def _three(v: tuple[float, ...] | None) -> Position | None:
    return None if v is None else (v[0], v[1], v[2])


def _six(v: tuple[float, ...] | None) -> Orientation | None:
    return None if v is None else (v[0], v[1], v[2], v[3], v[4], v[5])


def _is_rotation(orientation: tuple[float, ...]) -> bool:
    along, down = orientation[:3], orientation[3:]  # in numbers: numpy takes longer over three
    dot = sum(a * d for a, d in zip(along, down, strict=True))
    return abs(dot) < UNIT_TOLERANCE and all(abs(math.hypot(*way) - 1) < UNIT_TOLERANCE for way in (along, down))


def letters_of(orientation: Orientation) -> tuple[str, str]:
    """The dominant patient axis along which columns, then rows, grow."""
    return _letter(orientation[:3]), _letter(orientation[3:])


def _letter(direction: tuple[float, ...]) -> str:
    axis = max(range(3), key=lambda n: abs(direction[n]))
    return _AXES[axis][0 if direction[axis] > 0 else 1]


def patient_orientation(ds: Any, orientation: Orientation | None, warn: Warn) -> tuple[str, str] | None:
    """(0020,0020) where it makes sense, else derived from the direction cosines; never guessed.

    Real files carry impossible values (rows and columns both along left-right); the cosines then decide.
    """
    derived = None if orientation is None else letters_of(orientation)
    try:
        told = letters(ds, "PatientOrientation", "LRPAHF")
    except BadValueError:
        told = ()
    if told is None:
        return derived
    if len(told) != 2 or _axis(told[0]) == _axis(told[1]):
        warn("PatientOrientation makes no sense and is not used.")
        return derived
    if orientation is not None and not _agrees(told, orientation):
        warn("PatientOrientation contradicts ImageOrientationPatient, which is used.")
        return derived
    return told[0], told[1]


def _axis(word: str) -> int:
    return next(n for n, pair in enumerate(_AXES) if word[0] in pair)


def _agrees(told: tuple[str, ...], orientation: Orientation) -> bool:
    for word, direction in zip(told, (orientation[:3], orientation[3:]), strict=True):
        axis = _axis(word)
        if direction[axis] * (1 if word[0] == _AXES[axis][0] else -1) <= 0:
            return False
    return True


def laterality(ds: Any, frame: int) -> str:
    """ "L", "R", "B" or "": FrameLaterality, (0020,0062), else (0020,0060)."""
    anatomy = functional(ds, frame, "FrameAnatomySequence")
    found = "" if anatomy is None else code(anatomy, "FrameLaterality", "LRB")
    return found or code(ds, "ImageLaterality", "LRB") or code(ds, "Laterality", "LRB")


def along_normal(image: Image) -> float | None:
    """Distance (mm) of an image's first pixel along the normal of its plane; None without geometry."""
    if image.position is None or image.orientation is None:
        return None
    a, b, c, d, e, f = image.orientation
    x, y, z = image.position  # their triple product, in numbers: numpy takes a tenth of a millisecond over three
    return (b * f - c * e) * x + (c * d - a * f) * y + (a * e - b * d) * z


_SETS_APART = (
    "EchoTime", "EchoNumbers", "InversionTime", "FlipAngle", "DiffusionBValue", "DiffusionGradientOrientation",
    "TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime", "AcquisitionNumber", "ImageType",
    "NominalCardiacTriggerDelayTime", "EffectiveEchoTime", "ConvolutionKernel", "FrameType",
)  # fmt: skip
_GROUPS = (
    "FrameContentSequence", "MREchoSequence", "MRDiffusionSequence", "CardiacSynchronizationSequence",
    "MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "TemporalPositionSequence",
)  # fmt: skip


def stack_key(ds: Any, frame: int) -> str:
    """A digest of what may set two images at one position apart; "" when nothing does."""
    places = [ds, *(group for name in _GROUPS if (group := functional(ds, frame, name)) is not None)]
    said = [f"{k}={place.get(k)}" for place in places for k in _SETS_APART if stated(place, k)]
    return hashlib.sha256("|".join(said).encode()).hexdigest()[:16] if said else ""
