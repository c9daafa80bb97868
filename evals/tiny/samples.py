"""Views of phantoms with what is to be said of them: endless, the same on every machine, by number.

Sample n is phantom number n: PER_SCENE views of it, most of them close to a lesion, some far from it, some without any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from medloupe.evals.phantoms.kinds import make_scene
from medloupe.evals.phantoms.lesion import Grid, Lesion
from medloupe.evals.phantoms.parameters import Kind, Profile, attribute_names, log_draw, split_seeds
from medloupe.evals.phantoms.picture import view_of
from medloupe.evals.phantoms.scene import Scene
from medloupe.evals.phantoms.truth import assessable, site_word
from medloupe.evals.tiny.geometry import MEASURES, measures_of
from medloupe.models.tiny.language import LOOK_CLOSER, Place, asking, description, location, number, statement
from medloupe.prompts import knowledge

__all__ = ["CELLS", "LABELS", "PER_SCENE", "Turn", "ViewSample", "kind_of", "samples_of", "scene_of"]

PER_SCENE = 8
CELLS = 48
"""Cells of a view's side in which what is lesion is told to the vision tower in training."""
SEEN = 0.04
"""Share of the view's side: a lesion smaller than this need not be located."""
_CLOSE = (0.28, 0.75)
"""Shares of the side that a lesion fills in a view close to it: those that a close-up may leave it with."""
_UNKNOWN = 0.15
"""Share of views of which the modality is not told: pictures do not say it."""
_SURE = (0.22, 0.28)
"""Between these shares of the side either a description or "look closer" is right: neither is trained."""

_KINDS: tuple[Kind, ...] = ("ct", "us", "ct", "derm", "ct", "cxr", "ct", "us", "derm", "cxr")

LABELS: dict[str, tuple[str, ...]] = {
    "shape": ("round", "oval", "lobulated", "irregular"),
    "margin": ("well-defined", "ill-defined", "spiculated"),
    "homogeneity": ("homogeneous", "heterogeneous"),
    "density": ("solid", "part-solid", "ground-glass", "calcified"),
    "intensity": ("hypointense", "hyperintense"),
    "colour": ("brown", "black", "red", "blue"),
}
"""Attributes and values that are told to the vision tower in training, cell by cell."""

MEASURED = 0.12
"""Share of the view's side: a lesion smaller than this is not told in numbers."""

_SITES = ("image left", "image right", "image upper", "image lower", "central")


@dataclass(frozen=True)
class Turn:
    """One question and its answer."""

    task: str
    """"describe", "locate" or "probe"."""
    ask: str
    say: str
    attribute: str = ""
    """Of a probe."""
    pair: int = -1
    """Probes of one statement and its twin have the same number."""


@dataclass(frozen=True)
class ViewSample:
    """One view with its turns, and what the vision tower is told of it."""

    draw: Callable[[], npt.NDArray[np.uint8]]
    """See `picture`."""
    turns: tuple[Turn, ...]
    cells: npt.NDArray[np.uint8]
    """(48, 48): 0, or 1 + the number of the lesion in that cell."""
    labels: npt.NDArray[np.int64]
    """(lesions, len(LABELS)): place of the value, or -1 where it does not apply or cannot be seen."""
    shares: tuple[float, ...]
    """Each lesion's long axis over the view's side."""
    measures: npt.NDArray[np.float32]
    """(lesions, MEASURES) numbers of geometry.py; not a number where a lesion is cut off or too small."""
    middles: npt.NDArray[np.float32]
    """(lesions, 2) middle of each lesion's box (column, row), in shares of the view's side."""
    lesion: Lesion | None
    """The one that is described."""
    box: tuple[int, int, int, int]
    closer: bool
    boxes: tuple[tuple[float, float, float, float], ...]
    """Of the lesions that are to be located, in shares of the sides."""

    @cached_property
    def picture(self) -> npt.NDArray[np.uint8]:
        """(side, side, 3), drawn when it is first wanted."""
        return self.draw()


def kind_of(number_of: int) -> Kind:
    """The kind of phantom number n."""
    return _KINDS[number_of % len(_KINDS)]


def scene_of(number_of: int, split: str = "train", profile: Profile = "standard") -> Scene:
    """Phantom number n of a split; a tenth of those trained on have no lesion."""
    kind, seeds = kind_of(number_of), split_seeds(split)
    seed = seeds[number_of % len(seeds)]
    rng = np.random.default_rng((seed, 77))
    count = 0 if rng.random() < 0.1 else int(rng.integers(2, 6))
    sizes = [log_draw(rng, knowledge("phantoms")["lesions"]["standard"]["long_axis"]) for _ in range(count)]
    return make_scene(kind, seed, profile, sizes)


def samples_of(
    number_of: int, view_px: int, split: str = "train", profile: Profile = "standard"
) -> Iterator[ViewSample]:
    """The views of phantom number n, `view_px` pixels wide, with the questions about each."""
    scene = scene_of(number_of, split, profile)
    rng = np.random.default_rng((scene.seed, 78))
    for box in _boxes(scene, rng):
        yield _sample(scene, box, view_px, rng)


# --- where to look --------------------------------------------------------------------------------------------------


def _boxes(scene: Scene, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Five close to a lesion, one far from it, one tile (often with a small one) or overview, one of anything."""
    found = []
    order = rng.permutation(len(scene.lesions))
    for n in range(5):
        if len(order):
            lesion = scene.lesions[order[n % len(order)]]
            found.append(_round_lesion(scene, lesion, float(np.exp(rng.uniform(*np.log(_CLOSE)))), rng))
        else:
            found.append(_anywhere(scene, rng))
    if len(order):
        found.append(_round_lesion(scene, scene.lesions[order[-1]], float(rng.uniform(0.03, 0.2)), rng))
    else:
        found.append(_anywhere(scene, rng))
    if len(order) and rng.random() < 0.5:
        smallest = min(scene.lesions, key=lambda lesion: lesion.long_axis)
        found.append(_round_lesion(scene, smallest, float(rng.uniform(SEEN, 0.1)), rng))
    else:
        side = scene.width if rng.random() < 0.35 else int(scene.width * rng.uniform(0.12, 0.6))
        found.append(_square(scene, rng.uniform(0, scene.width), rng.uniform(0, scene.height), side))
    if scene.distractors and rng.random() < 0.7:
        x0, y0, x1, y1 = scene.distractors[int(rng.integers(len(scene.distractors)))].box
        wide = max(x1 - x0, min(y1 - y0, 4 * (x1 - x0)), 8) / rng.uniform(0.2, 0.8)
        found.append(_square(scene, (x0 + x1) / 2 + rng.uniform(-0.2, 0.2) * wide, (y0 + y1) / 2, int(wide)))
    else:
        found.append(_anywhere(scene, rng))
    return found


def _round_lesion(scene: Scene, lesion: Lesion, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    side = max(lesion.long_axis / share, 14)
    loose = max(0.0, 0.5 - share * 0.55) * 0.9 * side
    dx, dy = rng.uniform(-loose, loose, 2)
    x0, y0, x1, y1 = lesion.box
    return _square(scene, (x0 + x1) / 2 + dx, (y0 + y1) / 2 + dy, int(side))


def _anywhere(scene: Scene, rng: np.random.Generator) -> tuple[int, int, int, int]:
    side = int(np.exp(rng.uniform(np.log(24), np.log(scene.width * 0.6))))
    return _square(scene, rng.uniform(0.1, 0.9) * scene.width, rng.uniform(0.1, 0.9) * scene.height, side)


def _square(scene: Scene, x: float, y: float, side: int) -> tuple[int, int, int, int]:
    """A square of that side around a point, moved into the image."""
    side = min(max(side, 14), scene.width, scene.height)
    x0 = min(max(round(x - side / 2), 0), scene.width - side)
    y0 = min(max(round(y - side / 2), 0), scene.height - side)
    return (x0, y0, x0 + side, y0 + side)


# --- what is to be said ---------------------------------------------------------------------------------------------


def _sample(scene: Scene, box: tuple[int, int, int, int], view_px: int, rng: np.random.Generator) -> ViewSample:
    grain = int(rng.integers(2**32))
    side = box[2] - box[0]
    seen, whole = _inside(scene, box)
    lesion = _middle(seen, box)
    known = rng.random() >= _UNKNOWN
    modality = knowledge("phantoms")["kinds"][scene.kind]["modality"] if known else "OT"
    place = Place.of(box, scene.width, scene.height)
    share = lesion.long_axis / side if lesion is not None else 0.0
    closer = share < LOOK_CLOSER
    unclear = (lesion is None and bool(seen)) or (lesion is not None and _SURE[0] < share < _SURE[1])
    turns: list[Turn] = []
    if not unclear:
        turns.append(_describe(scene, lesion, box, modality, place, closer))
        turns += _probes(scene, lesion, box, modality, place, closer, rng)
    if whole is not None:
        turns.append(Turn("locate", asking("locate", modality), location(whole, _finding(scene))))
    measures, middles = _measured(scene, box)
    return ViewSample(
        draw=partial(_drawn, scene, box, view_px, grain), turns=tuple(turns), cells=_cells(scene, box),
        labels=_labels(scene), shares=tuple(x.long_axis / side for x in scene.lesions), measures=measures,
        middles=middles, lesion=None if unclear else lesion, box=box, closer=closer, boxes=tuple(whole or ()),
    )  # fmt: skip


def _drawn(scene: Scene, box: tuple[int, int, int, int], view_px: int, grain: int) -> npt.NDArray[np.uint8]:
    picture = view_of(scene, box, view_px, np.random.default_rng(grain))
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture


def _cells(scene: Scene, box: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    grid = Grid(box[0], box[1], (box[2] - box[0]) / CELLS, CELLS, CELLS)
    cells = np.zeros((CELLS, CELLS), np.uint8)
    for n, lesion in enumerate(scene.lesions):
        found = lesion.occupancy(grid)
        if found is not None:
            rows, columns, share, _ = found
            cells[rows, columns][share > 0.4] = n + 1
    return cells


def _finding(scene: Scene) -> str:
    finding: str = knowledge("phantoms")["kinds"][scene.kind]["finding"]
    return finding


def _inside(
    scene: Scene, box: tuple[int, int, int, int]
) -> tuple[list[Lesion], list[tuple[float, float, float, float]] | None]:
    """(lesions that are inside, if in part; boxes of those to locate, None where one is cut or nearly too small)."""
    side = box[2] - box[0]
    seen, boxes, doubtful = [], [], False
    for lesion in scene.lesions:
        x0, y0, x1, y1 = lesion.box
        cut = (max(x0, box[0]), max(y0, box[1]), min(x1, box[2]), min(y1, box[3]))
        if cut[0] >= cut[2] or cut[1] >= cut[3]:
            continue
        seen.append(lesion)
        inside = (cut[2] - cut[0]) * (cut[3] - cut[1]) / ((x1 - x0) * (y1 - y0))
        share = lesion.long_axis / side
        doubtful |= inside < 0.6 or 0.03 < share < SEEN
        if inside >= 0.6 and share >= SEEN:
            boxes.append(tuple((v - box[i % 2]) / side for i, v in enumerate(cut)))
    boxes.sort(key=lambda b: (b[1] + b[3], b[0]))
    return seen, None if doubtful else boxes  # type: ignore[return-value] # four numbers each


def _middle(seen: list[Lesion], box: tuple[int, int, int, int]) -> Lesion | None:
    """The lesion nearest the middle of the view; None when it is cut off or another is nearly as near."""
    middle, side = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), box[2] - box[0]
    away = sorted((max(abs(l.x - middle[0]), abs(l.y - middle[1])) / side, n) for n, l in enumerate(seen))
    if not away or away[0][0] > 0.45 or (len(away) > 1 and away[1][0] < away[0][0] + 0.15):
        return None
    lesion = seen[away[0][1]]
    return lesion if _whole(lesion, box) else None


def _said(scene: Scene, lesion: Lesion) -> dict[str, str]:
    """The attributes of a lesion that its kind states and its size lets be seen."""
    names = attribute_names(scene.kind)
    return {n: lesion.attributes[n] for n in names if n in lesion.attributes and assessable(n, lesion.long_axis)}


def _site(scene: Scene, lesion: Lesion) -> str:
    x0, y0, x1, y1 = lesion.box
    return site_word((x0 + x1) / 2 / scene.width, (y0 + y1) / 2 / scene.height)


def _describe(
    scene: Scene, lesion: Lesion | None, box: tuple[int, int, int, int], modality: str, place: Place, closer: bool
) -> Turn:
    ask = asking("describe", modality, place)
    if lesion is None:
        return Turn("describe", ask, description(_finding(scene), None))
    size = lesion.long_axis / (box[2] - box[0])
    said = description(lesion.finding, _said(scene, lesion), size=size, site=_site(scene, lesion), closer=closer)
    return Turn("describe", ask, said)


def _probes(
    scene: Scene, lesion: Lesion | None, box: tuple[int, int, int, int], modality: str, place: Place, closer: bool,
    rng: np.random.Generator,
) -> list[Turn]:  # fmt: skip
    """Statements in pairs, one true and one false; two attributes a lesion, and whether there is one."""
    finding = _finding(scene)
    pairs: list[tuple[str, str, str, str]] = []
    there = lesion is not None
    pairs.append(("presence", statement(finding, "presence", there), statement(finding, "presence", not there), ""))
    if lesion is not None:
        who = finding if rng.random() < 0.6 else ""
        choice: list[tuple[str, object, object, str]] = []
        for name, value in _said(scene, lesion).items():
            others = [v for v in LABELS[name] if v != value]
            choice.append((name, value, str(rng.choice(others)), "unsure" if closer else ""))
        size = lesion.long_axis / (box[2] - box[0])
        wrong = size * (2.0 if size < 0.25 or (size < 0.5 and rng.random() < 0.5) else 0.5)
        near = size * rng.uniform(0.93, 1.07)
        choice.append(("long_axis", number(near), number(wrong), "unsure" if closer else ""))
        site = _site(scene, lesion)
        choice.append(("site", site, str(rng.choice([s for s in _SITES if s != site])), ""))
        for n in rng.permutation(len(choice))[:2]:
            name, right, false, unsure = choice[n]
            unit = "px" if name == "long_axis" else ""
            pairs.append((name, statement(who, name, right, unit), statement(who, name, false, unit), unsure))
    turns = []
    for n, (name, right, false, unsure) in enumerate(pairs):
        for words, answer in ((right, "yes"), (false, "no")):
            turns.append(Turn("probe", asking("probe", modality, place, words), unsure or answer, name, n))
    return turns


def _labels(scene: Scene) -> npt.NDArray[np.int64]:
    table = np.full((max(len(scene.lesions), 1), len(LABELS)), -1, np.int64)
    for n, lesion in enumerate(scene.lesions):
        for column, (name, values) in enumerate(LABELS.items()):
            value = lesion.attributes.get(name)
            if value in values and assessable(name, lesion.long_axis):
                table[n, column] = values.index(value)
    return table


def _measured(scene: Scene, box: tuple[int, int, int, int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(measures, middles) of each lesion in a view."""
    side, count = box[2] - box[0], max(len(scene.lesions), 1)
    measures, middles = np.full((count, MEASURES), np.nan, np.float32), np.zeros((count, 2), np.float32)
    for n, lesion in enumerate(scene.lesions):
        x0, y0, x1, y1 = lesion.box
        middles[n] = ((x0 + x1) / 2 - box[0]) / side, ((y0 + y1) / 2 - box[1]) / side
        if lesion.long_axis >= MEASURED * side and _whole(lesion, box):
            measures[n] = measures_of(lesion, side)
    return measures, middles


def _whole(lesion: Lesion, box: tuple[int, int, int, int]) -> bool:
    """Whether a view shows all of a lesion."""
    x0, y0, x1, y1 = lesion.box
    return x0 >= box[0] - 1 and y0 >= box[1] - 1 and x1 <= box[2] + 1 and y1 <= box[3] + 1
