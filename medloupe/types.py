"""The words medloupe speaks: frozen, validated, and the same in memory, in a checkpoint and in answer.json.

Coordinates. One frame only: continuous pixel coordinates of the full image, (column, row) order, half-open. Pixel
(c, r) covers [c, c+1) x [r, r+1) and has its centre at (c+0.5, r+0.5). Resizing maps edges to edges. DICOM's
ImagePositionPatient is the centre of pixel (0, 0), hence at (0.5, 0.5) here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from medloupe._geometry import BoolArray, BoundingBox, Frozen, Mask, Spacing, Window

__all__ = [
    "RESEARCH_LABEL", "Annotation", "Answer", "BoolArray", "BoundingBox", "CheckedClaim", "Claim", "Evidence", "Frozen",
    "Image", "Level", "Mask", "Matrix3", "Measurement", "Observation", "Quantity", "Region", "Series", "Spacing",
    "StatedAttribute", "Statement", "Study", "Verdict", "VerdictValue", "View", "Window",
]  # fmt: skip

RESEARCH_LABEL = "Research use only, not for diagnosis."
"""Carried by every output."""

Matrix3 = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


# --- what was loaded ------------------------------------------------------------------------------------------------


class Level(Frozen):
    """One resolution of a slide."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    tile_width: int = Field(gt=0)
    """Columns of the blocks that its pixels are stored in; of strips, the whole width."""
    tile_height: int = Field(gt=0)


class Image(Frozen):
    """One two-dimensional frame. Its pixels lie in an ImageStore under `digest`; a slide's stay in their file."""

    index: int = Field(ge=0)
    """Place in Study.images; how everything addresses an image (no UID travels with a question)."""
    series: int = Field(ge=0)
    """Place of its series in Study.series."""
    frame: int = 0
    """Zero-based frame of a multi-frame object."""
    sop_instance_uid: str | None = None
    """(0008,0018); None for pictures. Stays in the study, never sent to a model."""
    modality: str = "OT"
    """(0008,0060), or what the user said; "OT" when nothing says."""
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    values: Literal["HU", "Gy", "stored", "RGB"]
    """What a pixel means: Hounsfield units, gray (a radiotherapy dose), modality-LUT output without a standard unit, or
    8-bit colour."""
    digest: str
    """BLAKE3 of the values: the key in the store. (rows, columns) int16/int32/float32, or (rows, columns, 3) uint8.
    Of a slide, a sha-256 over its files' tables and a sample of their tiles."""
    levels: tuple[Level, ...] = ()
    """Of a slide, which is opened by level: the full size first, then ever smaller; () for every other image."""
    inverted: bool = False
    """MONOCHROME1: low values are shown white."""
    padding: tuple[float, float] | None = None
    """PixelPaddingValue and its range limit, lowest and highest, in this image's values: outside the picture."""
    spacing: Spacing | None = None
    """None when the file does not say: then there are no millimetres."""
    position: tuple[float, float, float] | None = None
    """ImagePositionPatient, mm, LPS: the centre of pixel (0, 0)."""
    orientation: tuple[float, float, float, float, float, float] | None = None
    """ImageOrientationPatient: direction of increasing column, then of increasing row."""
    patient_orientation: tuple[str, str] | None = None
    """Where a row and a column point, in DICOM's letters ("L", "P"; "R" reads: columns grow to the patient's right)."""
    window: Window | None = None
    """The window to show it with unless another is asked for; None for RGB."""
    further_windows: tuple[Window, ...] = ()
    """The file's other windows, where it brings several: presets "file-2", "file-3", ..."""
    photometric: str = ""
    """(0028,0004)."""
    transfer_syntax: str = ""
    """Name of the transfer syntax, or of the picture format."""
    body_part: str = ""
    """(0018,0015), an allow-listed code string."""
    laterality: str = ""
    """(0020,0062) or (0020,0060): "L", "R", "B" or ""."""
    view_position: str = ""
    """(0018,5101): "PA", "AP", "LL", ..."""
    phantom: bool = False
    """Drawn by medloupe (evals/phantoms) and of no patient: no evidence about real images."""

    def image_to_patient(self) -> Matrix3 | None:
        """(column, row, 1) in continuous pixels to (x, y, z) in mm, LPS (PS3.3 C.7.6.2.1.1); None when unknown."""
        if self.position is None or self.orientation is None or self.spacing is None:
            return None
        along, down = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        step_c, step_r = along * self.spacing.column_mm, down * self.spacing.row_mm
        origin = np.array(self.position) - 0.5 * step_c - 0.5 * step_r
        x, y, z = np.stack([step_c, step_r, origin], axis=1).tolist()
        return (tuple(x), tuple(y), tuple(z))

    def patient_side(self, column: float, row: float) -> Literal["left", "right"] | None:
        """The patient's side of the image's midline on which a point lies; None when the file does not tell."""
        if self.patient_orientation is None:
            return None
        for letters, ahead in zip(
            self.patient_orientation, (column > self.width / 2, row > self.height / 2), strict=True
        ):
            if letters[:1] in ("L", "R"):
                return "left" if (letters[0] == "L") == ahead else "right"
        return None


class Series(Frozen):
    """Images that belong together, in spatial order."""

    index: int = Field(ge=0)
    uid: str | None = None
    """(0020,000E); stays in the study."""
    modality: str = "OT"
    plane: Literal["acquired", "axial", "coronal", "sagittal"] = "acquired"
    """As the scanner made it, or reformatted from another series."""
    images: tuple[int, ...]
    """Indices into Study.images, sorted by position along the normal."""


class Annotation(Frozen):
    """What another object says of the images: a region or a text. Data to quote; no image, no instruction, no truth."""

    id: str
    """"A1", "A2", ... within a study."""
    kind: Literal["region", "text"]
    source: Literal["SEG", "RTSTRUCT", "SR", "label map"]
    """The kind of object it stands in; a label map is a NIfTI or NRRD on the grid of a series."""
    label: str
    """What it is of, in a standard's own words ("Liver", "Volume"), or "segment 1"; never the file's free text."""
    text: str = ""
    """Of a text: a coded value, or a number with its unit."""
    image: int | None = None
    """Of a region: place of its image in Study.images."""
    mask: Mask | None = None
    """Of a region."""


class Study(Frozen):
    """What was opened."""

    id: str
    """sha-256 over the images' digests: the same files are the same study."""
    images: tuple[Image, ...] = Field(min_length=1)
    series: tuple[Series, ...] = Field(min_length=1)
    annotations: tuple[Annotation, ...] = ()
    """From SEG, RTSTRUCT and SR objects beside the images."""
    warnings: tuple[str, ...] = ()
    """What was guessed, missing or left out; carried to the answer."""

    @property
    def phantom(self) -> bool:
        """Whether any image was drawn by medloupe: such a study is no evidence about real images."""
        return any(image.phantom for image in self.images)


# --- looking --------------------------------------------------------------------------------------------------------


class Region(Frozen):
    """A place in an image that was, or will be, looked at."""

    id: str
    """"R1", "R2", ... within a session."""
    image: int
    box: BoundingBox
    mask: Mask | None = None
    view: int | None = None
    """The view it was asked on."""
    source: Literal["planner", "proposal", "person", "claim"] = "planner"
    predicted_iou: float | None = None
    """The segmenter's own estimate of its mask, 0 to 1."""
    label: str = ""
    """What the planner hopes to see there; never shown to the describer."""


class View(Frozen):
    """Exactly what a model is shown."""

    index: int
    """V0 is the overview; later actions can target any earlier view."""
    kind: Literal["overview", "zoom", "crop", "window", "slice", "compare"]
    image: int
    box: BoundingBox
    """What it shows, in whole full-image pixels."""
    width: int
    """Columns of the encoded picture."""
    height: int
    """Rows of the encoded picture."""
    window: Window | None = None
    region: str | None = None
    """The region it was made for."""
    plane: Literal["axial", "coronal", "sagittal"] | None = None
    """Of a slice across a volume: the plane it was made in, from the voxels of a series acquired in another."""
    parent: int | None = None
    """The view it was asked on."""
    depth: int = 0
    """Nested zooms above it; 0 for an overview."""
    overlay: Literal["none", "contour", "pair"] = "none"
    """Drawn on it: the region's contour; or "pair": two views side by side, which has no affine."""
    other: int | None = None
    """The second view of a pair."""
    digest: str
    """sha-256 of the PNG bytes: what was sent is what is stored."""
    image_to_patient: Matrix3 | None = None
    """Of its image, so that a view alone knows its millimetres."""

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """A point of the picture in full-image pixels (column, row)."""
        box = self.box
        return (box.x0 + x * box.width / self.width, box.y0 + y * box.height / self.height)

    def from_image(self, column: float, row: float) -> tuple[float, float]:
        """A full-image point in pixels of the picture."""
        box = self.box
        return ((column - box.x0) * self.width / box.width, (row - box.y0) * self.height / box.height)

    def box_to_image(self, box: BoundingBox) -> BoundingBox:
        """A box drawn on the picture, in full-image pixels."""
        (x0, y0), (x1, y1) = self.to_image(box.x0, box.y0), self.to_image(box.x1, box.y1)
        return BoundingBox(x0=x0, y0=y0, x1=x1, y1=y1)

    def box_from_image(self, box: BoundingBox) -> BoundingBox:
        """A full-image box in pixels of the picture."""
        (x0, y0), (x1, y1) = self.from_image(box.x0, box.y0), self.from_image(box.x1, box.y1)
        return BoundingBox(x0=x0, y0=y0, x1=x1, y1=y1)

    def to_patient(self, x: float, y: float) -> tuple[float, float, float] | None:
        """A point of the picture in patient millimetres (LPS); None where the geometry is unknown."""
        if self.image_to_patient is None:
            return None
        column, row = self.to_image(x, y)
        px, py, pz = (a * column + b * row + c for a, b, c in self.image_to_patient)
        return (px, py, pz)


class Quantity(Frozen):
    """One measured number; it names its unit and how it was obtained."""

    name: str
    """An attribute's name, as in prompts/knowledge/attributes.yaml, or a helper quantity ("ring_mean")."""
    value: float | str
    unit: str = ""
    """"mm", "px", "mm2", "px2", "HU", "Gy", "stored", "grey" (8-bit), "1/1" (a ratio), "HU/mm", "bit",
    or "" for words and counts."""
    method: str
    """How: "maximum Feret diameter of the mask", ..."""


class Measurement(Frozen):
    """Everything measured in one region."""

    region: str
    quantities: tuple[Quantity, ...]
    segmenter: str
    """Which mask was measured: a segmenter's name, "threshold" (grey-level, inside the box) or "given"."""
    quality: float | None = None
    """How far the outline can be trusted, 0 to 1 (predicted IoU); None when the method gives no estimate."""

    def get(self, name: str) -> Quantity | None:
        """The quantity of that name."""
        return next((q for q in self.quantities if q.name == name), None)


class StatedAttribute(Frozen):
    """One attribute in a structured reply."""

    attribute: str
    value: bool | float | str
    unit: str = ""
    finding: str = ""
    """What it is said of: "nodule", "kidney", or "" for the region itself."""


class Observation(Frozen):
    """One describer's statement about one view."""

    id: str
    """"O1", "O2", ..."""
    view: int
    region: str | None = None
    text: str = ""
    attributes: tuple[StatedAttribute, ...] = ()
    describer: str
    """Model id, or "measured"."""
    prompt: str = ""
    """sha-256 of the prompt template."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0
    fault: str | None = None
    """Why there is no text. A faulted observation supports nothing."""


# --- claims and verdicts --------------------------------------------------------------------------------------------


class Claim(Frozen):
    """One checkable statement."""

    id: str
    """"C1", "C2", ... within a session."""
    attribute: str
    """A name from prompts/knowledge/attributes.yaml: "long_axis", "site", "side", "count", "presence", ..."""
    value: bool | float | str
    unit: str = ""
    finding: str = ""
    region: Region | None = None
    """Where; None means the whole image of `view`, or the study."""
    view: int | None = None
    source: Literal["structured", "parsed", "implied"]
    """Stated as such, read from words, or only implied: "the nodule measures 9 mm" implies a nodule."""
    source_text: str
    """The words it was taken from."""
    hedged: bool = False
    """"may", "possibly": stated with doubt."""

    def sentence(self) -> str:
        """The claim as a short sentence, for a person and for a probe."""
        subject = self.finding or "the region"
        if self.attribute == "presence":
            return f"{subject} is {'present' if self.value else 'absent'}"
        value = f"{self.value:g}" if isinstance(self.value, float) else str(self.value)
        return f"{subject}: {self.attribute.replace('_', ' ')} {value} {self.unit}".rstrip()


VerdictValue = Literal["supported", "refuted", "undetermined"]


class Evidence(Frozen):
    """What a verdict stands on."""

    tool: str
    """"measure", "probe", ..."""
    version: str
    region: Region | None = None
    quantities: tuple[Quantity, ...] = ()
    reply: str = ""
    """A model's own words, quoted; data, never an instruction."""


class Verdict(Frozen):
    """What a check found. "Could not decide" is its own value, never "wrong"."""

    claim: str
    verdict: VerdictValue
    reason: str
    """One sentence."""
    measured: bool | float | str | None = None
    unit: str = ""
    method: Literal["measured", "probe", "rules", "agreement", "none"]
    independent: bool = False
    """The check did not rest on the describer: another model, or the pixels."""
    numbers: dict[str, float] = {}
    """The figures behind the reason: tolerance, ratio, quality, ..."""
    evidence: tuple[Evidence, ...] = ()


# --- the answer -----------------------------------------------------------------------------------------------------


class Statement(Frozen):
    """One sentence of the answer, with what it stands on."""

    id: str
    text: str
    views: tuple[int, ...] = ()
    claims: tuple[str, ...] = ()
    status: Literal["supported", "corrected", "undetermined", "refuted", "unchecked"] = "unchecked"
    """Only "supported" and "corrected" ones are in the answer's text; the others stay in the record."""
    original: str | None = None
    """What stood here before it was corrected."""
    reason: str = ""
    """Why it was changed or dropped."""
    said: tuple[str, ...] = ()
    """Of `claims`, those that the text still makes: supported, or with the measured value in their place."""
    unparsed: tuple[str, ...] = ()
    """Its words that no claim was made of: nothing checked them."""


class CheckedClaim(Frozen):
    """A claim and its verdict as answer.json and verdicts.json show them."""

    id: str
    claim: str
    source_text: str
    attribute: str
    value: bool | float | str
    stated_unit: str = ""
    """The unit of `value`."""
    region: Region | None = None
    view: int | None = None
    verdict: VerdictValue
    reason: str
    measured: bool | float | str | None = None
    unit: str = ""
    """The unit of `measured`."""
    method: str
    independent: bool
    numbers: dict[str, float] = {}


class Answer(Frozen):
    """answer.json."""

    schema_version: Literal["medloupe.answer/1"] = "medloupe.answer/1"
    label: str = RESEARCH_LABEL
    run: str
    """The session's id; `medloupe chat --session` resumes it."""
    turn: int = 0
    question: str
    answer: str
    """The supported and corrected statements in order, and what was left out, unaffirmed; or why there is none."""
    abstained: bool
    confidence: float | None = None
    """Mean probability that a claim of the answer is right, where a calibration covers them all; else None."""
    confidence_basis: str = ""
    """What it rests on, or why there is no figure."""
    statements: tuple[Statement, ...] = ()
    study: dict[str, object] = {}
    """Counts, modality, size, spacing: what was looked at, without identifiers."""
    views: tuple[View, ...] = ()
    regions: tuple[Region, ...] = ()
    observations: tuple[Observation, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    claims: tuple[CheckedClaim, ...] = ()
    unparsed: tuple[str, ...] = ()
    """Words of the statements that no claim was made of."""
    budget: dict[str, object] = {}
    """Caps and what was spent."""
    models: dict[str, str] = {}
    """Role to model id: planner, describer, verifier, segmenter."""
    prompts: dict[str, str] = {}
    """Prompt name to sha-256."""
    warnings: tuple[str, ...] = ()
