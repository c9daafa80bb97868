"""NRRD (attached data only) through pynrrd's header; the bytes are checked before a voxel is read."""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import nrrd
import numpy as np
import numpy.typing as npt

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.tools.imaging.frame import Frame, Values, check_size
from medloupe.tools.imaging.geometry import Warn
from medloupe.tools.imaging.grid import check_affine, grid_frames, grid_values
from medloupe.tools.imaging.inflate import GZIP, inflated

__all__ = ["read_nrrd"]

_MAX_HEADER_BYTES = 2**20
_SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
"""Signs that take each anatomical space to LPS."""


def read_nrrd(file: BinaryIO, *, modality: str | None, warn: Warn, limits: Limits) -> list[Frame]:
    """The slices of a volume, in mm, LPS. InputRejected for detached data and for what is no plain 2D or 3D volume."""
    header = _header(file)
    shape, dtype = _layout(header, limits)
    count = int(np.prod(shape))
    data = _voxels(file, header, count * dtype.itemsize, limits)
    stored = np.frombuffer(data, dtype, count).reshape(shape, order="F")
    affine, spacing = _place(header, warn)
    if len(shape) == 4 and _colour_axis(header):
        if dtype != np.uint8 or shape[0] != 3:
            raise InputRejected("unsupported", "A NRRD of several values a voxel is not an image.")
        values: Values = np.moveaxis(stored, 0, -1)
    else:
        values = grid_values(stored, 1.0, 0.0)
    return grid_frames(values, affine, spacing, source="NRRD", modality=modality, warn=warn, limits=limits)


def _header(file: BinaryIO) -> dict[str, Any]:
    """The header's fields; the file is left behind its empty line."""
    lines: list[bytes] = []
    total = 0
    while True:
        line = file.readline(_MAX_HEADER_BYTES)
        total += len(line)
        if not line.endswith(b"\n") or total > _MAX_HEADER_BYTES:
            raise InputRejected("truncated", "The NRRD header does not end.")
        if not line.strip():
            break
        lines.append(line)
        if line.lower().startswith((b"data file:", b"datafile:")):
            raise InputRejected("unsupported", "The NRRD's voxels lie in another file, which is not opened.")
    try:
        return dict(nrrd.read_header(iter([*lines, b"\n"])))
    except Exception as error:  # pynrrd may raise anything on a damaged header
        raise InputRejected("undecodable", "The NRRD header is damaged.") from error


def _layout(header: dict[str, Any], limits: Limits) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        shape = tuple(int(n) for n in header["sizes"])
        from nrrd.reader import _determine_datatype  # its only table of type names

        dtype = np.dtype(_determine_datatype(header))
    except Exception as error:
        raise InputRejected("bad-header", "The NRRD header's sizes or type cannot be read.") from error
    if not 2 <= len(shape) <= 4 or min(shape) < 1 or dtype.kind not in "iuf":
        raise InputRejected("unsupported", "The NRRD is no two- or three-dimensional image.")
    if len(shape) == 4 and not _colour_axis(header):
        raise InputRejected("unsupported", "The NRRD is no two- or three-dimensional image.")
    columns, rows, *rest = shape[1:] if len(shape) == 4 else shape
    check_size(columns, rows, math.prod(rest), limits)
    return shape + (1,) * (3 - len(shape)), dtype


def _colour_axis(header: dict[str, Any]) -> bool:
    kinds = [str(kind).lower() for kind in header.get("kinds", ())]
    return bool(kinds) and kinds[0] in ("rgb-color", "3-color", "vector")


def _voxels(file: BinaryIO, header: dict[str, Any], size: int, limits: Limits) -> bytes:
    """Exactly `size` bytes of raw or gzip data: inflating stops there, whatever the file holds."""
    encoding = str(header.get("encoding", "")).lower()
    if int(header.get("line skip", header.get("lineskip", 0))) or int(
        header.get("byte skip", header.get("byteskip", 0))
    ):
        raise InputRejected("unsupported", "A NRRD that skips bytes is not read.")
    if encoding == "raw":
        data = file.read(size)
    elif encoding in ("gzip", "gz"):
        data = b"".join(inflated(file, GZIP, limits, declared=size))
    else:
        raise InputRejected("unsupported", "The NRRD's encoding is neither raw nor gzip.")
    if len(data) < size:
        raise InputRejected("truncated", "The NRRD file ends before its voxels do.")
    return data


def _place(header: dict[str, Any], warn: Warn) -> tuple[npt.NDArray[np.float64] | None, tuple[float, float] | None]:
    """`space directions` and `space origin` as voxels to mm in LPS; else the `spacings` alone."""
    signs = _SPACES.get(str(header.get("space", "")).lower())
    directions, origin = header.get("space directions"), header.get("space origin")
    if directions is None or origin is None or signs is None:
        steps = [float(mm) for mm in header.get("spacings", ())][-3:]
        if len(steps) < 2 or not all(np.isfinite(steps[:2])) or min(steps[:2]) <= 0:
            warn("No usable pixel spacing: sizes are in pixels.")
            return None, None
        return None, (steps[0], steps[1])
    axes = [np.asarray(d, float) for d in directions if d is not None and np.isfinite(np.asarray(d, float)).any()]
    if len(axes) != 3 or any(a.shape != (3,) for a in axes) or np.shape(origin) != (3,):
        raise InputRejected("bad-header", "The NRRD's space directions are not three axes.")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.stack(axes, axis=1), origin
    affine = np.diag([*signs, 1.0]) @ affine
    check_affine(affine)
    return affine, None
