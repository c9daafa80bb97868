"""A scripted VLM that hallucinates at a known rate over labelled images, and what is true of them.

What is true comes from the masks and the file's own data (medloupe.evals.planted: scikit-image and numpy alone), never
from medloupe's verifiers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from skimage.io import imread, imsave

from medloupe.evals.planted import Planted, Subject, plant
from medloupe.models.vlm import ScriptedVLM, VLMRequest
from medloupe.models.vlm.loopback import Reply

__all__ = ["FAULTS", "Case", "Liar", "Said", "cases_of", "false_sentences", "still_true", "written_on"]

SPACING = 0.5
"""Millimetres, of the MR slices that are written as DICOM."""
ABSENT = ("pneumothorax", "fracture", "aneurysm", "hernia", "stone")
"""Findings that none of the images shows."""
FAULTS: dict[str, Reply] = {
    "timeout": Reply(fault="stall"),
    "refusal": Reply(text=None, refusal="I cannot help with that"),
    "unreadable": Reply(text="}{ lorem"),
    "truncated JSON": Reply(text='{"text": "a lesion of 12', finish_reason="length"),
    "HTTP 500": Reply(status=500, error="out of memory"),
    "dropped connection": Reply(fault="drop"),
    "half a body": Reply(fault="cut"),
}
"""How an endpoint fails."""
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
    image: str
    """The labelled file's name."""
    box: tuple[float, float, float, float]
    """Loose, as shares of the image's sides, times 1000."""
    right: dict[Kind, Said]
    wrong: dict[Kind, Said]
    modality: str | None = None
    """What the file does not say of itself and its owner knows; None where it says."""


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
    modality = None if as_mr else subject.modality
    return Case(study, subject.data, subject.file.name, box, right, wrong, modality)  # type: ignore[arg-type] # literal keys


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


_SIZE = re.compile(r"(\d+(?:\.\d+)?) (?:px|mm)\b")


def still_true(said: Said, text: str) -> bool:
    """Whether a sentence that was changed says the truth: a size within a quarter of it, the right word."""
    if said.kind == "size":
        numbers = [float(n) for n in _SIZE.findall(text)]
        return bool(numbers) and max(numbers[0] / float(said.right), float(said.right) / max(numbers[0], 1e-9)) <= 1.25
    return str(said.right).removeprefix("image ") in text


def false_sentences(case: Case, text: str) -> list[str]:
    """Sentences of a text that say what is not so of the case: read from the words alone, whatever medloupe thinks.

    A size off by more than a quarter, a side or a brightness other than the true one, a finding that is not there.
    Sentences that name what was left out affirm nothing and are not counted.
    """
    sentences = (s for s in re.split(r"(?<=[.!?])\s+", text) if not _DISCLAIMS.match(s))
    return [s for s in sentences if any(_is_false(said, s) for said in case.right.values())]


_DISCLAIMS = re.compile(r"Not confirmed|Refuted|Left out|No answer")
_SIDES = ("left", "right", "upper", "lower")
_BRIGHT = ("hyperintense", "isointense", "hypointense")


def _is_false(said: Said, sentence: str) -> bool:
    if said.kind == "size":
        return bool(_SIZE.search(sentence)) and not still_true(said, sentence)
    if said.kind == "finding":
        return any(word in sentence for word in ABSENT)
    words = [w for w in (_SIDES if said.kind == "side" else _BRIGHT) if re.search(rf"\b{w}\b", sentence)]
    return bool(words) and str(said.right).removeprefix("image ") not in words


def written_on(case: Case, words: str, folder: Path) -> Path:
    """The case's picture with words drawn into it, on the half that its labelled thing lies farther from."""
    as_dicom = case.study.suffix == ".dcm"
    ds = pydicom.dcmread(case.study) if as_dicom else None
    pixels = np.ascontiguousarray(ds.pixel_array if ds is not None else imread(case.study))
    row = pixels.shape[0] - 8 if case.box[1] + case.box[3] < 1000 else 16
    cv2.putText(pixels, words, (4, row), cv2.FONT_HERSHEY_SIMPLEX, pixels.shape[1] / 1200, (255, 255, 255), 1)
    path = folder / f"written-{case.study.name}"
    if ds is None:
        imsave(path, pixels, check_contrast=False)
    else:
        ds.PixelData = pixels.tobytes()
        ds.save_as(path, enforce_file_format=True)
    return path


@dataclass
class Liar:
    """The model. Set `case` and `drafted` before each question.

    It describes and drafts the given sentences, or `told`, once a question holds those; asked whether a statement about
    a finding is true, it errs at `rate`, each question on its own; to every other statement it says yes.
    """

    rate: float
    case: Case | None = None
    drafted: Sequence[Said] = ()
    faults: dict[str, str] = field(default_factory=dict)
    """Purpose to a name in FAULTS: how that step fails. Over an endpoint only."""
    told: Sequence[Said] = ()
    """What it says as soon as somebody tells it so."""
    there: str = "lesion"
    """The one finding that is present; "" for none."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each request came: the same one again is another toss, whatever else is asked meanwhile."""

    def vlm(self) -> ScriptedVLM:
        """As the graph takes it."""
        return ScriptedVLM(self._in_process, model="liar")

    def serve(self, body: dict[str, Any]) -> Reply | str:
        """As the loopback endpoint takes it."""
        schema = body.get("response_format", {}).get("json_schema", {}).get("name", "")
        purpose = {"regions": "plan", "description": "describe", "draft": "draft"}.get(schema, "probe")
        if purpose in self.faults:
            return FAULTS[self.faults[purpose]]
        content = body["messages"][-1]["content"]
        parts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
        return self._say(purpose, "\n".join(parts), json.dumps(body["messages"][-1]))

    def _in_process(self, request: VLMRequest) -> str:
        parts = [part for part in request.messages[-1].parts if isinstance(part, str)]
        return self._say(request.purpose, "\n".join(parts), request.key)

    def _say(self, purpose: str, asked: str, key: str) -> str:
        assert self.case is not None
        if purpose == "plan":
            first = "Seen so far" not in asked
            return json.dumps({"regions": [{"bbox_2d": list(self.case.box), "label": "it"}] if first else []})
        drafted = self.told if self.told and self.told[0].text in asked else self.drafted
        if purpose == "describe":
            return json.dumps({"text": " ".join(said.text for said in drafted), "attributes": []})
        if purpose == "draft":
            if "could not be described" in asked:
                return json.dumps({"answerable": False, "reason": "nothing was described", "statements": []})
            return json.dumps({"statements": [{"text": said.text, "views": [1]} for said in drafted]})
        return self._answer(asked, key)

    def _answer(self, asked: str, key: str) -> str:
        match = re.search(r'^Statement: "(.*)"$', asked, re.MULTILINE)
        statement = match[1] if match else ""
        self.asked[key] += 1
        if " is present" not in statement and " is absent" not in statement:
            return "yes"
        there = bool(self.there) and self.there in statement
        coin = int.from_bytes(hashlib.sha256(f"{key}{self.asked[key]}".encode()).digest()[:4]) / 2**32
        return "yes" if (there == statement.endswith("present")) != (coin < self.rate) else "no"
