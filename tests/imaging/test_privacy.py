"""A patient's name, planted wherever a header has room, leaves the file nowhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medloupe.errors import InputRejected
from medloupe.tools.imaging import MemoryStore, load_study

CANARY = "CANARY"
Ct = Callable[..., Dataset]
Save = Callable[..., Path]

TAGS = [
    "PatientName", "PatientID", "PatientBirthDate", "PatientComments", "PatientAddress", "AccessionNumber",
    "InstitutionName", "ReferringPhysicianName", "StudyDescription", "SeriesDescription", "ImageComments",
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "Modality", "BodyPartExamined",
    "ViewPosition", "ImageLaterality", "Laterality", "PatientOrientation", "RescaleType", "VOILUTFunction",
    "WindowCenterWidthExplanation", "ImageType", "ProtocolName", "BurnedInAnnotation", "WindowCenter", "WindowWidth",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
    "SeriesNumber", "InstanceNumber", "NumberOfFrames", "PhotometricInterpretation", "PixelPaddingValue",
]  # fmt: skip
"""Free text, and everything the loader reads that can be made to hold text."""


def planted(ct: Ct, save: Save, keywords: list[str]) -> Path:
    """Each tag holds the canary, written over a placeholder of its length past pydicom's checks."""
    ds = ct()
    for keyword in keywords:
        vr = dictionary_VR(keyword)
        stand_in = {"DS": "987654", "IS": "987654", "UI": "987654", "DA": "19870604"}.get(vr, CANARY)
        if vr in ("US", "SS"):
            continue
        setattr(ds, keyword, [stand_in] * 2 if keyword in ("PatientOrientation", "PixelSpacing") else stand_in)
    ds.add_new(0x00091010, "LO", CANARY)
    ds.add_new(0x60004000, "LT", CANARY)
    nested = Dataset()
    nested.PatientName = CANARY
    ds.RequestAttributesSequence = Sequence([nested])
    path = save(ds)
    data = path.read_bytes().replace(b"987654", CANARY.encode()).replace(b"19870604", CANARY.encode() + b"  ")
    path.write_bytes(data)
    assert data.count(CANARY.encode()) >= len(keywords)
    return path


def test_a_name_in_free_text_stays_in_the_file(
    ct: Ct, save: Save, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    harmless = [k for k in TAGS if k not in ("PhotometricInterpretation", "NumberOfFrames", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue")]  # fmt: skip # noqa: E501
    study = load_study(planted(ct, save, harmless), store)
    assert CANARY not in study.model_dump_json()
    assert CANARY not in caplog.text
    assert study.warnings


@pytest.mark.parametrize("keyword", [k for k in TAGS if k != "PixelPaddingValue"])
def test_a_name_in_any_one_tag_stays_in_the_file(
    ct: Ct, save: Save, store: MemoryStore, caplog: pytest.LogCaptureFixture, keyword: str
) -> None:
    caplog.set_level(logging.DEBUG)
    path = planted(ct, save, [keyword])
    try:
        said = load_study(path, store).model_dump_json()
    except InputRejected as error:
        said = f"{error} {error.reason}"
    assert CANARY not in said
    assert CANARY not in caplog.text


def test_file_names_inside_a_folder_stay_there(ct: Ct, save: Save, store: MemoryStore) -> None:
    path = save(ct(), f"study/{CANARY}_1.dcm")
    (path.parent / f"{CANARY}_2.dcm").write_bytes(path.read_bytes()[:-9])
    study = load_study(path.parent, store)
    assert CANARY not in study.model_dump_json()
    assert study.warnings == ("1 of 2 files left out: truncated.",)
