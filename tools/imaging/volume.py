"""A series as one volume, and its axial, coronal and sagittal reformats with their own geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medloupe.errors import ActionRejected
from medloupe.tools.imaging.frame import Values, compact
from medloupe.tools.imaging.geometry import Orientation, Position, letters_of
from medloupe.tools.imaging.store import ImageStore
from medloupe.types import Image, Series, Spacing, Study

__all__ = ["Plane", "Volume", "acquired_plane", "plane_sizes", "with_reformats"]

Plane = Literal["axial", "coronal", "sagittal"]
_NORMAL: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
_READ: dict[Plane, tuple[tuple[int, int], tuple[int, int]]] = {
    "axial": ((0, 1), (1, 1)), "coronal": ((0, 1), (2, -1)), "sagittal": ((1, 1), (2, -1)),
}  # fmt: skip
"""(patient axis, sign) along which columns, then rows, grow: right on the left, anterior or head on top."""
STEP_TOLERANCE = 0.01
"""How far one step between slices may be from another, as a share."""
_SQUARE = 0.01
_MAX_SHEAR_DEGREES = 0.5
_MOST_VOXELS = 2**30
"""Beyond it a volume is not put together: it would lie in memory twice."""


@dataclass(frozen=True)
class Volume:
    """Slices stacked in spatial order.

    `values` is (slices, rows, columns). `affine` (4 x 4) takes (column, row, slice) indices to mm, LPS.
    """

    values: Values
    affine: npt.NDArray[np.float64]
    like: Image
    """The first slice: modality, meaning of the values, window."""

    @classmethod
    def of(cls, study: Study, series: int, store: ImageStore) -> Volume:
        """A series of a study. ActionRejected, worded for a planner, when its slices make no regular volume."""
        images, affine = _stacked(study, series)
        return cls(values=np.stack([store.get(i.digest) for i in images]), affine=affine, like=images[0])

    def axis(self, plane: Plane) -> int:
        """The index axis (0 column, 1 row, 2 slice) that lies nearest to a plane's normal."""
        return _axes(self.affine)[_NORMAL[plane]]

    def count(self, plane: Plane) -> int:
        """How many slices a plane has."""
        return int(self.values.shape[2 - self.axis(plane)])

    def reformat(self, plane: Plane, index: int) -> tuple[Values, Image]:
        """One slice along the voxel axes nearest to a plane: (rows, columns) and an image without place or digest.

        Where the pixels would not be square, the coarser direction is resampled linearly to the finer one's step,
        from the first voxel's centre on. In an oblique volume the slice is as oblique.
        """
        if not 0 <= index < self.count(plane):
            raise ActionRejected(f"The {plane} plane has slices 0 to {self.count(plane) - 1}; there is no {index}.")
        axes, fixed = _axes(self.affine), self.axis(plane)
        (column_patient, column_sign), (row_patient, row_sign) = _READ[plane]
        origin = self.affine[:3, 3] + index * self.affine[:3, fixed]
        picture = np.take(self.values, index, axis=2 - fixed)
        column, row = axes[column_patient], axes[row_patient]
        remaining = [a for a in (2, 1, 0) if a != fixed]
        picture = picture if remaining == [row, column] else picture.T
        vectors = []
        for place, (axis, patient, sign) in enumerate(
            ((column, column_patient, column_sign), (row, row_patient, row_sign))
        ):
            vector = self.affine[:3, axis]
            if vector[patient] * sign < 0:
                picture = np.flip(picture, 1 - place)
                origin = origin + (picture.shape[1 - place] - 1) * vector
                vector = -vector
            vectors.append(vector)
        return self._image(picture, origin, vectors[0], vectors[1])

    def _image(
        self,
        picture: Values,
        origin: npt.NDArray[np.float64],
        along: npt.NDArray[np.float64],
        down: npt.NDArray[np.float64],
    ) -> tuple[Values, Image]:
        column_mm, row_mm = float(np.linalg.norm(along)), float(np.linalg.norm(down))
        finer = min(column_mm, row_mm)
        if row_mm > finer * (1 + _SQUARE):
            picture, row_mm, down = _resampled(picture, row_mm / finer), finer, down * finer / row_mm
        elif column_mm > finer * (1 + _SQUARE):
            picture, along = _resampled(picture.T, column_mm / finer).T, along * finer / column_mm
            column_mm = finer
        turned: Orientation = (*map(float, along / column_mm), *map(float, down / row_mm))  # type: ignore[assignment]
        position: Position = (float(origin[0]), float(origin[1]), float(origin[2]))
        image = self.like.model_copy(
            update={
                "sop_instance_uid": None, "frame": 0, "width": picture.shape[1], "height": picture.shape[0],
                "spacing": Spacing(row_mm=row_mm, column_mm=column_mm, source="reformat"), "position": position,
                "orientation": turned, "patient_orientation": letters_of(turned), "view_position": "",
            }
        )  # fmt: skip
        return compact(np.ascontiguousarray(picture)), image


def _stacked(study: Study, series: int) -> tuple[list[Image], npt.NDArray[np.float64]]:
    """The slices of a series and the affine that takes (column, row, slice) to mm; see `Volume.of`."""
    images = [study.images[i] for i in study.series[series].images]
    first = images[0]
    if len(images) < 2 or first.values == "RGB" or first.spacing is None or first.orientation is None:
        raise ActionRejected(f"Series {series} is no volume: it has one slice, colour, or no known geometry.")
    same = all((i.width, i.height, i.spacing) == (first.width, first.height, first.spacing) for i in images)
    turned = [np.abs(np.subtract(i.orientation, first.orientation)).max() if i.orientation else 1.0 for i in images]
    if not same or max(turned) > 1e-3 or any(i.position is None for i in images):
        raise ActionRejected(f"The slices of series {series} differ in size, spacing or orientation.")
    if len(images) * first.width * first.height > _MOST_VOXELS:
        raise ActionRejected(f"Series {series} is too large to be reformatted.")
    steps = np.diff(np.array([i.position for i in images]), axis=0)
    step = steps.mean(axis=0)
    length = float(np.linalg.norm(step))
    if length < 1e-3 or np.abs(steps - step).max() > STEP_TOLERANCE * length:
        raise ActionRejected(f"The slices of series {series} are not evenly spaced.")
    affine = np.eye(4)
    along, down = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    affine[:3, 0], affine[:3, 1] = along * first.spacing.column_mm, down * first.spacing.row_mm
    affine[:3, 2], affine[:3, 3] = step, first.position
    cosine = abs(float(np.cross(along, down) @ step)) / length
    if np.degrees(np.arccos(min(1.0, cosine))) > _MAX_SHEAR_DEGREES:
        raise ActionRejected(f"Series {series} is tilted: its reformats would be sheared.")
    return images, affine


def _axes(affine: npt.NDArray[np.float64]) -> list[int]:
    """For each patient axis, the index axis nearest to it; each is used once."""
    shares = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    axes = [-1, -1, -1]
    for _ in range(3):
        patient, axis = np.unravel_index(int(np.argmax(shares)), (3, 3))
        axes[int(patient)] = int(axis)
        shares[patient, :], shares[:, axis] = -1, -1
    return axes


def plane_sizes(study: Study, series: int) -> dict[Plane, int]:
    """How many slices each plane of a series has, without its pixels. ActionRejected as `Volume.of`."""
    images, affine = _stacked(study, series)
    sizes, axes = (images[0].width, images[0].height, len(images)), _axes(affine)
    return {plane: sizes[axes[normal]] for plane, normal in _NORMAL.items()}


def acquired_plane(study: Study, series: int) -> Plane:
    """The plane that the slices of a series lie nearest to. ActionRejected as `Volume.of`."""
    axes = _axes(_stacked(study, series)[1])
    return next(plane for plane, normal in _NORMAL.items() if axes[normal] == 2)


def _resampled(picture: Values, factor: float) -> Values:
    """Rows resampled linearly, `factor` times as many steps between the first and the last."""
    count = int((len(picture) - 1) * factor + 1e-9) + 1
    places = np.arange(count) / factor
    below = np.minimum(places.astype(int), len(picture) - 1)
    above = np.minimum(below + 1, len(picture) - 1)
    share = (places - below)[:, None]
    mixed: Values = picture[below] * (1 - share) + picture[above] * share
    return np.asarray(np.rint(mixed)) if picture.dtype.kind in "iu" else mixed


def with_reformats(study: Study, series: int, store: ImageStore, *, planes: tuple[Plane, ...], every: int = 1) -> Study:
    """The study with one more series a plane, its slices in `store`: then everything that shows a slice shows them."""
    volume = Volume.of(study, series, store)
    images, more = list(study.images), list(study.series)
    for plane in planes:
        made = []
        for n in range(0, volume.count(plane), every):
            values, image = volume.reformat(plane, n)
            place = {"index": len(images), "series": len(more), "digest": store.put(values)}
            images.append(image.model_copy(update=place))
            made.append(len(images) - 1)
        more.append(Series(index=len(more), modality=volume.like.modality, images=tuple(made), plane=plane))
    return study.model_copy(update={"images": tuple(images), "series": tuple(more)})
