"""A model to be played by the loopback endpoint, and files of known content."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medloupe.models.vlm.base import ToolCall
from medloupe.models.vlm.loopback import Reply

Said = Reply | str | Callable[[dict[str, Any]], "Reply | str"]


def write_ct(path: Path, hu: np.ndarray) -> Path:
    """A minimal CT file of those values, in HU."""
    ds = pydicom.Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality, ds.PatientName, ds.PatientID = "CT", "Canary^Patient", "CANARY-ID"
    ds.Rows, ds.Columns = hu.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RescaleIntercept, ds.RescaleSlope = 0, 1
    ds.PixelSpacing = [0.5, 0.5]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.WindowCenter, ds.WindowWidth = 0, 400
    ds.PixelData = np.round(hu).astype("<i2").tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


def zooms(*boxes: tuple[float, float, float, float]) -> Reply:
    """A plan: a zoom on each box of V0, 0 to 1000."""
    return Reply(
        tool_calls=tuple(
            ToolCall(id=f"c{n}", name="zoom", arguments=json.dumps({"view": 0, "box": list(box)}))
            for n, box in enumerate(boxes)
        )
    )


DISC_BOX = (200, 280, 425, 500)
"""Round the disc of `disc_ct`, 0 to 1000, a little loose."""

ENOUGH = Reply(tool_calls=(ToolCall(id="done", name="answer", arguments="{}"),))


def drafted(text: str, *claims: dict[str, Any], views: tuple[int, ...] = (1,)) -> str:
    """A draft of one statement."""
    return json.dumps({"statements": [{"text": text, "views": list(views), "claims": list(claims)}]})


@dataclass
class ReaderScript:
    """What the model says at each step; a list is said in turn, its last for ever."""

    plan: list[Said] = field(default_factory=lambda: [zooms(DISC_BOX), ENOUGH])
    describe: list[Said] = field(
        default_factory=lambda: [json.dumps({"text": "A round, dense structure.", "attributes": []})]
    )
    draft: list[Said] = field(default_factory=lambda: [drafted("There is a round structure.")])
    probe: list[Said] = field(default_factory=lambda: ["yes"])

    def __call__(self, body: dict[str, Any]) -> Reply | str:
        said = getattr(self, self.step(body))
        chosen = said.pop(0) if len(said) > 1 else said[0]
        return chosen(body) if callable(chosen) else chosen

    @staticmethod
    def step(body: dict[str, Any]) -> str:
        """Which step a request belongs to."""
        schema = body.get("response_format", {}).get("json_schema", {}).get("name", "")
        steps = {"regions": "plan", "description": "describe", "draft": "draft"}
        return "plan" if body.get("tools") else steps.get(schema, "probe")
