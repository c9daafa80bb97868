"""Every format in: the same values and the same millimetres as the reference readers, or one clear reason."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import PIL.Image
import pytest
from pydicom.dataset import Dataset

from medloupe.errors import InputRejected
from medloupe.evals.bench_formats import compare
from medloupe.tools.imaging import MemoryStore, load_study

Ct = Callable[..., Dataset]
Save = Callable[..., Path]
GRID = np.arange(4 * 5 * 3, dtype=np.int16).reshape(4, 5, 3)
AFFINE = np.array([[-0.8, 0.1, 0, 10], [0.1, 0.8, 0.2, -20], [0, -0.2, 3, 30], [0, 0, 0, 1]])


@pytest.mark.filterwarnings("ignore")
def test_the_collection_is_identical_to_its_references_or_refused(shared_data: Path) -> None:
    items = json.loads((shared_data / "dicom" / "MANIFEST.json").read_text())["items"]
    outcomes = {item["file"]: compare(shared_data / "dicom" / item["file"]).outcome for item in items}
    assert len(outcomes) == 112
    assert not [name for name, outcome in outcomes.items() if outcome == "DIFFERENT"]
    for item in items:
        if item["file"].startswith("valid/") and item["label"]["modality"] != "SEG":
            assert outcomes[item["file"]] in ("identical", "within tolerance"), item["file"]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_nifti_may_carry_a_long_extension(tmp_path: Path, store: MemoryStore, name: str) -> None:
    image = nib.Nifti1Image(GRID, AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 5000))
    nib.save(image, tmp_path / name)
    study = load_study(tmp_path / name, store)
    assert sorted(int(store.get(i.digest).sum()) for i in study.images) == sorted(GRID.sum(axis=(0, 1)).tolist())


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_lies_where_nibabel_says(tmp_path: Path, store: MemoryStore, kind: type, name: str) -> None:
    shear_free = AFFINE.copy()
    shear_free[:3, 1] = [0.1, 0.8, -0.2]
    shear_free[:3, 0] = [-0.8, 0.1, 0]
    volume = kind(GRID, shear_free)
    volume.header.set_slope_inter(2, -5)
    volume.header.set_xyzt_units("mm")
    nib.save(volume, tmp_path / name)
    study, reference = load_study(tmp_path / name, store), nib.load(tmp_path / name)
    assert len(study.images) == 3
    values = {round(float(v), 3): index for index, v in np.ndenumerate(np.asarray(reference.dataobj))}
    for image in study.images:
        matrix = image.image_to_patient()
        assert matrix is not None
        for (row, column), value in np.ndenumerate(store.get(image.digest)):
            ours = np.array(matrix) @ [column + 0.5, row + 0.5, 1]
            theirs = (reference.affine @ [*values[round(float(value), 3)], 1])[:3] * [-1, -1, 1]
            assert np.abs(ours - theirs).max() < 0.01


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("dim", [3, -4, 5, 3, 1, 1, 1, 1], "bad-header"),
        ("vox_offset", 1e30, "bad-header"),
        ("srow_x", np.nan, "bad-header"),
    ],
)
def test_absurd_nifti_is_refused(tmp_path: Path, store: MemoryStore, field: str, value: object, code: str) -> None:
    nib.save(nib.Nifti1Image(GRID, np.eye(4)), tmp_path / "a.nii")
    data = (tmp_path / "a.nii").read_bytes()
    header = nib.Nifti1Header(data[:348], check=False)
    header[field] = value
    (tmp_path / "a.nii").write_bytes(header.binaryblock + data[348:])
    with pytest.raises(InputRejected) as rejected:
        load_study(tmp_path / "a.nii", store)
    assert rejected.value.code == code


def test_nrrd_keeps_its_place_and_detached_data_is_refused(tmp_path: Path, store: MemoryStore) -> None:
    header = {
        "space": "right-anterior-superior",
        "space directions": np.diag([-1.0, -1.0, 2.0]),
        "space origin": [5, 6, 7],
    }
    nrrd.write(str(tmp_path / "a.nrrd"), GRID, header)
    image = load_study(tmp_path / "a.nrrd", store).images[1]
    assert (image.position, image.patient_orientation) == ((-5, -6, 9), ("L", "P"))
    assert np.array_equal(store.get(image.digest), GRID[:, :, 1].T)
    nrrd.write(str(tmp_path / "b.nhdr"), GRID, header)
    with pytest.raises(InputRejected, match="another file"):
        load_study(tmp_path / "b.nhdr", store)


def test_zip_gzip_and_dicomdir_hold_the_same_study(ct: Ct, save: Save, store: MemoryStore, tmp_path: Path) -> None:
    path = save(ct(), "a/one.dcm")
    plain = load_study(path, store)
    (tmp_path / "one.dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "x/one.dcm")
        archive.writestr("x/readme.txt", "text")
    assert load_study(tmp_path / "one.dcm.gz", store).id == plain.id
    assert load_study(tmp_path / "all.zip", store).id == plain.id
    (path.parent / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"1.2.840.10008.1.3.10" + b"../../outside.dcm")
    assert load_study(path.parent / "DICOMDIR", store).id == plain.id
    assert load_study(path.parent, store).warnings == plain.warnings


@pytest.mark.parametrize("name", ["../a.dcm", "/etc/a.dcm", "..\\a.dcm", "c:/a.dcm"])
def test_a_zip_that_leads_out_is_refused(tmp_path: Path, store: MemoryStore, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputRejected) as rejected:
        load_study(tmp_path / "a.zip", store)
    assert rejected.value.code == "hostile-archive"


def test_webp_opens(tmp_path: Path, store: MemoryStore) -> None:
    picture = np.dstack([GRID[..., 0], GRID[..., 1], GRID[..., 2]]).astype(np.uint8)
    PIL.Image.fromarray(picture).save(tmp_path / "a.webp", lossless=True)
    image = load_study(tmp_path / "a.webp", store).images[0]
    assert np.array_equal(store.get(image.digest), picture)


def test_bare_radiographs_claim_no_side(shared_data: Path, store: MemoryStore) -> None:
    folder = shared_data / "cxr_nih_chestxray14"
    items = json.loads((folder / "MANIFEST.json").read_text())["items"]
    turned = [i for i in items if i["label"]["orientation"] != "upright" or i["mode"] == "RGBA"]
    assert len(turned) >= 2
    for item in turned:
        study = load_study(folder / item["file"], store, modality="CR")
        image = study.images[0]
        assert image.patient_side(0, 0) is None and image.patient_orientation is None and image.spacing is None
        assert any("left and right cannot be told" in w and "turned" in w for w in study.warnings)
