"""Files with something to recognise in every value representation, private, nested, overlay and curve element."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from reader_script import write_ct

WORD = "QZXCANARY"
"""In every text, code string, name and blob."""
CANARIES: dict[str, str] = {
    "DA": "18370714", "DT": "18370714031415", "TM": "031415.926535", "AS": "797Y", "DS": "31415926.53",
    "IS": "271828182", "UI": "2.25.577215664901532860606", "CS": WORD, "SH": WORD, "AE": WORD, "PN": f"{WORD}^A",
    "LO": WORD, "ST": WORD, "LT": WORD, "UT": WORD, "UC": WORD, "UR": f"http://{WORD}",
}  # fmt: skip
NUMBERS: dict[str, int] = {
    "UL": 3141592653, "SL": 1414213562, "FD": 161803398, "FL": 173205080, "SV": 2236067977499, "UV": 2645751311064,
    "US": 51966, "SS": 21555,
}  # fmt: skip
"""Those of two bytes are planted and not searched for: five digits turn up by chance."""
BLOBS = ("OB", "OW", "OD", "OF", "OL", "OV", "UN")
TRACES = tuple({WORD, "18370714", "031415.926", "31415926", "271828182", "577215664901532",
                *(str(n) for vr, n in NUMBERS.items() if vr not in ("US", "SS"))})  # fmt: skip
"""What must turn up nowhere."""

MEANT = {
    "Rows", "Columns", "PixelData", "FloatPixelData", "DoubleFloatPixelData", "SamplesPerPixel", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation", "PlanarConfiguration", "Modality",
    "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio",
    "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "WindowCenter", "WindowWidth", "PixelPaddingValue", "PixelPaddingRangeLimit", "SpecificCharacterSet",
    "SOPClassUID", "VOILUTFunction", "PresentationLUTShape", "SmallestImagePixelValue", "LargestImagePixelValue",
    "NumberOfOpticalPaths", "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "PixelDataProviderURL", "EstimatedRadiographicMagnificationFactor",
    "SpacingBetweenSlices", "GantryDetectorTilt", "SliceThickness", "SliceLocation", "SeriesNumber", "InstanceNumber",
}  # fmt: skip
"""What an image needs to be itself: numbers that are read on purpose, or without which nothing is."""
READ_SEQUENCES = {
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ModalityLUTSequence", "VOILUTSequence",
    "SequenceOfUltrasoundRegions", "OpticalPathSequence", "DimensionIndexSequence",
}  # fmt: skip


def by_vr() -> dict[str, list[str]]:
    """Every keyword of the dictionary that can be planted, by its VR."""
    table: dict[str, list[str]] = {}
    for keyword in sorted(keyword_dict):
        tag = pydicom.tag.Tag(tag_for_keyword(keyword) or 0)
        if keyword and 0x0007 < tag.group < 0xFFFE and keyword not in MEANT and tag.element:
            table.setdefault(dictionary_VR(keyword), []).append(keyword)
    return table


def planted(ds: Dataset, keywords: Iterator[str] | list[str]) -> None:
    """A canary in each of these attributes."""
    for keyword in keywords:
        vr = dictionary_VR(keyword)
        kind = vr.partition(" or ")[0]
        value: object = CANARIES.get(kind, NUMBERS.get(kind, WORD.encode().ljust(16)))
        if kind in ("SQ", "AT"):
            continue
        ds.add_new(tag_for_keyword(keyword), kind, value)


def write_canaries(folder: Path, count: int, *, each: int = 3) -> list[Path]:
    """`count` small CT files; together they plant the whole dictionary, `each` attributes a VR in a file."""
    table = by_vr()
    turns = {vr: cycle(keywords) for vr, keywords in table.items() if vr != "SQ"}
    sequences = cycle([k for k in table["SQ"] if k not in READ_SEQUENCES])
    return [_write(folder / f"{WORD}_{n:03d}.dcm", n, turns, next(sequences), each) for n in range(count)]


def _write(path: Path, n: int, turns: dict[str, cycle[str]], sequence: str, each: int) -> Path:
    values = np.full((64, 64), -100, np.float32)
    cv2.circle(values, (20, 24), 9, 60.0, thickness=-1)
    values += np.random.default_rng(n).normal(0, 4, values.shape)
    ds = pydicom.dcmread(write_ct(path, values))
    with disable_value_validation():
        for keywords in turns.values():
            planted(ds, list(islice(keywords, each)))
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = CANARIES["PN"], WORD, CANARIES["DA"]
        ds.SOPInstanceUID = ds.SeriesInstanceUID = ds.StudyInstanceUID = f"{CANARIES['UI']}{n}"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        setattr(ds, sequence, Sequence([_nested(turns, 3)]))
        for vr, value in {**CANARIES, **NUMBERS, **dict.fromkeys(BLOBS, WORD.encode().ljust(16))}.items():
            block = ds.private_block(0x0099, WORD, create=True)
            block.add_new(len(block.dataset.group_dataset(0x0099)) & 0xFF, vr, value)
        ds.add_new(0x60000022, "LO", WORD)
        ds.add_new(0x60004000, "LT", WORD)
        ds.add_new(0x60003000, "OW", WORD.encode().ljust(512))
        ds.add_new(0x50003000, "OW", WORD.encode().ljust(16))
        ds.save_as(path)
    return _damaged(path, n)


def _nested(turns: dict[str, cycle[str]], depth: int) -> Dataset:
    item = Dataset()
    for keywords in turns.values():
        planted(item, list(islice(keywords, 1)))
    item.PatientName = CANARIES["PN"]
    if depth:
        item.ReferencedStudySequence = Sequence([_nested(turns, depth - 1)])
    return item


_TARGETS = ("PixelSpacing", "WindowCenter", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient")


def _damaged(path: Path, n: int) -> Path:
    """One file in ten is cut off, one has text where a number that is read should be, one starts with a name."""
    data = path.read_bytes()
    if n % 10 == 3:
        path.write_bytes(data[: len(data) // 2])
    elif n % 10 == 5:
        tag = tag_for_keyword(_TARGETS[n // 10 % len(_TARGETS)]) or 0
        at = data.index(tag.to_bytes(4, "big")[1::-1] + tag.to_bytes(4, "big")[:1:-1] + b"DS") + 8
        length = int.from_bytes(data[at - 2 : at], "little")
        path.write_bytes(data[:at] + WORD.encode()[:length].ljust(length) + data[at + length :])
    elif n % 10 == 7:
        path.write_bytes(WORD.encode().ljust(128, b"\0") + data[128:])
    return path
