"""Real DICOM files from pydicom, and a small CT that a test can bend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medloupe.tools.imaging import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def real() -> Callable[[str], Path]:
    """A DICOM file that pydicom ships."""

    def path(name: str) -> Path:
        found = get_testdata_file(name, download=False)
        assert found, f"pydicom no longer ships {name}"
        return Path(str(found))

    return path


@pytest.fixture
def ct() -> Callable[..., Dataset]:
    """A valid 6 x 8 (rows x columns) CT slice whose tags a test may set; None removes one."""

    def make(pixels: np.ndarray | None = None, **tags: Any) -> Dataset:
        pixels = np.arange(48, dtype=np.uint16).reshape(6, 8) if pixels is None else pixels
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        ds.Modality, ds.PhotometricInterpretation, ds.SamplesPerPixel = "CT", "MONOCHROME2", 1
        ds.Rows, ds.Columns = pixels.shape[-2:]
        ds.BitsAllocated = pixels.dtype.itemsize * 8
        ds.BitsStored, ds.HighBit = ds.BitsAllocated, ds.BitsAllocated - 1
        ds.PixelRepresentation = int(pixels.dtype.kind == "i")
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1000
        ds.PixelSpacing = [0.5, 0.25]
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [10, 20, 30], [1, 0, 0, 0, 1, 0]
        ds.PixelData = pixels.tobytes()
        for keyword, value in tags.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        return ds

    return make


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a dataset under a name."""

    def write(ds: Dataset, name: str = "image.dcm") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, ds, enforce_file_format=True)
        return path

    return write
