"""claims.json: claims about places in a study, as another program wrote them.

    {"claims": [{"id": "c1", "attribute": "long_axis", "value": 12, "unit": "mm", "finding": "nodule",
                 "region": {"image": 0, "frame": 0, "box": [x0, y0, x1, y1], "mask": "c1.png"}}]}

`unit`, `finding` and `region` may be left out; no region means the whole image. Boxes are half-open, in pixels of the
full image. `image` is a SOPInstanceUID, or which of the study's objects (from 0); by default the only one. A mask is a
picture of the image's size, named relative to claims.json and never outside its folder; it is taken as it is, where a
box alone is outlined anew. Other keys are passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from pydantic import BaseModel, Field, FiniteFloat, StrictBool, StrictInt, ValidationError

from medloupe.errors import InputRejected
from medloupe.tools.imaging import MemoryStore, load_study, whole
from medloupe.tools.verify import claims_from_attributes
from medloupe.types import BoundingBox, Claim, Image, Mask, Region, StatedAttribute, Study

__all__ = ["claims_from_file", "claims_from_json"]

_MOST_BYTES = 64 * 2**20
"""Of a claims.json: some hundred thousand claims."""


class _Place(BaseModel):
    """Where a claim is to be checked."""

    image: StrictInt | str | None = None
    frame: Annotated[int, Field(ge=0)] = 0
    box: Annotated[list[FiniteFloat], Field(min_length=4, max_length=4)] | None = None
    mask: str | None = None


class _Stated(BaseModel):
    """One claim as it stands in the file."""

    id: StrictInt | str
    attribute: Annotated[str, Field(min_length=1)]
    value: StrictBool | FiniteFloat | str
    unit: str = ""
    finding: str = ""
    source_text: str = ""
    region: _Place | None = None


class _File(BaseModel):
    """The whole file."""

    claims: list[_Stated]


def claims_from_file(path: Path, study: Study) -> list[Claim]:
    """The claims of a claims.json, placed in the study: `view` is the index of their image.

    InputRejected, one clear line, when it is malformed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputRejected("claims-unreadable", f"The claims cannot be read: {error.strerror}.") from None
    if len(content) > _MOST_BYTES:
        raise InputRejected("claims-too-large", "The claims file is larger than 64 MiB.")
    try:
        parsed = _File.model_validate_json(content)
    except ValidationError as error:
        raise _malformed(error) from None
    return _placed(parsed, study, path.parent)


def claims_from_json(
    claims: Mapping[str, Any] | Sequence[Mapping[str, Any]], study: Study, folder: Path | None = None
) -> list[Claim]:
    """The same from Python: {"claims": [...]} or the list alone. folder: where masks are; None: there can be none."""
    content = claims if isinstance(claims, Mapping) else {"claims": list(claims)}
    try:
        parsed = _File.model_validate(content)
    except ValidationError as error:
        raise _malformed(error) from None
    return _placed(parsed, study, folder)


def _malformed(error: ValidationError) -> InputRejected:
    """The first fault and where it is; not what was found there, which may be anything."""
    first, *others = error.errors(include_input=False, include_url=False)
    if first["loc"][2:3] == ("value",):  # of several types: why it is none of them
        place = first["loc"][:3]
        message = "; or: ".join([first["msg"], *(other["msg"] for other in others if other["loc"][:3] == place)])
    else:
        place, message = first["loc"][:4], first["msg"]
    where = ".".join(str(step) for step in place) or "the file"
    return InputRejected("claims-malformed", f"The claims are malformed at {where}: {message}.")


def _placed(parsed: _File, study: Study, folder: Path | None) -> list[Claim]:
    identities = [str(stated.id) for stated in parsed.claims]
    twice = [identity for identity, times in Counter(identities).items() if times > 1]
    if twice:
        raise InputRejected("claims-malformed", f"The claims are malformed: two of them have the id {twice[0]!r}.")
    objects = _objects(study)
    masks: dict[str, Mask] = {}
    return [claim for stated in parsed.claims for claim in _claims(stated, objects, folder, masks)]


def _objects(study: Study) -> list[list[Image]]:
    """The study's images, the frames of one file together."""
    objects: list[list[Image]] = []
    for image in study.images:
        last = objects[-1][-1] if objects else None
        same = last is not None and image.frame > last.frame and image.sop_instance_uid == last.sop_instance_uid
        objects[-1].append(image) if same else objects.append([image])
    return objects


def _claims(
    stated: _Stated, objects: list[list[Image]], folder: Path | None, masks: dict[str, Mask]
) -> Iterator[Claim]:
    """The claim under its own id; of a value that says several things ("12 x 8 mm") the others as c1.2, c1.3."""
    place = stated.region or _Place()
    image = _image(stated, place, objects)
    found = claims_from_attributes(
        [StatedAttribute.model_validate(stated.model_dump(include={"attribute", "value", "unit", "finding"}))],
        first_id=1, region=_region(stated, place, image, folder, masks), view=None,
        source_text=stated.source_text or _as_written(stated),
    )  # fmt: skip
    for number, claim in enumerate(found, start=1):
        identity = str(stated.id) if number == 1 else f"{stated.id}.{number}"
        yield claim.model_copy(update={"id": identity, "view": image.index})


def _as_written(stated: _Stated) -> str:
    value = f"{stated.value:g}" if isinstance(stated.value, float) else str(stated.value)
    return f"{stated.attribute}: {value} {stated.unit}".strip()


def _image(stated: _Stated, place: _Place, objects: list[list[Image]]) -> Image:
    wrong = f"Claim {str(stated.id)!r}"
    if place.image is None:
        if len(objects) > 1:
            raise InputRejected("claims-image", f"{wrong} does not say which of the study's {len(objects)} images.")
        frames = objects[0]
    elif isinstance(place.image, int):
        if not 0 <= place.image < len(objects):
            raise InputRejected("claims-image", f"{wrong} names image {place.image}; there are {len(objects)}, from 0.")
        frames = objects[place.image]
    else:
        found = [frames for frames in objects if frames[0].sop_instance_uid == place.image]
        if not found:
            raise InputRejected("claims-image", f"{wrong} names a SOPInstanceUID that the study does not hold.")
        frames = found[0]
    for image in frames:
        if image.frame == place.frame or (len(frames) == 1 and place.frame == 0):
            return image
    raise InputRejected("claims-image", f"{wrong} names frame {place.frame}; the image has {len(frames)}, from 0.")


def _region(stated: _Stated, place: _Place, image: Image, folder: Path | None, masks: dict[str, Mask]) -> Region | None:
    """Where to look; None for the whole image. A mask wins over a box."""
    if place.mask is not None:
        mask = _mask(str(stated.id), place.mask, image, folder, masks)
        whole = BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)
        box = BoundingBox.of_mask(mask.to_array()) if mask.area else whole
        return Region(id=f"claim {stated.id}", image=image.index, box=box, mask=mask, source="claim")
    if place.box is None:
        return None
    try:
        box = BoundingBox.from_tuple(place.box)
    except ValidationError:
        raise InputRejected(
            "claims-malformed", f"Claim {str(stated.id)!r} has a box without area; give [x0, y0, x1, y1]."
        ) from None
    return Region(id=f"claim {stated.id}", image=image.index, box=box, source="claim")


def _mask(claim: str, name: str, image: Image, folder: Path | None, masks: dict[str, Mask]) -> Mask:
    """The mask in a file beside claims.json: what is brighter than half its brightest."""
    wrong = f"The mask of claim {claim!r}"
    if name not in masks:
        path, store = _beside(claim, name, folder), MemoryStore()
        try:
            values = whole(store, load_study(path, store).images[0]).values
        except InputRejected as error:
            raise InputRejected("claims-mask", f"{wrong} cannot be read: {error}") from None
        bright = values.max(axis=2) if values.ndim == 3 else values
        masks[name] = Mask.from_array((bright > bright.max() / 2) & (bright > 0))
    mask = masks[name]
    if (mask.width, mask.height) != (image.width, image.height):
        size = f"{mask.width} x {mask.height} pixels and its image {image.width} x {image.height}"
        raise InputRejected("claims-mask", f"{wrong} has {size}.")
    return mask


def _beside(claim: str, name: str, folder: Path | None) -> Path:
    """The file of that name in the folder or below it, with every link followed; InputRejected for any other."""
    outside = InputRejected("claims-mask", f"The mask of claim {claim!r} does not lie in the folder of the claims.")
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    drives = PureWindowsPath(name)
    if folder is None or "\0" in name or ".." in parts or drives.drive or drives.root or PurePosixPath(name).root:
        raise outside
    home = folder.resolve()
    path = (home / name).resolve()
    if not path.is_relative_to(home):
        raise outside
    if not path.is_file():
        raise InputRejected("claims-mask", f"The mask of claim {claim!r} is not there.")
    return path
