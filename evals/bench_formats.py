"""All files of a DICOM collection against the reference decoders: identical, within a lossy tolerance, or refused.

    python -m medloupe.evals.bench_formats [FOLDER]

Every file is opened as a user would open it, through the worker pool; only that is timed, and the first time holds the
pool's start. Exit 1 when a file differs from its reference, takes longer than 10 s, or anything but a study or an
InputRejected comes of it.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels import apply_color_lut, apply_modality_lut

from medloupe.errors import InputRejected
from medloupe.limits import DEFAULT
from medloupe.tools.imaging import ImageStore, MemoryStore, jpeg, load_study
from medloupe.tools.imaging.pixels import decoded
from medloupe.tools.imaging.region import region
from medloupe.tools.imaging.sources import Source
from medloupe.tools.imaging.workers import read_all
from medloupe.types import BoundingBox, Image

__all__ = ["LONGEST_S", "LOSSY_TOLERANCE", "Compared", "compare", "main"]

LONGEST_S = 10.0
LOSSY_TOLERANCE = 2
"""Grey levels by which two decoders of lossy JPEG may differ (inverse DCT and YCbCr rounding)."""
_FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "dicom"


class Compared(NamedTuple):
    """Of one file."""

    outcome: str
    """ "identical", "within tolerance", "DIFFERENT", "no reference", "regions, identical", "refused: CODE", ..."""
    seconds: float
    """That opening it took."""


def compare(path: Path) -> Compared:
    """Open a file through the pool, and hold its pixels or regions against their reference."""
    store, begun = MemoryStore(), time.monotonic()
    try:
        study = load_study(path, store)
    except InputRejected as rejected:
        return Compared(_without_images(path, rejected), time.monotonic() - begun)
    seconds = time.monotonic() - begun
    images = sorted(study.images, key=lambda image: image.frame)
    if images[0].levels:
        return Compared(_compare_slide(path, store, images[0]), seconds)
    values = [np.asarray(store.get(image.digest), np.float64) for image in images]
    return Compared(_compare_pixels(path, values, images[0].transfer_syntax), seconds)


def _without_images(path: Path, rejected: InputRejected) -> str:
    """Regions and texts are refused as a study of their own, and read beside one."""
    (found,), _ = read_all([Source(path=path, suffix=path.suffix)], None, DEFAULT)
    return _compare_marks(path) if found.read is not None and found.read.marks else f"refused: {rejected.code}"


def _compare_pixels(path: Path, ours: list[npt.NDArray[np.float64]], transfer_syntax: str) -> str:
    reference = _reference(path)
    if reference is None:
        return "no reference"
    if len(ours) != len(reference) or any(a.shape != b.shape for a, b in zip(ours, reference, strict=True)):
        return "DIFFERENT"
    apart = max(float(np.abs(a - b).max()) for a, b in zip(ours, reference, strict=True))
    if apart <= 1e-6 * max(1.0, max(float(np.abs(b).max()) for b in reference)):
        return "identical"
    lossy = "JPEG Baseline" in transfer_syntax or "Extended" in transfer_syntax
    return "within tolerance" if lossy and apart <= LOSSY_TOLERANCE else "DIFFERENT"


def _reference(path: Path) -> list[np.ndarray[Any, Any]] | None:
    """pydicom's own pixels and look-up tables; for JPEG that it cannot read, imagecodecs' other decoders."""
    ds = pydicom.dcmread(path, force=True)
    try:
        array = _other_decoder(ds) if ds.file_meta.TransferSyntaxUID in jpeg.DECODER_DEPENDENCIES else ds.pixel_array
    except (RuntimeError, ValueError, AttributeError, NotImplementedError, StopIteration):
        return None
    frames = list(array) if int(ds.get("NumberOfFrames") or 1) > 1 else [array]
    if ds.get("Modality") == "RTDOSE":
        return [np.asarray(f * float(ds.DoseGridScaling), np.float64) for f in frames]
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        frames = [apply_color_lut(f, ds) for f in frames]
    elif ds.get("SamplesPerPixel", 1) == 1:
        return [np.asarray(apply_modality_lut(f, ds), np.float64) for f in frames]
    return [np.asarray(f >> (8 * f.dtype.itemsize - 8), np.float64) for f in frames]


def _other_decoder(ds: Any) -> Any:
    """A second implementation than the plugin's: jpegsof3 for lossless, Pillow or imagecodecs' own for DCT."""
    import imagecodecs
    from pydicom.encaps import generate_frames

    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    try:
        array = imagecodecs.jpegsof3_decode(frame)
    except (RuntimeError, ValueError):
        array = imagecodecs.jpeg_decode(frame)
    return array.view(np.int16) if ds.PixelRepresentation and array.dtype == np.uint16 else array


def _compare_slide(path: Path, store: ImageStore, image: Image) -> str:
    """All of a slide's largest level against highdicom's total pixel matrix."""
    import highdicom

    ours = region(store, image, BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)).values
    theirs = highdicom.imread(path).get_total_pixel_matrix(apply_icc_profile=False)
    return "identical" if np.array_equal(ours, theirs) else "DIFFERENT"


def _compare_marks(path: Path) -> str:
    """A segmentation's bits against pydicom's."""
    ds = pydicom.dcmread(path, force=True)
    if "PixelData" not in ds:
        return "regions or text"
    try:
        reference = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    except (RuntimeError, NotImplementedError):
        return "regions, no reference"
    same = all(np.array_equal(a, b) for a, b in zip(decoded(ds), reference, strict=True))
    return "regions, identical" if same else "DIFFERENT"


def main(argv: list[str] | None = None) -> int:
    """Print the table; see the module."""
    folder = Path((argv or sys.argv[1:] or [str(_FOLDER)])[0])
    table: dict[str, Counter[str]] = {}
    times: list[tuple[float, str]] = []
    for item in json.loads((folder / "MANIFEST.json").read_text())["items"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome, seconds = compare(folder / item["file"])
        times.append((seconds, item["file"]))
        table.setdefault(item["file"].split("/")[0], Counter())[outcome] += 1
        if outcome == "DIFFERENT":
            print(f"  {outcome} {item['file']}")
    for kind, outcomes in table.items():
        print(f"{kind} ({outcomes.total()})")
        for outcome, count in sorted(outcomes.items()):
            print(f"  {count:4d}  {outcome}")
    print("slowest: " + ", ".join(f"{name} {seconds:.2f} s" for seconds, name in sorted(times, reverse=True)[:3]))
    different = sum(outcomes["DIFFERENT"] for outcomes in table.values())
    hung = sum(seconds > LONGEST_S for seconds, _ in times)
    print(
        f"{len(times)} files, load {os.getloadavg()[0]:.1f}: {different} different (lossy tolerance {LOSSY_TOLERANCE} "
        f"grey levels), {hung} over {LONGEST_S:g} s  {'met' if not different + hung else 'MISSED'}"
    )
    return int(different + hung > 0)


if __name__ == "__main__":
    sys.exit(main())
