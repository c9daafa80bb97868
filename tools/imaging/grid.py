"""A voxel grid with an affine (NIfTI, NRRD) to frames: slices along its third axis, turned as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.tools.imaging.frame import Draft, Frame, Values, check_size, compact
from medloupe.tools.imaging.geometry import SPACING_MM, UNIT_TOLERANCE, Orientation, Warn, letters_of
from medloupe.tools.imaging.window import window_for
from medloupe.types import Spacing

__all__ = ["RAS_TO_LPS", "check_affine", "grid_frames", "grid_values"]

RAS_TO_LPS: npt.NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0])
_READ = {0: ("P", "F"), 1: ("L", "F"), 2: ("L", "P")}
"""How columns and rows grow in a sagittal, a coronal and an axial slice as radiologists read them."""
_AXIS = {"L": (0, 1), "P": (1, 1), "F": (2, -1)}
_HU = (-1100, -200)
"""Where the lowest value of a CT in Hounsfield units lies: air, or a scanner's padding at -1024."""


def grid_values(data: Values, slope: float, intercept: float) -> Values:
    """Stored numbers with their scaling, in the smallest type that holds them; RGB records as (..., 3) uint8."""
    if data.dtype.names is not None:
        return np.stack([data[c] for c in data.dtype.names[:3]], axis=-1)
    if data.dtype.kind not in "iuf":
        raise InputRejected("unsupported", "Complex values are not an image.")
    if (slope, intercept) != (1.0, 0.0):
        data = data * np.float64(slope) + np.float64(intercept)
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    return compact(data)


def check_affine(affine: npt.NDArray[np.float64]) -> None:
    """InputRejected for an affine that is no finite map of voxels to millimetres."""
    if not np.isfinite(affine).all():
        raise InputRejected("bad-header", "The affine is not finite: the volume has no place in space.")
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not all(SPACING_MM[0] <= mm <= SPACING_MM[1] for mm in steps):
        raise InputRejected("bad-header", "The affine's voxel size is not plausible.")
    if abs(np.linalg.det(affine[:3, :3] / steps)) < UNIT_TOLERANCE:
        raise InputRejected("bad-header", "The affine's axes lie in one plane.")


def grid_frames(
    data: Values,
    affine: npt.NDArray[np.float64] | None,
    spacing: tuple[float, float] | None,
    *,
    source: str,
    modality: str | None,
    warn: Warn,
    limits: Limits,
) -> list[Frame]:
    """Frames of `data`, (i, j, k) or (i, j, k, t), with (3,) uint8 behind for colour.

    `affine` takes voxel indices to mm in LPS. Without one, `spacing` (mm along i and j) is all that is known. Slices
    are flipped and transposed, never resampled, so that patient right is on the left and anterior on top.
    """
    colour = bool(data.dtype == np.uint8 and data.ndim >= 4 and data.shape[-1] == 3)
    data = data.reshape((*data.shape[:3], -1, 3) if colour else (*data.shape[:3], -1))
    check_size(data.shape[0], data.shape[1], data.shape[2] * data.shape[3], limits)
    if affine is not None and abs(_cosine(affine[:3, 0], affine[:3, 1])) > UNIT_TOLERANCE:
        warn("The volume's rows and columns are not perpendicular: position, orientation and spacing are not used.")
        affine, spacing = None, None
    if affine is None:
        warn("The volume does not say how the patient lies in it: left and right cannot be told.")
    else:
        data, affine = _turned(data, affine)
    hounsfield = modality == "CT" and not colour and _HU[0] <= float(data.min()) <= _HU[1]
    if hounsfield:
        warn("The values are taken for Hounsfield units, because modality CT was set by hand and they reach air.")
    elif modality is None:
        warn("The volume says nothing of its modality nor of what its values mean.")
    make = _Slices(
        data, affine, spacing, source, modality or "OT", "RGB" if colour else "HU" if hounsfield else "stored"
    )
    return list(make.frames())


def _cosine(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _turned(data: Values, affine: npt.NDArray[np.float64]) -> tuple[Values, npt.NDArray[np.float64]]:
    """Axes i and j swapped and flipped to how the slice is read; the affine follows."""
    axes = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    letters = _READ[int(np.argmax(axes[:, 2]))]
    column_axis = _AXIS[letters[0]][0]
    if axes[column_axis, 1] > axes[column_axis, 0]:
        data, affine = np.swapaxes(data, 0, 1), affine[:, [1, 0, 2, 3]]
    for voxel_axis, letter in enumerate(letters):
        patient_axis, sign = _AXIS[letter]
        if affine[patient_axis, voxel_axis] * sign < 0:
            last = data.shape[voxel_axis] - 1
            data, affine = np.flip(data, voxel_axis), affine.copy()
            affine[:3, 3] += last * affine[:3, voxel_axis]
            affine[:3, voxel_axis] *= -1
    return data, affine


class _Slices:
    """The slices of a turned grid."""

    def __init__(
        self,
        data: Values,
        affine: npt.NDArray[np.float64] | None,
        spacing: tuple[float, float] | None,
        source: str,
        modality: str,
        meaning: Any,
    ) -> None:
        self.data, self.affine, self.source, self.modality, self.meaning = data, affine, source, modality, meaning
        self.orientation: Orientation | None = None
        if affine is not None:
            steps = np.linalg.norm(affine[:3, :2], axis=0)
            spacing = (float(steps[0]), float(steps[1]))
            along, down = (affine[:3, n] / steps[n] for n in (0, 1))
            self.orientation = (*map(float, along), *map(float, down))  # type: ignore[assignment]
        self.spacing = spacing and Spacing(column_mm=spacing[0], row_mm=spacing[1], source=f"{source} header")

    def frames(self) -> Iterator[Frame]:
        count = self.data.shape[2]
        for volume in range(self.data.shape[3]):
            for k in range(count):
                values = np.ascontiguousarray(np.swapaxes(self.data[:, :, k, volume], 0, 1))
                yield Frame(
                    values=values,
                    draft=self._draft(values, volume * count + k, k),
                    kind="volume",
                    series_number=volume,
                    instance_number=k,
                )

    def _draft(self, values: Values, frame: int, k: int) -> Draft:
        position = None if self.affine is None else (self.affine @ [0, 0, k, 1])[:3]
        draft = Draft(
            frame=frame,
            modality=self.modality,
            width=values.shape[1],
            height=values.shape[0],
            values=self.meaning,
            spacing=self.spacing or None,
            position=None if position is None else (float(position[0]), float(position[1]), float(position[2])),
            orientation=self.orientation,
            patient_orientation=None if self.orientation is None else letters_of(self.orientation),
            photometric="RGB" if self.meaning == "RGB" else "MONOCHROME2",
            transfer_syntax=self.source,
        )
        if self.meaning == "RGB":
            return draft
        return draft.model_copy(update={"window": window_for(draft, values, "default")})
