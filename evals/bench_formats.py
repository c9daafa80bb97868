"""All files of a DICOM collection against the reference decoders: identical, within a lossy tolerance, or refused.

python -m medloupe.evals.bench_formats [FOLDER]
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut, apply_modality_lut

from medloupe.errors import InputRejected
from medloupe.tools.imaging import jpeg
from medloupe.tools.imaging.pixels import decoded
from medloupe.tools.imaging.reading import read_source
from medloupe.tools.imaging.slide import Part, SlideFile
from medloupe.tools.imaging.sources import Source

__all__ = ["LOSSY_TOLERANCE", "compare", "main"]

LOSSY_TOLERANCE = 2
"""Grey levels by which two decoders of lossy JPEG may differ (inverse DCT and YCbCr rounding)."""
_FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "dicom"


def compare(path: Path) -> str:
    """ "identical", "within tolerance", "DIFFERENT", "no reference", or "refused: CODE", of one file."""
    try:
        read = read_source(Source(path=path, suffix=path.suffix), None)
    except InputRejected as rejected:
        return f"refused: {rejected.code}"
    if read is None:
        return "refused: unknown-format"
    if read.slides:
        return _compare_slide(path, read.slides[0])
    if not read.frames:
        return _compare_marks(path)
    reference = _reference(path)
    if reference is None:
        return "no reference"
    ours = [np.asarray(f.values, np.float64) for f in sorted(read.frames, key=lambda f: f.draft.frame)]
    if len(ours) != len(reference) or any(a.shape != b.shape for a, b in zip(ours, reference, strict=True)):
        return "DIFFERENT"
    apart = max(float(np.abs(a - b).max()) for a, b in zip(ours, reference, strict=True))
    if apart <= 1e-6 * max(1.0, max(float(np.abs(b).max()) for b in reference)):
        return "identical"
    lossy = (
        "JPEG Baseline" in read.frames[0].draft.transfer_syntax or "Extended" in read.frames[0].draft.transfer_syntax
    )
    return "within tolerance" if lossy and apart <= LOSSY_TOLERANCE else "DIFFERENT"


def _reference(path: Path) -> list[np.ndarray[Any, Any]] | None:
    """pydicom's own pixels and look-up tables; for JPEG that it cannot read, imagecodecs' other decoders."""
    ds = pydicom.dcmread(path, force=True)
    try:
        array = _other_decoder(ds) if ds.file_meta.TransferSyntaxUID in jpeg.DECODER_DEPENDENCIES else ds.pixel_array
    except (RuntimeError, ValueError, AttributeError, NotImplementedError, StopIteration):
        return None
    frames = list(array) if int(ds.get("NumberOfFrames") or 1) > 1 else [array]
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


def _compare_slide(path: Path, slide: SlideFile) -> str:
    """All of a slide's largest level against highdicom's total pixel matrix."""
    import highdicom

    box = (0, 0, slide.levels[0].width, slide.levels[0].height)
    ours = read_source(Source(path=path, part=Part(level=0, box=box, stamp=slide.stamp)), None)
    theirs = highdicom.imread(path).get_total_pixel_matrix(apply_icc_profile=False)
    return "identical" if ours and np.array_equal(ours.frames[0].values, theirs) else "DIFFERENT"


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
    """Print the table; 1 when a file differs from its reference or takes over 10 s."""
    folder = Path((argv or sys.argv[1:] or [str(_FOLDER)])[0])
    table: dict[str, Counter[str]] = {}
    slowest, failed = 0.0, 0
    for item in json.loads((folder / "MANIFEST.json").read_text())["items"]:
        start = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = compare(folder / item["file"])
        took = time.monotonic() - start
        slowest = max(slowest, took)
        table.setdefault(item["file"].split("/")[0], Counter())[outcome] += 1
        if outcome == "DIFFERENT" or took > 10:
            failed += 1
            print(f"  {outcome} {item['file']} {took:.1f} s")
    for kind, outcomes in table.items():
        print(f"{kind} ({outcomes.total()})")
        for outcome, count in sorted(outcomes.items()):
            print(f"  {count:4d}  {outcome}")
    print(f"slowest file {slowest:.2f} s; lossy tolerance {LOSSY_TOLERANCE} grey levels")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
