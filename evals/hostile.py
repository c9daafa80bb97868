"""Files made to harm or to mislead: bombs that inflate, and DICOM that is well-formed and wrong.

Every bomb must be refused before it fills memory; every wrong file must be refused, or loaded with a warning.
"""

from __future__ import annotations

import copy
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

__all__ = ["BOMBS", "WRONG", "plain_ct"]

_ELEMENT = struct.Struct("<HH2sHI")


def plain_ct(**tags: Any) -> Dataset:
    """A sound 16 x 16 CT slice, whose tags may be set; None removes one."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3.4.5"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber = "1.2.3", "1.2.3.4", 1
    ds.Modality, ds.PhotometricInterpretation, ds.SamplesPerPixel = "CT", "MONOCHROME2", 1
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept, ds.WindowCenter, ds.WindowWidth = 1, -1024, 40, 400
    ds.PixelSpacing, ds.ImagePositionPatient = [0.5, 0.5], [10, 20, 30]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelData = (np.arange(256, dtype=np.uint16) * 16).tobytes()
    for keyword, value in tags.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def _written(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _compressed(syntax: str, frames: list[bytes], **tags: Any) -> bytes:
    ds = plain_ct(**tags)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    return _written(ds)


def _data_set_starts(file: bytes) -> int:
    return 144 + int(struct.unpack("<I", file[140:144])[0])


# --- bombs ----------------------------------------------------------------------------------------------------------


def _zeros(megabytes: int, bits: int) -> bytes:
    """So many megabytes of zeros, deflated (`bits` as zlib's wbits): one megabyte's block over and over."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, bits)
    head = squeezer.compress(bytes(2**20)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    block = squeezer.compress(bytes(2**20)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (megabytes - 1) + squeezer.flush()


def _deflated() -> bytes:
    ds = plain_ct()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file = _written(ds)
    return file[: _data_set_starts(file)] + _zeros(4096, -zlib.MAX_WBITS)


def _rle() -> bytes:
    runs = b"\x81\0" * 2**22  # each pair is 128 zeros: 8 MB become 512 MB, for an image of 8 kB
    return _compressed(RLELossless, [struct.pack("<16I", 2, 64, 64 + len(runs), *[0] * 13) + runs * 2])


def _rle_declared() -> bytes:
    return _compressed(RLELossless, [struct.pack("<16I", 2, 64, 66, *[0] * 13) + b"\x81\0" * 2] * 4,
                       Rows=9000, Columns=9000, NumberOfFrames=4)  # fmt: skip


def _j2k_codestream(side: int) -> bytes:
    """A main header that declares side x side pixels in one tile, and one empty tile."""
    siz = struct.pack(">H", 0) + struct.pack(">IIIIIIIIH", side, side, 0, 0, side, side, 0, 0, 1) + b"\x0f\x01\x01"
    cod = b"\xff\x52" + struct.pack(">HBBHBBBBBB", 12, 0, 0, 1, 0, 0, 4, 4, 0, 1)
    qcd = b"\xff\x5c" + struct.pack(">HBB", 4, 0x40, 0x40)
    sot = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 0, 0, 1) + b"\xff\x93"
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(siz) + 2) + siz + cod + qcd + sot + bytes(16) + b"\xff\xd9"


def _j2k() -> bytes:
    return _compressed(JPEG2000Lossless, [_j2k_codestream(60_000)])


def _jpeg() -> bytes:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 65_000, 65_000, 1) + b"\x01\x11\0"
    return _compressed(JPEGBaseline8Bit, [b"\xff\xd8" + frame + b"\xff\xd9"],
                       BitsAllocated=8, BitsStored=8, HighBit=7)  # fmt: skip


def _gzip() -> bytes:
    return _zeros(4096, 16 + zlib.MAX_WBITS)


def _gzip_of(head: bytes, megabytes: int) -> bytes:
    """A gzip of these bytes and so many megabytes of zeros after them."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = squeezer.compress(head) + squeezer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + start + _zeros(megabytes, -zlib.MAX_WBITS) + bytes(8)


def _nifti_gz() -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 1024, 1024, 1024, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    return _gzip_of(bytes(header), 2048)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a.dcm", bytes(2**28))
    return buffer.getvalue()


def _zip_of_many() -> bytes:
    """Sizes in the directory that lie: each entry says 1000 bytes and inflates to 64 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("a.dcm", _written(plain_ct()) + bytes(2**26))
    return buffer.getvalue().replace(struct.pack("<I", len(_written(plain_ct())) + 2**26), struct.pack("<I", 1000))


def _zip_nested() -> bytes:
    """ZIPs in ZIPs, three deep, of the bomb above: none but the outermost is opened."""
    data = _zip()
    for level in range(3):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for n in range(8):
                archive.writestr(f"{level}-{n}.zip", data)
        data = buffer.getvalue()
    return data


def _zip_overlapping() -> bytes:
    """Entries that are all the same stored bytes: a directory of 300 that inflates 16 MB to 5 GB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("a", bytes(2**24))
        for n in range(299):
            archive.filelist.append(copy.copy(archive.filelist[0]))
            archive.filelist[-1].filename = archive.filelist[-1].orig_filename = f"a{n}"
    return buffer.getvalue()


def _zip_directory() -> bytes:
    """A directory of 600,000 empty entries, 33 MB."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0)
    names = b"".join(entry + b"%09d" % n for n in range(600_000))
    return b"PK\3\4" + names + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(names), 4, 0)


def _zip_bz2() -> bytes:
    """bzip2 inflates a thousand times more than deflate; the entry says that it is 60 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.dcm", bytes(2**28))
    return buffer.getvalue().replace(struct.pack("<I", 2**28), struct.pack("<I", 60_000_000))


def _gzip_dicom() -> bytes:
    """What begins as a CT does and goes on in zeros for 4 GB."""
    return _gzip_of(_written(plain_ct()) + _ELEMENT.pack(0xFFFC, 0xFFFC, b"OB", 0, 0xFFFFFFFE), 4096)


def _nrrd_gz() -> bytes:
    header = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 1000 1000 1000\nendian: little\nencoding: gzip\n\n"
    return header + _zeros(2048, 16 + zlib.MAX_WBITS)


def _tiff(pages: int, side: int) -> Callable[[], bytes]:
    """Pages of side x side that share one strip of a few bytes."""

    def made() -> bytes:
        strip = zlib.compress(bytes(2**20), 9)
        data = bytearray(b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip)
        for page in range(pages):
            tags = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, side),
                    (279, len(strip))]  # fmt: skip
            entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
            after = len(data) + 2 + len(entries) + 4
            data += struct.pack("<H", len(tags)) + entries + struct.pack("<I", after if page + 1 < pages else 0)
        return bytes(data)

    return made


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(2**20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _sequences() -> bytes:
    start = _ELEMENT.pack(0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    file = _written(plain_ct())
    return file[: _data_set_starts(file)] + start * 200_000


def _elements() -> bytes:
    return gzip.compress(_written(plain_ct()) + bytes(2**26))


BOMBS: dict[str, Callable[[], bytes]] = {
    "deflate.dcm": _deflated,
    "rle.dcm": _rle,
    "rle_frames.dcm": _rle_declared,
    "j2k.dcm": _j2k,
    "jpeg.dcm": _jpeg,
    "gzip.dcm.gz": _gzip,
    "gzip_dicom.dcm.gz": _gzip_dicom,
    "nifti.nii.gz": _nifti_gz,
    "zip.zip": _zip,
    "zip_lies.zip": _zip_of_many,
    "zip_nested.zip": _zip_nested,
    "zip_overlapping.zip": _zip_overlapping,
    "zip_directory.zip": _zip_directory,
    "zip_bz2.zip": _zip_bz2,
    "png.png": _png,
    "tiff.tif": _tiff(1, 30_000),
    "tiff_pages.tif": _tiff(20_000, 9_000),
    "nrrd.nrrd": _nrrd_gz,
    "frames.dcm": lambda: _written(plain_ct(NumberOfFrames=2**31 - 1)),
    "dimensions.dcm": lambda: _written(plain_ct(Rows=65_535, Columns=65_535)),
    "sequences.dcm": _sequences,
    "elements.dcm.gz": _elements,
}
"""By file name."""


# --- well-formed and wrong ------------------------------------------------------------------------------------------


def _raw(keyword_bytes: bytes, other: bytes, **tags: Any) -> Callable[[], bytes]:
    def made() -> bytes:
        file = _written(plain_ct(**tags))
        assert file.count(keyword_bytes) == 1
        return file.replace(keyword_bytes, other)

    return made


def _tags(**tags: Any) -> Callable[[], bytes]:
    return lambda: _written(plain_ct(**tags))


def _cut_header() -> bytes:
    return _written(plain_ct())[:200]


def _long_element() -> bytes:
    return _written(plain_ct()) + _ELEMENT.pack(0x7FE1, 0x1010, b"OB", 0, 0xFFFFFFF0) + b"abc"


def _polyglot(magic: bytes) -> Callable[[], bytes]:
    return lambda: magic + _written(plain_ct())[len(magic) :]


def _sign_bits() -> bytes:
    """Signed by PixelRepresentation, and values that 12 bits hold only without a sign: half would turn negative."""
    pixels = np.full(256, 0x0FFF, np.uint16)
    return _written(plain_ct(PixelData=pixels.tobytes(), PixelRepresentation=0, BitsStored=8, HighBit=7))


WRONG: dict[str, Callable[[], bytes]] = {
    "rows beyond the data": _tags(Rows=17),
    "columns beyond the data": _tags(Columns=17),
    "rows of zero": _tags(Rows=0),
    "rows less than the data": _tags(Rows=12),
    "columns less than the data": _tags(Columns=12),
    "no rows": _tags(Rows=None),
    "frames of -1": _tags(NumberOfFrames=-1),
    "frames of 2^31-1": _tags(NumberOfFrames=2**31 - 1),
    "frames of 2, data for one": _tags(NumberOfFrames=2),
    "three samples, one in the data": _tags(SamplesPerPixel=3),
    "RGB with one sample": _tags(PhotometricInterpretation="RGB"),
    "palette without a table": _tags(PhotometricInterpretation="PALETTE COLOR"),
    "an unknown photometric interpretation": _tags(PhotometricInterpretation="GREY"),
    "12 bits allocated": _tags(BitsAllocated=12),
    "8 bits allocated, 16 in the data": _tags(BitsAllocated=8, BitsStored=8, HighBit=7),
    "more bits stored than allocated": _tags(BitsStored=32),
    "no bits stored": _tags(BitsStored=0),
    "fewer bits stored than the values have": _sign_bits,
    "a high bit that is not the last": _tags(HighBit=15),
    "a sign that is neither": _tags(PixelRepresentation=3),
    "a sign where the values have none": _tags(PixelRepresentation=1),
    "a slope of zero": _tags(RescaleSlope=0),
    "a slope that is no number": _raw(b"12345678", b"NaN     ", RescaleSlope="12345678"),
    "a slope that is infinite": _raw(b"12345678", b"inf     ", RescaleSlope="12345678"),
    "an intercept of words": _raw(b"-1234567", b"unknown ", RescaleIntercept="-1234567"),
    "a spacing of zero": _tags(PixelSpacing=[0, 0]),
    "a negative spacing": _tags(PixelSpacing=[-0.5, 0.5]),
    "a spacing of a metre": _tags(PixelSpacing=[1000, 1000]),
    "a spacing that is no number": _raw(b"0.1234\\0.4321", b"NaN   \\NaN   ", PixelSpacing=["0.1234", "0.4321"]),
    "a spacing of one value": _tags(PixelSpacing=0.5),
    "a position that is no number": _raw(
        b"1234567\\20\\30", b"NaN    \\20\\30", ImagePositionPatient=["1234567", "20", "30"]
    ),
    "a position of kilometres": _tags(ImagePositionPatient=[1e9, 0, 0]),
    "directions that are not perpendicular": _tags(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
    "directions of length zero": _tags(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]),
    "a window of zero width": _tags(WindowWidth=0),
    "a window that is no number": _raw(b"123456", b"NaN   ", WindowWidth="123456"),
    "sides that contradict the directions": _tags(PatientOrientation=["R", "P"]),
    "an unknown modality": _tags(Modality="ZZ"),
    "an unknown character set": _tags(SpecificCharacterSet="ISO_IR 999"),
    "a program in the preamble": _polyglot(b"MZ\x90\0"),
    "a web page in the preamble": _polyglot(b"<html><script>"),
    "a header cut at 200 bytes": _cut_header,
    "an element of 4 GiB that holds 3 bytes": _long_element,
    "another transfer syntax than the data": _raw(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.50"[:20]),
}
"""By what is wrong."""
