"""Phantoms as files: DICOM for CT and radiographs, PNG for skin and ultrasound, and truth.json beside them.

Every file says that it is a phantom, in each tag or text that a person reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medloupe.errors import UsageError
from medloupe.evals.phantoms.ct import THICKNESS_MM, ct_slices
from medloupe.evals.phantoms.faults import FAULTS, spoil
from medloupe.evals.phantoms.kinds import make_scene
from medloupe.evals.phantoms.lesion import Floats
from medloupe.evals.phantoms.pairs import follow_up
from medloupe.evals.phantoms.parameters import KINDS, Kind, Profile, parameters, scene_rng, split_of
from medloupe.evals.phantoms.picture import shown
from medloupe.evals.phantoms.scene import Scene
from medloupe.evals.phantoms.truth import Change, ImageTruth, PhantomTruth, image_truth
from medloupe.prompts import knowledge

__all__ = ["Order", "write_phantom", "write_set"]

_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_DX_IMAGE = "1.2.840.10008.5.1.4.1.1.1.1"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be drawn."""

    kind: Kind
    profile: Profile = "standard"
    slices: int = 1
    """Of a CT series; an odd number, so that one is the middle."""
    pairs: bool = False
    """Each phantom at two times, in folders "prior" and "current"."""
    faults: tuple[str, ...] = ()
    sizes: tuple[float, ...] | None = None
    """Long axes of the lesions, pixels; none for (); None: as many and as large as the seed says."""

    def check(self) -> None:
        """UsageError for what cannot be drawn."""
        if self.kind not in KINDS:
            raise UsageError(f"there is no kind {self.kind!r} of phantom; there are {', '.join(KINDS)}")
        if unknown := [fault for fault in self.faults if fault not in FAULTS]:
            raise UsageError(f"there is no fault {unknown[0]!r}; there are {', '.join(FAULTS)}")
        if self.slices != 1 and (self.kind != "ct" or self.slices % 2 == 0 or not 1 <= self.slices <= 99):
            raise UsageError("only ct has slices, and an odd number of them up to 99")


def write_set(
    out: Path, order: Order, *, count: int, seed: int, progress: Callable[[], object] = lambda: None
) -> list[Path]:
    """Phantoms `seed` to `seed + count - 1`, a folder each, in the new folder `out`; their truth.json files.

    UsageError when `out` holds anything, or the seeds belong to no split.
    """
    order.check()
    if count < 1:
        raise UsageError("at least one phantom must be asked for")
    for end in (seed, seed + count - 1):
        split_of(end)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty; nothing was written")
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for number in range(seed, seed + count):
        written += write_phantom(out / f"{order.kind}-{number:07d}", order, number)
        progress()
    return written


def write_phantom(folder: Path, order: Order, seed: int) -> list[Path]:
    """One phantom's files and truth in a folder; its truth.json files (two of a pair)."""
    sizes = None if order.sizes is None else list(order.sizes)
    scene = make_scene(order.kind, seed, order.profile, sizes)
    if not order.pairs:
        return [_write_time(folder, order, scene, "only", {})]
    later, before, after = follow_up(scene)
    return [
        _write_time(folder / "prior", order, scene, "prior", before),
        _write_time(folder / "current", order, later, "current", after),
    ]


def _write_time(folder: Path, order: Order, scene: Scene, time: str, changes: dict[int, Change]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    about = knowledge("phantoms")
    images = [_write_image(folder, order, cut, n, time, changes) for n, cut in enumerate(_cuts(scene, order))]
    truth = PhantomTruth(
        label=knowledge("dicom_terms")["phantom_label"],
        kind=order.kind, modality=about["kinds"][order.kind]["modality"], profile=order.profile,
        seed=scene.seed, split=split_of(scene.seed), spacing_mm=scene.spacing_mm, time=time, faults=order.faults,
        images=tuple(images),
    )  # fmt: skip
    path = folder / "truth.json"
    path.write_text(truth.model_dump_json(), encoding="utf-8")
    return path


def _cuts(scene: Scene, order: Order) -> Iterator[Scene]:
    yield from ct_slices(scene, order.slices) if order.slices > 1 else [scene]


def _write_image(
    folder: Path, order: Order, scene: Scene, number: int, time: str, changes: dict[int, Change]
) -> ImageTruth:
    stream = 10 + 2 * number + (time == "current")
    rng = scene_rng(scene.kind, scene.seed, scene.profile, stream=stream)
    values = spoil(scene.render(scene.whole(), rng), scene, order.faults, rng)
    stem = f"phantom-{number:03d}"
    if scene.kind in ("ct", "cxr"):
        file = folder / f"{stem}.dcm"
        _write_dicom(file, values, scene, order, number, time)
    else:
        file = folder / f"{stem}.png"
        _write_png(file, values, scene)
    return image_truth(scene, file.name, changes)


def _write_png(file: Path, values: Floats, scene: Scene) -> None:
    """With the text chunks that viewers show."""
    about, text = knowledge("phantoms"), PIL.PngImagePlugin.PngInfo()
    text.add_text("Title", f"{about['name']} {scene.kind} {scene.seed}")
    text.add_text("Comment", knowledge("dicom_terms")["phantom_label"])
    PIL.Image.fromarray(shown(values, scene)).save(file, pnginfo=text, compress_level=1)


# --- DICOM ----------------------------------------------------------------------------------------------------------


def _write_dicom(file: Path, values: Floats, scene: Scene, order: Order, number: int, time: str) -> None:
    ds = Dataset()
    _name(ds, scene, number, time)
    (_ct_tags if scene.kind == "ct" else _cxr_tags)(ds, scene, order, number)
    stored = np.rint(values[..., 0])
    if scene.kind == "ct":
        stored += 1024
    stored = np.clip(stored, 0, 4095).astype(np.uint16)
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    window = parameters(scene.kind, scene.profile)["window"]
    ds.WindowCenter, ds.WindowWidth = window["centre"], window["width"]
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(file, enforce_file_format=True)


def _name(ds: Dataset, scene: Scene, number: int, time: str) -> None:
    """Identity: a phantom in every tag that a person reads, and UIDs that follow from the seed."""
    about = knowledge("phantoms")
    name, label = about["name"], knowledge("dicom_terms")["phantom_label"]
    which = f"{scene.kind}-{scene.profile}-{scene.seed}"
    ds.PatientName, ds.PatientID = f"{name}^MEDLOUPE", f"{name}-{which}"
    ds.PatientBirthDate, ds.PatientSex = "", "O"
    ds.StudyDescription = f"{name}, no patient"
    ds.SeriesDescription = f"{name}, drawn"
    ds.ImageComments = label
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20000101" if time != "current" else "20000701"
    ds.StudyTime, ds.AccessionNumber, ds.ReferringPhysicianName, ds.StudyID = "", "", "", name
    ds.Manufacturer, ds.ManufacturerModelName = "medloupe", f"{name} generator"
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"] if scene.kind == "ct" else ["DERIVED", "PRIMARY"]
    ds.BurnedInAnnotation = "NO"
    ds.StudyInstanceUID = _uid("study", which, time)
    ds.SeriesInstanceUID = _uid("series", which, time)
    ds.SOPInstanceUID = _uid("image", which, time, str(number))
    ds.SeriesNumber, ds.InstanceNumber = 1, number + 1


def _uid(*parts: str) -> Any:
    return generate_uid(entropy_srcs=["medloupe phantom", *parts])


def _ct_tags(ds: Dataset, scene: Scene, order: Order, number: int) -> None:
    assert scene.spacing_mm is not None
    kind = knowledge("phantoms")["kinds"]["ct"]
    ds.SOPClassUID, ds.Modality, ds.BodyPartExamined = _CT_IMAGE, kind["modality"], kind["body_part"]
    ds.FrameOfReferenceUID = _uid("frame", ds.SeriesInstanceUID)
    ds.PixelSpacing = [scene.spacing_mm, scene.spacing_mm]
    ds.SliceThickness = THICKNESS_MM
    corner = -scene.spacing_mm * (scene.width - 1) / 2
    ds.ImagePositionPatient = [corner, corner, round((number - order.slices // 2) * THICKNESS_MM, 4)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PatientPosition, ds.KVP = "HFS", 120
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"


def _cxr_tags(ds: Dataset, scene: Scene, order: Order, number: int) -> None:
    del order, number
    assert scene.spacing_mm is not None
    kind = knowledge("phantoms")["kinds"]["cxr"]
    ds.SOPClassUID, ds.Modality, ds.BodyPartExamined = _DX_IMAGE, kind["modality"], kind["body_part"]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.PixelSpacing = ds.ImagerPixelSpacing = [scene.spacing_mm, scene.spacing_mm]
    ds.PatientOrientation, ds.ViewPosition, ds.ImageLaterality = ["L", "F"], "PA", "U"
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PresentationLUTShape, ds.LossyImageCompression = "IDENTITY", "00"


def read_truth(path: Path) -> PhantomTruth:
    """A truth.json; ValueError when it is none."""
    return PhantomTruth.model_validate(json.loads(path.read_text("utf-8")))
