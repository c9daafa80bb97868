"""Every limit is a setting, reaches the worker that reads the file, and refuses with a code."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medloupe.errors import InputRejected, UsageError
from medloupe.limits import DEFAULT, Limits
from medloupe.settings import Settings, load_settings
from medloupe.tools.imaging import MemoryStore, load_study

Ct = Callable[..., Dataset]
Save = Callable[..., Path]


def code_of(path: Path, **limits: float) -> str:
    """How the file is refused under these limits and otherwise the usual ones, by which it is read."""
    assert load_study(path, MemoryStore()).images
    with pytest.raises(InputRejected) as caught:
        load_study(path, MemoryStore(), limits=Limits(**limits))
    return caught.value.code


def nested(levels: int) -> Dataset:
    inner = Dataset()
    inner.PatientID = "x"
    for _ in range(levels):
        outer = Dataset()
        outer.ReferencedImageSequence = Sequence([inner])
        outer["ReferencedImageSequence"].is_undefined_length = True
        inner.is_undefined_length_sequence_item = True
        inner = outer
    return inner


def test_each_limit_is_a_setting_with_the_same_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Settings().limits() == DEFAULT
    assert {f"read_{name}" for name in Limits.model_fields} == {n for n in Settings.model_fields if n[:5] == "read_"}
    (tmp_path / "medloupe.toml").write_text("read_seconds = 3\nread_files = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDLOUPE_READ_FILES", "9")
    assert load_settings(read_workers=1).limits() == Limits(seconds=3, files=9, workers=1)


@pytest.mark.parametrize("name", Limits.model_fields)
def test_a_limit_of_nothing_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"--read-{name.replace('_', '-')}: input should be greater"):
        load_settings(**{f"read_{name}": 0})


def test_a_file_of_too_many_bytes(ct: Ct, save: Save) -> None:
    assert code_of(save(ct()), file_bytes=500) == "too-large"


@pytest.mark.parametrize("limit", ["frame_pixels", "file_pixels"])
@pytest.mark.parametrize("kind", ["dcm", "png", "nii", "nrrd"])
def test_too_many_pixels(limit: str, kind: str, ct: Ct, save: Save, tmp_path: Path) -> None:
    path = tmp_path / f"image.{kind}"
    values = np.arange(48, dtype=np.int16).reshape(6, 8)
    if kind == "dcm":
        save(ct(values.astype(np.uint16)), path.name)
    elif kind == "png":
        import PIL.Image

        PIL.Image.fromarray(values.astype(np.uint8)).save(path)
    elif kind == "nii":
        import nibabel as nib

        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    else:
        import nrrd

        nrrd.write(str(path), values)
    assert code_of(path, **{limit: 47}) == "too-large"
    assert load_study(path, MemoryStore(), limits=Limits(**{limit: 48})).images


def test_too_many_frames(ct: Ct, save: Save) -> None:
    path = save(ct(np.zeros((3, 4, 4), np.uint16), NumberOfFrames=3))
    assert code_of(path, file_pixels=47, frame_pixels=16) == "too-large"


def test_sequences_in_sequences(ct: Ct, save: Save) -> None:
    ds = ct()
    ds.update(nested(5))
    assert code_of(save(ds), sequence_depth=4) == "too-large"
    assert load_study(save(ds), MemoryStore(), limits=Limits(sequence_depth=5)).images


@pytest.mark.parametrize("way", ["gzip", "deflated", "zip"])
def test_what_inflates_to_too_much(way: str, ct: Ct, save: Save, tmp_path: Path) -> None:
    ds, path = ct(np.zeros((512, 512), np.uint16)), tmp_path / "image"
    if way == "deflated":
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(ds, "plain.dcm")
    plain = (tmp_path / "plain.dcm").read_bytes()
    if way == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.dcm", plain)
    else:
        path.write_bytes(plain if way == "deflated" else gzip.compress(plain))
    assert code_of(path, inflated_bytes=2**18) == "too-large"


def test_what_inflates_too_steeply_is_stopped_where_it_does(ct: Ct, save: Save, tmp_path: Path) -> None:
    plain = save(ct(DataSetTrailingPadding=bytes(2**26)))
    steep = tmp_path / "steep.dcm.gz"
    steep.write_bytes(gzip.compress(plain.read_bytes(), 9))
    with pytest.raises(InputRejected, match="inflates beyond what is allowed") as caught:
        load_study(steep, MemoryStore())
    assert caught.value.code == "too-large"
    assert load_study(steep, MemoryStore(), limits=Limits(inflate_ratio=2000)).images


def test_a_mask_of_zeros_is_no_bomb(tmp_path: Path) -> None:
    import nibabel as nib

    volume = np.zeros((512, 512, 140), np.uint16)
    volume[200:210, 200:210, 70] = 1
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "mask.nii.gz")
    assert volume.nbytes > 200 * (tmp_path / "mask.nii.gz").stat().st_size
    assert len(load_study(tmp_path / "mask.nii.gz", MemoryStore()).images) == 140


def test_files_of_a_folder_and_of_a_zip(ct: Ct, save: Save, tmp_path: Path) -> None:
    for n in range(3):
        save(ct(InstanceNumber=n), f"s/{n}.dcm")
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for path in sorted((tmp_path / "s").iterdir()):
            archive.write(path, path.name)
    assert code_of(tmp_path / "s", files=2) == "too-large"
    assert code_of(tmp_path / "s.zip", files=2) == "too-large"
    assert code_of(tmp_path / "s.zip", zip_bytes=1000) == "too-large"


def test_a_zip_is_refused_before_its_directory_is_taken_apart(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for n in range(60):
            archive.writestr(f"{n}", b"")
    taken: list[str] = []
    monkeypatch.setattr(zipfile.ZipInfo, "_decodeExtra", lambda info: taken.append(info.filename))
    with pytest.raises(InputRejected, match="holds more than 50 files"):
        load_study(tmp_path / "many.zip", store, limits=Limits(files=50))
    assert not taken
