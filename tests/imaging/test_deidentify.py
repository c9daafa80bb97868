"""A copy by PS3.15's Basic Profile: identifiers gone at every level, UIDs consistent, pixels as they were."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage, generate_uid

from medloupe.errors import InputRejected, UsageError
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.imaging.deidentify import burned_in, deidentify_study, profile

Ct = Callable[..., Dataset]
Save = Callable[..., Path]
CANARY = "Ganter^Zacharias"

PROFILE_SAMPLE = [
    "AccessionNumber", "AcquisitionComments", "AcquisitionDate", "AcquisitionDateTime", "AdmissionID",
    "AdmittingDiagnosesDescription", "Allergies", "BranchOfService", "CassetteID",
    "CommentsOnThePerformedProcedureStep", "ConfidentialityConstraintOnPatientDataDescription", "ContentCreatorName",
    "ContributionDescription", "CountryOfResidence", "CurrentPatientLocation", "DateOfSecondaryCapture",
    "DerivationDescription", "DetectorID", "DeviceSerialNumber", "DischargeDiagnosisDescription", "EthnicGroup",
    "FrameComments", "GantryID", "GeneratorID", "IdentifyingComments", "ImageComments", "InstitutionAddress",
    "InstitutionName", "InstitutionalDepartmentName", "InstanceCreationDate", "IssuerOfPatientID",
    "LastMenstrualDate", "MakerNote", "MedicalAlerts", "MedicalRecordLocator", "MilitaryRank",
    "NameOfPhysiciansReadingStudy", "Occupation", "OperatorsName", "OrderCallbackPhoneNumber", "OtherPatientIDs",
    "OtherPatientNames", "PatientAddress", "PatientAge", "PatientBirthDate", "PatientBirthName", "PatientBirthTime",
    "PatientComments", "PatientID", "PatientInstitutionResidence", "PatientMotherBirthName", "PatientName",
    "PatientReligiousPreference", "PatientState", "PatientTelephoneNumbers", "PerformedLocation",
    "PerformedProcedureStepDescription", "PerformedProcedureStepID", "PerformedStationAETitle",
    "PerformedStationName", "PerformingPhysicianName", "PhysiciansOfRecord", "PlateID", "PreMedication",
    "ProtocolName", "ReasonForStudy", "ReasonForTheRequestedProcedure", "ReferringPhysicianAddress",
    "ReferringPhysicianName", "RegionOfResidence", "RequestedProcedureComments", "RequestedProcedureDescription",
    "RequestedProcedureID", "RequestingPhysician", "RequestingService", "ResponsibleOrganization",
    "ResponsiblePerson", "RetrieveAETitle", "ScheduledProcedureStepDescription", "SeriesDate", "SeriesDescription",
    "SeriesTime", "ServiceEpisodeID", "SpecialNeeds", "StationName", "StudyComments", "StudyDate", "StudyDescription",
    "StudyID", "StudyTime", "TextComments", "TextString", "TimezoneOffsetFromUTC", "TopicAuthor", "VisitComments",
]  # fmt: skip
"""Attributes of the profile whose VR can hold a name or a date."""


def every_string(ds: Dataset) -> str:
    """All that a file says, nested items too, as text."""
    return ds.to_json(bulk_data_threshold=10**9) + str(ds.file_meta)


def copied(study: Path, out: Path) -> list[Dataset]:
    deidentify_study(study, out)
    return [pydicom.dcmread(path) for path in sorted(out.iterdir())]


def holding(ds: Dataset, keyword: str) -> Dataset:
    """The data set with the canary, or a date of its own, in an attribute."""
    by_vr = {"DA": "19870604", "TM": "040506", "DT": "19870604040506", "AS": "087Y", "OB": CANARY.encode()}
    setattr(ds, keyword, by_vr.get(dictionary_VR(keyword), CANARY[:16]))
    return ds


def test_every_attribute_of_the_profile_is_gone_at_the_top_and_nested(ct: Ct, save: Save, tmp_path: Path) -> None:
    ds, nested = ct(), Dataset()
    for keyword in PROFILE_SAMPLE:
        holding(ds, keyword)
        holding(nested, keyword)
    ds.DerivationCodeSequence = Sequence([nested])
    (copy,) = copied(save(ds), tmp_path / "out")
    said = every_string(copy)
    for trace in ("Ganter", "19870604", "040506", "087Y"):
        assert trace not in said
    left = {k for k in PROFILE_SAMPLE if copy.get(k)} - {"PatientID", "AcquisitionDateTime", "DetectorID", "DeviceSerialNumber"}  # fmt: skip # noqa: E501
    assert left == set()
    assert copy.PatientID.startswith("P-")
    assert copy.AcquisitionDateTime == "19000101000000"
    assert "PatientName" in copy  # type 2: empty, not absent
    assert copy.DerivationCodeSequence[0].get("PatientComments") is None


def test_private_unknown_curve_and_overlay_elements_are_removed(ct: Ct, save: Save, tmp_path: Path) -> None:
    ds = ct()
    ds.private_block(0x0009, CANARY[:8], create=True).add_new(0x10, "LO", CANARY)
    ds.add_new(0x60000010, "US", 6)
    ds.add_new(0x60003000, "OW", CANARY.encode())
    ds.add_new(0x50003000, "OW", CANARY.encode())
    ds.add_new(0x60020022, "LO", CANARY)
    ds.add_new(0x00080007, "LO", CANARY)  # in no dictionary
    (copy,) = copied(save(ds), tmp_path / "out")
    assert "Ganter" not in every_string(copy)
    assert not [tag for tag in copy.keys() if tag.is_private or tag.group >> 8 in (0x50, 0x60)]  # noqa: SIM118


def test_values_that_are_not_what_their_vr_says_are_removed(ct: Ct, save: Save, tmp_path: Path) -> None:
    path = save(ct(BodyPartExamined="XXXXXX", ExposureTime="987654", KVP="876543"))
    data = path.read_bytes().replace(b"XXXXXX", b"Ganter").replace(b"987654", b"Ganter").replace(b"876543", b"Ganter")
    path.write_bytes(data)
    (copy,) = copied(path, tmp_path / "out")
    assert "Ganter" not in every_string(copy)


def test_numbers_with_more_digits_than_a_ds_may_have_are_kept_to_those_that_fit(
    ct: Ct, save: Save, tmp_path: Path
) -> None:
    path = save(ct(PixelSpacing=["0.123456789012", "0.123456789012"]))
    long = path.read_bytes().replace(rb"0.123456789012\0.123456789012 ", rb"0.666666686534882\0.6999999880")
    assert b"0.666666686534882" in long
    path.write_bytes(long)
    (copy,) = copied(path, tmp_path / "out")
    assert [float(n) for n in copy.PixelSpacing] == pytest.approx([0.666666686534882, 0.6999999880], abs=1e-12)
    assert all(len(str(n)) <= 16 for n in copy.PixelSpacing)


def test_uids_that_only_the_file_meta_information_holds_are_taken_from_there(
    ct: Ct, save: Save, tmp_path: Path
) -> None:
    ds = ct()
    path = save(ds)
    known = pydicom.dcmread(path)
    known.SOPClassUID = known.SOPInstanceUID = ""
    known.save_as(path, enforce_file_format=False)
    save(ct(), "image2.dcm")
    first, second = copied(path.parent, tmp_path.parent / f"{tmp_path.name}-out")
    assert first.SOPClassUID == second.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID
    assert first.SOPInstanceUID.startswith("2.25.") and first.SOPInstanceUID != second.SOPInstanceUID


def test_what_an_image_means_is_kept(ct: Ct, save: Save, tmp_path: Path) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "51185008", "SCT", "Chest"
    ds = ct(KVP="120", BodyPartExamined="CHEST", ConvolutionKernel="B30f", Manufacturer="Maker", RescaleType="HU")
    ds.AnatomicRegionSequence = Sequence([code])
    path = save(ds)
    (copy,) = copied(path, tmp_path / "out")
    assert (copy.KVP, copy.BodyPartExamined, copy.ConvolutionKernel, copy.RescaleType) == (120, "CHEST", "B30f", "HU")
    assert copy.AnatomicRegionSequence[0].CodeMeaning == "Chest"
    before, after = MemoryStore(), MemoryStore()
    old, new = load_study(path, before).images[0], load_study(tmp_path / "out", after).images[0]
    assert old.model_copy(update={"sop_instance_uid": new.sop_instance_uid}) == new


def test_the_copy_records_its_method_and_starts_anew(ct: Ct, save: Save, tmp_path: Path) -> None:
    path = save(ct(), f"{CANARY}.dcm")
    data = path.read_bytes()
    path.write_bytes(b"MZ" + CANARY.encode().ljust(126, b"\0") + data[128:])
    (copy,) = copied(path, tmp_path / "out")
    (written,) = (tmp_path / "out").iterdir()
    assert written.name == "00001.dcm"
    assert written.read_bytes()[:128] == b"\0" * 128
    assert copy.PatientIdentityRemoved == "YES"
    item = copy.DeidentificationMethodCodeSequence[0]
    assert (item.CodeValue, item.CodingSchemeDesignator) == ("113100", "DCM")
    assert "PS3.15" in copy.DeidentificationMethod[0]
    assert copy.LongitudinalTemporalInformationModified == "REMOVED"
    assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
    assert set(copy.file_meta.keys()) == {0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013}  # fmt: skip # noqa: E501
    assert "anonym" not in every_string(copy).lower()


def test_a_uid_has_one_replacement_in_the_whole_study_and_another_in_the_next_run(
    ct: Ct, save: Save, tmp_path: Path
) -> None:
    study, frame, first = generate_uid(), generate_uid(), generate_uid()
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", first
    same = {"StudyInstanceUID": study, "FrameOfReferenceUID": frame, "PatientID": "4711"}
    save(ct(SOPInstanceUID=first, **same), "study/a.dcm")
    save(ct(ReferencedImageSequence=Sequence([reference]), **same), "study/b.dcm")
    a, b = copied(tmp_path / "study", tmp_path / "out")
    assert a.StudyInstanceUID == b.StudyInstanceUID != study
    assert a.FrameOfReferenceUID == b.FrameOfReferenceUID
    assert a.PatientID == b.PatientID
    assert b.ReferencedImageSequence[0].ReferencedSOPInstanceUID == a.SOPInstanceUID != b.SOPInstanceUID
    assert b.ReferencedImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert a.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert a.StudyInstanceUID.is_valid
    again, _ = copied(tmp_path / "study", tmp_path / "again")
    assert again.StudyInstanceUID != a.StudyInstanceUID
    assert again.PatientID != a.PatientID


@pytest.mark.parametrize(
    "name",
    ["JPEG2000.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "MR_small_bigendian.dcm", "examples_palette.dcm",
     "examples_overlay.dcm", "examples_ybr_color.dcm", "SC_rgb_jpeg_gdcm.dcm"],
)  # fmt: skip
def test_the_pixels_of_real_files_are_copied_byte_for_byte(
    name: str, real: Callable[[str], Path], tmp_path: Path
) -> None:
    original = pydicom.dcmread(real(name))
    (copy,) = copied(real(name), tmp_path / "out")
    assert copy.PixelData == original.PixelData
    assert copy.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    before, after = MemoryStore(), MemoryStore()
    assert [i.digest for i in load_study(real(name), before).images] == [
        i.digest for i in load_study(tmp_path / "out", after).images
    ]


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({"Modality": "US"}, "expected"),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, ""),
        ({"Modality": "CT", "BurnedInAnnotation": "YES"}, "stated"),
        ({"Modality": "XC", "BurnedInAnnotation": "MAYBE"}, "expected"),
        ({"Modality": "CT", "SOPClassUID": SecondaryCaptureImageStorage}, "expected"),
        ({"Modality": "MR", "ConversionType": "WSD"}, "expected"),
        ({"Modality": "MR", "RecognizableVisualFeatures": "YES"}, "stated"),
        ({"Modality": "CT"}, ""),
    ],
)
def test_text_in_the_pixels_is_expected_where_it_is_common(tags: dict[str, str], found: str) -> None:
    ds = Dataset()
    ds.update(tags)
    assert burned_in(ds) == found


def test_possible_text_is_said_loudly_and_the_copy_is_not_called_anonymous(ct: Ct, save: Save, tmp_path: Path) -> None:
    done = deidentify_study(save(ct(Modality="US")), tmp_path / "out")
    assert done.warnings[0].startswith("POSSIBLE TEXT IN THE PIXELS: 1 of 1")
    assert "not anonymous" in done.warnings[-1]


def test_nothing_is_written_into_the_study_or_over_anything(ct: Ct, save: Save, tmp_path: Path) -> None:
    path = save(ct(), "study/a.dcm")
    for study, out in ((path.parent, path.parent), (path.parent, path.parent / "below"), (path, path.parent)):
        with pytest.raises(UsageError, match="own folder"):
            deidentify_study(study, out)
    link = tmp_path / "link"
    link.symlink_to(path.parent)
    with pytest.raises(UsageError, match="own folder"):
        deidentify_study(path.parent, link / "below")
    (tmp_path / "taken").touch()
    for out in (tmp_path / "taken", tmp_path):
        with pytest.raises(UsageError, match="no empty folder"):
            deidentify_study(path.parent, out)
    assert [p.name for p in path.parent.iterdir()] == ["a.dcm"]


def test_what_cannot_be_read_is_left_out_and_named_to_its_owner_only(ct: Ct, save: Save, tmp_path: Path) -> None:
    path = save(ct(), "study/a.dcm")
    (path.parent / "b.dcm").write_bytes(path.read_bytes()[:-9])
    (path.parent / "notes.txt").write_text("Dear Dr Ganter")
    done = deidentify_study(path.parent, tmp_path / "out")
    assert done.written == 1
    assert {(left.name, left.code) for left in done.left_out} == {("b.dcm", "truncated"), ("notes.txt", "not-an-image")}
    with pytest.raises(InputRejected, match="nothing was written"):
        deidentify_study(path.parent / "notes.txt", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_header_that_cannot_be_written_again_leaves_its_file_out_and_no_other(
    ct: Ct, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(ct(KVP="99"), "study/a.dcm")
    save(ct(), "study/b.dcm")
    whole = Dataset.save_as

    def save_as(ds: Dataset, *args: object, **options: object) -> None:
        if ds.get("KVP") == 99:
            raise ValueError(f"cannot write {CANARY}")
        whole(ds, *args, **options)

    monkeypatch.setattr(Dataset, "save_as", save_as)
    done = deidentify_study(path.parent, tmp_path / "out")
    assert [(left.name, left.code) for left in done.left_out] == [("a.dcm", "bad-header")]
    assert "Ganter" not in done.left_out[0].reason
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["00001.dcm"]


def test_of_a_single_file_it_is_said_why_it_was_not_copied(ct: Ct, save: Save, tmp_path: Path) -> None:
    path = save(ct())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputRejected, match=r"nothing was written\. The DICOM file ends"):
        deidentify_study(path, tmp_path / "out")


def test_a_zip_is_copied_without_its_names(ct: Ct, save: Save, tmp_path: Path) -> None:
    path = save(ct())
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(path, f"{CANARY}/1.dcm")
    (copy,) = copied(tmp_path / "study.zip", tmp_path / "out")
    assert "Ganter" not in every_string(copy)


def test_the_table_names_each_attribute_once_and_has_a_dummy_for_each_vr() -> None:
    named = [keyword for keywords in profile()["actions"].values() for keyword in keywords]
    assert len(named) == len(set(named))
    assert set(named) <= set(keyword_dict)
    assert {dictionary_VR(k) for k in profile()["actions"]["D"]} <= set(profile()["dummies"])


def test_compressed_pixels_written_by_us_are_kept_compressed(ct: Ct, save: Save, tmp_path: Path) -> None:
    ds = ct()
    ds.compress(RLELossless)
    (copy,) = copied(save(ds), tmp_path / "out")
    assert copy.PixelData == ds.PixelData
