"""A whole answer made from a real MR, with every kind of statement, verdict and look in it; some texts are hostile."""

from __future__ import annotations

import numpy as np
from pydicom.data import get_testdata_file

from medloupe.agent.budget import Budget, Spent
from medloupe.tools.imaging import MemoryStore, cut_view, load_study, render
from medloupe.tools.measure import measure_region, threshold_mask
from medloupe.types import (
    Answer,
    BoundingBox,
    CheckedClaim,
    Image,
    Mask,
    Observation,
    Region,
    Statement,
    Study,
    VerdictValue,
    View,
)

RUN = "20261122-145301-ab12"
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">\x1b[2J\u202e'
BOXES = {"R1": (122, 108, 182, 170), "R2": (288, 204, 348, 264), "R3": (214, 168, 266, 216), "R4": (176, 60, 236, 92)}


def mr_path() -> str:
    """An abdominal MR that comes with pydicom: 484 x 300 pixels, spacing and orientation known."""
    return str(get_testdata_file("examples_overlay.dcm", download=False))


def sample(store: MemoryStore) -> tuple[Study, Answer]:
    """The study and an answer about it, its views in `store`."""
    study = load_study(mr_path(), store)
    image = study.images[0]
    regions = _regions(store, image)
    overview = cut_view(store, image, _whole(image), index=0, kind="overview")
    views = [overview, *(_crop(store, image, region, overview) for region in regions[:3])]
    views.append(
        cut_view(
            store, image, BoundingBox(x0=190, y0=50, x1=330, y1=150), index=4, kind="zoom", parent=overview, region="R4"
        )
    )
    values = store.get(image.digest)
    measurements = [
        measure_region(values, image, r.mask.to_array(), region_id=r.id, segmenter="threshold")
        for r in regions
        if r.mask
    ]
    return study, Answer(
        run=RUN,
        question="How large is the region in the liver, and what else stands out?",
        answer="R1 measures 43.9 mm in its long axis. R3 has an irregular margin. Not confirmed and left out: shape. "
        "Refuted and left out: 1 claim.",
        abstained=False,
        confidence=0.91,
        confidence_basis="calibrated on 600 statements about 60 labelled images",
        statements=_statements(),
        study={
            "images": 1, "series": 1, "image": 0, "modality": image.modality, "body_part": "",
            "width": image.width, "height": image.height, "values": image.values,
            "spacing_mm": [image.spacing.row_mm, image.spacing.column_mm] if image.spacing else None,
            "spacing_source": image.spacing.source if image.spacing else None,
            "transfer_syntax": image.transfer_syntax, "digest": image.digest,
        },
        views=tuple(views), regions=tuple(regions), observations=_observations(), measurements=tuple(measurements),
        claims=_claims(regions), unparsed=("what else stands out",),
        budget={
            "caps": Budget().model_dump(),
            "spent": Spent(looks=4, calls=9, tokens=11_840, plans=2, faults=1, seconds=14.2).model_dump(),
        },
        models={
            "planner": "tools: qwen2.5-vl-7b", "describer": "qwen2.5-vl-7b",
            "verifier": "measured, probe: qwen2.5-vl-7b", "segmenter": "litemedsam-79d8c9dc",
        },
        prompts={"system": "a" * 64, "describe": "b" * 64},
        warnings=("one request failed after four attempts: its view has no description",),
    )  # fmt: skip


def _whole(image: Image) -> BoundingBox:
    return BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)


def _regions(store: MemoryStore, image: Image) -> list[Region]:
    grey = render(store.get(image.digest), image, image.window)
    rows, columns = np.mgrid[: image.height, : image.width] + 0.5
    drawn = ((columns - 151) / 29) ** 2 + ((rows - 139) / 30) ** 2 < 1  # R1: by hand, its edge is soft
    regions = []
    for name, corners in BOXES.items():
        box = BoundingBox.from_tuple(corners)
        mask = {"R1": drawn, "R4": None}[name] if name in ("R1", "R4") else threshold_mask(grey, box)
        regions.append(
            Region(
                id=name, image=0, box=box, view=0, source="planner", predicted_iou=0.9 if mask is not None else None,
                mask=None if mask is None else Mask.from_array(mask), label=HOSTILE if name == "R1" else "",
            )
        )  # fmt: skip
    return regions


def _crop(store: MemoryStore, image: Image, region: Region, overview: View) -> View:
    index = int(region.id[1:])
    return cut_view(
        store, image, region.box.grow(1.0, 48), index=index, kind="crop", parent=overview, region=region.id,
        contour=region.mask,
    )  # fmt: skip


def _statements() -> tuple[Statement, ...]:
    return (
        Statement(
            id="S1", text="R1 measures 43.9 mm in its long axis.", views=(1,), claims=("C1", "C2"),
            status="corrected", original="R1 measures 71 mm in its long axis.",
            reason="C1: stated 71 mm, measured 43.9 mm: off by a factor of 1.62, more than the 1.25 allowed",
        ),
        Statement(id="S2", text="R3 has an irregular margin.", views=(3,), claims=("C3",), status="supported"),
        Statement(
            id="S3", text="R2 is round.", views=(2,), claims=("C4",), status="undetermined",
            reason="C4: the outline could not be trusted, so shape was not measured",
        ),
        Statement(
            id="S4", text=f"R2 lies on the patient's right side. {HOSTILE}", views=(2,), claims=("C5",),
            status="refuted",
            reason="C5: by the image's orientation it lies on the patient's left side",
        ),
    )  # fmt: skip


def _observations() -> tuple[Observation, ...]:
    who = {"describer": "qwen2.5-vl-7b", "prompt": "b" * 64}
    return (
        Observation(id="O1", view=1, region="R1", text="A rounded area with a dark centre and a smooth margin.", **who),
        Observation(id="O2", view=2, region="R2", text=f"A rounded area of intermediate signal. {HOSTILE}", **who),
        Observation(
            id="O3", view=3, region="R3", **who,
            text="An area of low signal, irregular in outline, with a thin brighter rim along its lower border.",
        ),
        Observation(id="O4", view=4, region="R4", fault="the endpoint replied 503 four times", **who),
    )  # fmt: skip


def _claims(regions: list[Region]) -> tuple[CheckedClaim, ...]:
    by_id = {region.id: region for region in regions}

    def claim(
        name: str, words: str, value: str | float, verdict: VerdictValue, reason: str, region: str, **more: object
    ) -> CheckedClaim:
        attribute = words.partition(": ")[2].split()[0]
        fields = {"method": "measured", "independent": True, "attribute": attribute, **more}
        return CheckedClaim.model_validate(
            {
                "id": name, "claim": words, "source_text": words, "value": value, "verdict": verdict, "reason": reason,
                "region": by_id[region], "view": int(region[1:]), **fields,
            }
        )  # fmt: skip

    return (
        claim("C1", "R1: long axis 71 mm", 71.0, "refuted", "stated 71 mm, measured 43.9 mm: off by a factor of 1.62",
              "R1", attribute="long_axis", stated_unit="mm", measured=43.9, unit="mm",
              numbers={"ratio": 1.62, "tolerance": 1.25}),
        claim("C2", "R1: intensity hypointense", "hypointense", "supported", "darker than the tissue around it", "R1",
              measured="hypointense", numbers={"contrast": -0.41}),
        claim("C3", "R3: margin irregular", "irregular", "supported", "both yes/no questions came out right", "R3",
              method="probe", independent=False),
        claim("C4", "R2: shape round", "round", "undetermined", "the outline could not be trusted", "R2",
              numbers={"quality": 0.31}),
        claim("C5", "R2: side right", "right", "refuted", f"it lies on the patient's left side {HOSTILE}", "R2",
              measured="left"),
    )  # fmt: skip
