"""NIfTI-1 and NIfTI-2 (single file) through nibabel's headers; the bytes are checked before a voxel is read."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.tools.imaging.frame import Frame, check_size
from medloupe.tools.imaging.geometry import SPACING_MM, Warn
from medloupe.tools.imaging.grid import RAS_TO_LPS, check_affine, grid_frames, grid_values

__all__ = ["declared_bytes", "is_nifti", "read_nifti"]

_TO_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_MAGIC = {b"n+1\0": 344, b"n+2\0": 4, b"ni1\0": 344, b"ni2\0": 4}
"""Magic words and where they stand; "ni" means that the voxels lie in another file."""


def is_nifti(head: bytes) -> bool:
    """Whether a file starts as NIfTI does."""
    return any(head[at : at + 4] == magic for magic, at in _MAGIC.items())


def declared_bytes(head: bytes, limits: Limits) -> int:
    """How long a NIfTI must be by its header, which `head` holds. InputRejected as `read_nifti` would."""
    shape, dtype, offset = _layout(_header(BytesIO(head)), limits)
    return offset + math.prod(shape) * dtype.itemsize


def read_nifti(file: BinaryIO, size: int, *, modality: str | None, warn: Warn, limits: Limits) -> list[Frame]:
    """The slices of a volume, in mm, LPS; a fourth dimension gives one series a volume. InputRejected otherwise."""
    header = _header(file)
    shape, dtype, offset = _layout(header, limits)
    count = math.prod(shape)
    if offset > size:
        raise InputRejected("bad-header", "The NIfTI header says that the voxels lie outside the file.")
    if offset + count * dtype.itemsize > size:
        raise InputRejected("truncated", "The NIfTI file ends before its voxels do.")
    file.seek(offset)
    stored = np.frombuffer(file.read(count * dtype.itemsize), dtype, count).reshape(shape, order="F")
    slope, intercept = _scaling(header)
    affine, spacing = _place(header, warn)
    values = grid_values(stored, slope, intercept)
    return grid_frames(values, affine, spacing, source="NIfTI", modality=modality, warn=warn, limits=limits)


def _header(file: BinaryIO) -> Any:
    import nibabel as nib

    head = file.read(540)
    file.seek(0)
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        raise InputRejected("unsupported", "The NIfTI header's voxels lie in another file, which is not opened.")
    kind = nib.Nifti2Header if head[4:7] == b"n+2" else nib.Nifti1Header
    try:
        # The header alone: its extensions say nothing of the voxels.
        return kind.from_fileobj(BytesIO(head[: kind.template_dtype.itemsize]), check=False)
    except Exception as error:  # nibabel may raise anything on a damaged header
        raise InputRejected("undecodable", "The NIfTI header is damaged.") from error


def _layout(header: Any, limits: Limits) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape (three axes at least), type and place of the voxels."""
    dims = [int(n) for n in header["dim"]]
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1:
        raise InputRejected("bad-header", "The NIfTI header's dimensions are not positive.")
    shape = tuple(dims[1 : dims[0] + 1])
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 4:
        raise InputRejected("unsupported", "NIfTI of more than four dimensions is not an image.")
    shape = shape + (1,) * (3 - len(shape))
    check_size(shape[0], shape[1], math.prod(shape[2:]), limits)
    try:
        dtype = header.get_data_dtype()
    except Exception as error:  # nibabel's own errors for unknown codes
        raise InputRejected("unsupported", "The NIfTI data type is not known.") from error
    if dtype.itemsize == 0 or (dtype.names is None and dtype.kind not in "iuf"):
        raise InputRejected("unsupported", "The NIfTI data type is not an image's.")
    offset, least = float(header["vox_offset"]), float(header.single_vox_offset)
    if offset == 0:
        offset = least
    if not np.isfinite(offset) or offset < least:
        raise InputRejected("bad-header", "The NIfTI header says that the voxels lie outside the file.")
    return shape, dtype, int(offset)


def _scaling(header: Any) -> tuple[float, float]:
    """scl_slope and scl_inter; a slope of 0 or NaN means none (NIfTI-1 standard)."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    if not np.isfinite(intercept):
        raise InputRejected("bad-header", "The NIfTI header's scaling is not finite: the values have no meaning.")
    return slope, intercept


def _place(header: Any, warn: Warn) -> tuple[npt.NDArray[np.float64] | None, tuple[float, float] | None]:
    """The sform, else the qform, as voxels to mm in LPS; without either only the spacing of pixdim."""
    unit = header.get_xyzt_units()[0]
    if unit == "unknown":
        warn("The NIfTI header does not name its unit of length: millimetres are assumed.")
    scale = np.diag([*[_TO_MM.get(unit, 1.0)] * 3, 1.0])
    if int(header["sform_code"]) > 0:
        affine = np.asarray(header.get_sform(), np.float64)
    elif int(header["qform_code"]) > 0:
        try:
            affine = np.asarray(header.get_qform(), np.float64)
        except Exception as error:  # a quaternion longer than one
            raise InputRejected("bad-header", "The NIfTI header's rotation is impossible.") from error
    else:
        steps = [abs(float(mm)) * scale[0, 0] for mm in header["pixdim"][1:3]]
        known = all(np.isfinite(mm) and SPACING_MM[0] <= mm <= SPACING_MM[1] for mm in steps)
        return None, (steps[0], steps[1]) if known else None
    check_affine(affine := RAS_TO_LPS @ scale @ affine)
    return affine, None
