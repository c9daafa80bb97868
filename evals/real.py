"""Phantoms are no evidence about real images: benchmarks of real images refuse them, file by file."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pydicom

from medloupe.errors import UsageError
from medloupe.prompts import knowledge

__all__ = ["real"]


def real(file: Path) -> Path:
    """The file again; UsageError when it says that medloupe drew it. Reads the header only."""
    label = knowledge("dicom_terms")["phantom_label"]
    with file.open("rb") as opened:
        head = opened.read(132)
    if head[128:] == b"DICM":
        said = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["ImageComments"]).get("ImageComments", "")
    else:
        with PIL.Image.open(file) as picture:
            said = picture.info.get("Comment", "")
    if said == label:
        raise UsageError(f"{file.name} is a phantom: it is no evidence in a benchmark of real images")
    return file
