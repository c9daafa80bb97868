"""Studies of known content, loaded from real files, and scenes to check claims in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn import CALCIFIED, LESION, Say, disc, ellipse
from reader_script import write_ct

from medloupe.models.segment import load_segmenter
from medloupe.models.vlm import Picture, ScriptedVLM
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.look import Loupe
from medloupe.tools.verify import Scene
from medloupe.types import Claim, Observation, View


@pytest.fixture
def ct_file(tmp_path: Path) -> Path:
    """256 x 256 at 0.5 mm, in fat of -100 HU: a disc of 60 HU, 40 px (20 mm), at (80, 100); an ellipse of 300 HU,
    50 x 30 px (25 x 15 mm), at (180, 180). Columns run to the patient's left."""
    shape = (256, 256)
    values = np.full(shape, -100.0)
    values[disc(shape, (80, 100), 20)] = 60
    values[ellipse(shape, (180, 180), (25, 15))] = 300
    values += np.random.default_rng(0).normal(0, 4, shape)
    return write_ct(tmp_path / "a.dcm", values)


@pytest.fixture
def ct(ct_file: Path) -> Loupe:
    """That file, outlined by grey level."""
    store = MemoryStore()
    return Loupe(load_study(ct_file, store), store)


@pytest.fixture
def png(tmp_path: Path) -> Loupe:
    """The same drawing as an 8-bit picture: no scale, no orientation, no Hounsfield units."""
    picture = np.full((256, 256), 60, np.uint8)
    picture[disc(picture.shape, (80, 100), 20)] = 140
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture)
    store = MemoryStore()
    return Loupe(load_study(path, store), store)


@pytest.fixture(scope="session")
def litemedsam() -> object:
    return load_segmenter("litemedsam")


@pytest.fixture
def say() -> Say:
    def claim(attribute: str, value: bool | float | str, unit: str = "", **fields: object) -> Claim:
        given: dict[str, object] = {
            "id": "C1", "attribute": attribute, "value": value, "unit": unit, "region": LESION, "source": "structured",
            "source_text": "as said",
        }  # fmt: skip
        return Claim.model_validate(given | fields)

    return claim


@pytest.fixture
def scene() -> Callable[..., Scene]:
    """A scene of a loupe with its overview, and a model for probes when one is given."""

    def build(loupe: Loupe, vlm: ScriptedVLM | None = None, **fields: object) -> Scene:
        def picture(view: View) -> Picture:
            return Picture(view.digest, loupe.store.get_png(view.digest), view.width, view.height)

        given: dict[str, object] = {
            "views": (loupe.overview(),), "regions": (LESION, CALCIFIED), "ask": vlm,
            "verifier_model": vlm.model if vlm else "", "picture": picture,
        }  # fmt: skip
        return Scene(loupe, **(given | fields))  # type: ignore[arg-type]

    return build


@pytest.fixture
def observed() -> Callable[..., Observation]:
    def observation(region: str, text: str, describer: str = "some-vlm", **fields: object) -> Observation:
        return Observation(id="O1", view=0, region=region, text=text, describer=describer, **fields)  # type: ignore[arg-type]

    return observation
