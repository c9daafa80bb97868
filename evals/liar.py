"""A scripted VLM that hallucinates at a known rate over labelled images, and what is true of them.

What is true comes from the masks and the file's own data (medloupe.evals.planted: scikit-image and numpy alone), never
from medloupe's verifiers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from skimage.io import imread

from medloupe.errors import EndpointUnreachable, ModelError, ReplyRefused
from medloupe.evals.planted import Planted, Subject, plant
from medloupe.models.vlm import ScriptedVLM, VLMReply, VLMRequest

__all__ = ["FAULTS", "Case", "Liar", "Said", "cases_of", "still_true"]

SPACING = 0.5
"""Millimetres, of the MR slices that are written as DICOM."""
ABSENT = ("pneumothorax", "fracture", "aneurysm", "hernia", "stone")
"""Findings that none of the images shows."""
FAULTS: dict[str, ModelError | str] = {
    "timeout": EndpointUnreachable("no reply within 5 s"),
    "refusal": ReplyRefused("the model declined"),
    "unreadable": "}{ lorem",
}
Kind = Literal["size", "side", "density", "finding"]


@dataclass(frozen=True)
class Said:
    """One sentence that may be said, and whether it is true."""

    kind: Kind
    text: str
    true: bool
    right: float | str
    """The true value, to judge a correction by; a size in the sentence's unit."""


@dataclass(frozen=True)
class Case:
    """One labelled image, opened as a study, with a true and a false sentence of each kind."""

    study: Path
    data: str
    box: tuple[float, float, float, float]
    """Loose, as shares of the image's sides, times 1000."""
    right: dict[Kind, Said]
    wrong: dict[Kind, Said]


def cases_of(subject: Subject, folder: Path, seed: int) -> Case | None:
    """The case of one image; None where its mask leaves size, place or brightness in doubt."""
    rng = np.random.default_rng([seed, len(subject.file.name), *subject.file.name.encode()])
    planted = {(p.claim["attribute"], p.true): p for p in plant(subject, rng)}
    if not {"long_axis", "site", "intensity"} <= {name for name, _ in planted}:
        return None
    as_mr = subject.modality == "MR"
    study = _as_dicom(subject.file, folder) if as_mr else subject.file
    height, width = subject.regions[0].shape
    x0, y0, x1, y1 = planted["long_axis", True].claim["region"]["box"]
    absent = str(rng.choice(ABSENT))
    right, wrong = (
        {
            "size": _size(planted["long_axis", true], planted["long_axis", True], as_mr),
            "side": _side(planted["site", true], planted["site", True], as_mr),
            "density": Said(
                "density", f"It is {planted['intensity', true].claim['value']} to its surroundings.", true,
                planted["intensity", True].claim["value"],
            ),
            "finding": Said("finding", f"There is a {'lesion' if true else absent}.", true, "lesion"),
        }
        for true in (True, False)
    )  # fmt: skip
    box = (1000 * x0 / width, 1000 * y0 / height, 1000 * x1 / width, 1000 * y1 / height)
    return Case(study, subject.data, box, right, wrong)  # type: ignore[arg-type] # literal keys


def _size(said: Planted, truth: Planted, as_mr: bool) -> Said:
    value, right = (float(p.claim["value"]) * (SPACING if as_mr else 1) for p in (said, truth))
    return Said("size", f"The lesion measures {value:.1f} {'mm' if as_mr else 'px'}.", said.true, right)


def _side(said: Planted, truth: Planted, as_mr: bool) -> Said:
    """The patient's side where the file tells it and the thing lies beside the middle, else the part of the image."""
    value, right = str(said.claim["value"]), str(truth.claim["value"])
    turned = {"image left": "right", "image right": "left"}  # the slices are written in radiological convention
    if as_mr and right in turned:
        return Said("side", f"It lies on the patient's {turned[value]}.", said.true, turned[right])
    return Said("side", f"It lies in the {value.removeprefix('image ')} part of the image.", said.true, right)


def _as_dicom(file: Path, folder: Path) -> Path:
    """The picture as an MR slice of known orientation and spacing: columns run to the patient's left."""
    grey = np.asarray(imread(file))
    grey = grey[..., 0] if grey.ndim == 3 else grey
    ds = pydicom.Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "MR"
    ds.Rows, ds.Columns = grey.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.WindowCenter, ds.WindowWidth = 7, 128, 256
    ds.PixelSpacing = [SPACING, SPACING]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelData = grey.astype(np.uint8).tobytes()
    path = folder / f"{file.stem}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def still_true(said: Said, text: str) -> bool:
    """Whether a sentence that was changed says the truth: a size within a quarter of it, the right word."""
    if said.kind == "size":
        numbers = [float(n) for n in re.findall(r"(\d+(?:\.\d+)?) (?:px|mm)", text)]
        return bool(numbers) and max(numbers[0] / float(said.right), float(said.right) / max(numbers[0], 1e-9)) <= 1.25
    return str(said.right).removeprefix("image ") in text


@dataclass
class Liar:
    """The model. Set `case` and `drafted` before each question.

    It describes and drafts the given sentences; asked whether a statement about a finding is true, it errs at `rate`,
    each question on its own; to every other statement it says yes.
    """

    rate: float
    case: Case | None = None
    drafted: Sequence[Said] = ()
    faults: dict[str, str] = field(default_factory=dict)
    """Purpose to a name in FAULTS: how that step fails."""
    asked: int = 0

    def vlm(self) -> ScriptedVLM:
        """As the graph takes it."""
        return ScriptedVLM(self._say, model="liar")

    def _say(self, request: VLMRequest) -> str | VLMReply | ModelError:
        if request.purpose in self.faults:
            return FAULTS[self.faults[request.purpose]]
        assert self.case is not None
        if request.purpose == "plan":
            first = "Seen so far" not in str(request.messages[-1].parts)
            return json.dumps({"regions": [{"bbox_2d": list(self.case.box), "label": "it"}] if first else []})
        text = " ".join(said.text for said in self.drafted)
        if request.purpose == "describe":
            return json.dumps({"text": text, "attributes": []})
        if request.purpose == "draft":
            if "could not be described" in str(request.messages[-1].parts) and "draft" not in self.faults:
                return json.dumps({"answerable": False, "reason": "nothing was described", "statements": []})
            return json.dumps({"statements": [{"text": said.text, "views": [1]} for said in self.drafted]})
        return self._answer(request)

    def _answer(self, request: VLMRequest) -> str:
        match = re.search(r'^Statement: "(.*)"$', str(request.messages[-1].parts[-1]), re.MULTILINE)
        statement = match[1] if match else ""
        self.asked += 1
        if " is present" not in statement and " is absent" not in statement:
            return "yes"
        true = ("lesion" in statement) == statement.endswith("present")
        coin = int.from_bytes(hashlib.sha256(f"{request.key}{self.asked}".encode()).digest()[:4]) / 2**32
        return "yes" if true != (coin < self.rate) else "no"
