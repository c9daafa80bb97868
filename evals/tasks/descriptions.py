"""Regions to be described, with questions for a judge made from the truth: VinDr-CXR, LIDC-IDRI and SkinCon."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from medloupe.errors import InputRejected
from medloupe.evals.scorers.attributes import AttributeOption, AttributeQuestion
from medloupe.evals.scorers.radfact import Phrase
from medloupe.evals.tasks.case import Benchmark, Case
from medloupe.evals.tasks.lidc import Nodule, nodules_of
from medloupe.evals.tasks.release import Release
from medloupe.prompts import knowledge
from medloupe.types import BoundingBox

__all__ = ["LIDC_IDRI", "SKINCON", "VINDR_CXR", "place_questions"]

_OTHERS = 3
"""Wrong options of a recognition question."""
_ABSENT = 2
"""Negative questions a region."""
_SMALL, _LARGE = 0.1, 0.3
"""A box's longer side, as a share of the image's: below small, above large."""
_SAME = 0.5
"""IoU from which two readers' boxes are of one thing."""


def _words() -> dict[str, object]:
    words: dict[str, object] = knowledge("benchmarks")["judge"]
    return words


def _option(text: str, score: int, *words: str) -> AttributeOption:
    return AttributeOption(text=text, score=score, words=words)


def _graded(
    name: str, question: str, right: str, values: Mapping[str, Sequence[str]], votes: Mapping[str, int] | None = None
) -> AttributeQuestion:
    """+1 for the right value, -1 for another, 0 where it is not said."""
    options = [_option(value, 1 if value == right else -1, *words) for value, words in values.items()]
    return AttributeQuestion(
        id=name, kind="positive", question=question, options=(*options, _option(str(_words()["unsaid"]), 0)),
        votes=dict(votes or {}),
    )  # fmt: skip


def _states(name: str, finding: str, words: Sequence[str], *, true: bool) -> AttributeQuestion:
    """Whether a description states a finding; of one that is absent, stating it is -1 and not stating it +1."""
    options = (_option("yes", 1 if true else -1, *words), _option("no", 0 if true else 1))
    question = str(_words()["states"]).format(finding=finding)
    return AttributeQuestion(id=name, kind="positive" if true else "negative", question=question, options=options)


def place_questions(case: str, box: BoundingBox, width: float, height: float) -> list[AttributeQuestion]:
    """Side, zone and size of a box in an image of that size."""
    words = _words()
    x, y = box.centre
    share = max(box.width / width, box.height / height)
    right = {
        "side": "left" if x < width / 2 else "right",
        "zone": ("upper", "middle", "lower")[min(2, int(3 * y / height))],
        "size": "small" if share < _SMALL else "large" if share > _LARGE else "medium",
    }
    return [
        _graded(f"{case}/{name}", str(words[name]), value, words[f"{name}s"])  # type: ignore[arg-type] # word lists
        for name, value in right.items()
    ]


def _recognition(
    case: str, right: str, names: Mapping[str, Sequence[str]], votes: Mapping[str, int] | None = None
) -> AttributeQuestion:
    """What the region shows: the right finding, a few others, or none of these."""
    words = _words()
    others = sorted(name for name in names if name != right and not set(names[name]) & set(names[right]))
    chosen = random.Random(case).sample(others, min(_OTHERS, len(others)))  # noqa: S311 - the same every time
    options = [_option(right, 1, *names[right]), *(_option(name, -1, *names[name]) for name in chosen)]
    return AttributeQuestion(
        id=f"{case}/recognition", kind="recognition", question=str(words["recognition"]),
        options=(*options, _option(str(words["other"]), -1)), votes=dict(votes or {}),
    )  # fmt: skip


def _stated(finding: str, *boxes: BoundingBox) -> Phrase:
    """A label as a sentence of the reference."""
    return Phrase(str(knowledge("benchmarks")["stated"]).format(finding=finding.lower()), boxes)


def _absent(case: str, present: set[str], names: Mapping[str, Sequence[str]]) -> list[AttributeQuestion]:
    """Negative questions about findings that are not there."""
    taken = {word for name in present for word in names.get(name, ())}
    absent = sorted(name for name in names if name not in present and not set(names[name]) & taken)
    chosen = random.Random(f"{case}/absent").sample(absent, min(_ABSENT, len(absent)))  # noqa: S311 - as above
    return [_states(f"{case}/absent/{name}", name.lower(), names[name], true=False) for name in chosen]


# --- VinDr-CXR ------------------------------------------------------------------------------------------------------


def _vindr_names() -> dict[str, Sequence[str]]:
    """Local labels and the words of each."""
    local = knowledge("vindr_cxr")["local"]
    return {name: tuple(dict.fromkeys([name.lower(), *entry["findings"]])) for name, entry in local.items()}


def _vindr(release: Release, split: str) -> Iterator[Case]:
    """Nguyen et al., Sci Data 2022. Test: consensus of five readers. Train: three readers, box by box (`rad_id`).

    A case a box; of "test_report" and "train_report" a case an image, whose every finding is to be described in its
    place. Rows without a box ("No finding", NaN) are no regions. MONOCHROME1 is the files' own affair.
    """
    part, _, whole = split.partition("_")
    name = f"annotations/annotations_{part}.csv"
    columns = ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max")
    diseases = _vindr_diseases(release, part) if whole else {}  # before the boxes' table, which errors below are about
    grouped: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in release.table(name, (*columns, "rad_id") if part == "train" else columns):
        grouped[row["image_id"]].append(row)
    names = _vindr_names()
    for image, rows in grouped.items():
        boxed = [row for row in rows if row["x_min"] not in ("", "nan", "NaN")]
        for row in boxed:
            if row["class_name"] not in names:
                raise InputRejected("changed-file", f"{name}: {row['class_name']!r} is none of the 22 local labels")
        where = _vindr_image(release, part, image)
        if whole:
            yield _vindr_report(image, where, boxed, names, diseases.get(image, ()))
        else:
            yield from _vindr_regions(image, where, boxed, names, readers=part == "train")


def _vindr_regions(
    image: str, where: str, rows: Sequence[dict[str, str]], names: Mapping[str, Sequence[str]], *, readers: bool
) -> Iterator[Case]:
    present = {row["class_name"] for row in rows}
    for number, row in enumerate(rows):
        label, case, box = row["class_name"], f"{image}/{number}", _vindr_box(row)
        here = [other for other in rows if other is row or _vindr_box(other).iou(box) >= _SAME]
        votes = _votes(here) if readers else {}
        yield Case(
            id=case, kind="caption", images=(where,), question=str(knowledge("benchmarks")["caption"]), region=box,
            boxes=(box,), cluster=image, modality="DX", groups={"finding": label},
            attributes=(_recognition(case, label, names, votes), *_absent(case, present, names)),
            reference=tuple(_stated(name, box) for name in sorted({other["class_name"] for other in here})),
            tags={"reader": row.get("rad_id", "")},
        )  # fmt: skip


def _vindr_global() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """(spellings of the column, words of a description) of each global label that a description can state."""
    labels = knowledge("vindr_cxr")["global"]
    return {
        name: ((name, *entry.get("spellings", ())), tuple(dict.fromkeys([name.lower(), *entry["findings"]])))
        for name, entry in labels.items() if entry["findings"]
    }  # fmt: skip


def _vindr_diseases(release: Release, part: str) -> dict[str, tuple[str, ...]]:
    """Image to its global labels, which have no box; of several readers, what any of them said. {} without the table.

    The training file writes "Other diseases" and the test file "Other disease"; neither can be stated, nor asked for.
    """
    name = f"annotations/image_labels_{part}.csv"
    if not release.has(name):
        return {}
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for row in release.table(name, ("image_id",)):
        for label, (spellings, _) in _vindr_global().items():
            if any(row.get(spelling, "") in ("1", "1.0") for spelling in spellings):
                found[row["image_id"]][label] = None
    return {image: tuple(labels) for image, labels in found.items()}


def _vindr_report(
    image: str, where: str, rows: Sequence[dict[str, str]], names: Mapping[str, Sequence[str]], diseases: Sequence[str]
) -> Case:
    """Of several readers, what any of them boxed, and the diseases of the whole image."""
    places: dict[str, list[BoundingBox]] = defaultdict(list)
    for row in rows:
        places[row["class_name"]].append(_vindr_box(row))
    stated = [_states(f"{image}/{name}", name.lower(), names[name], true=True) for name in places]
    words = _vindr_global()
    stated += [_states(f"{image}/global/{name}", name.lower(), words[name][1], true=True) for name in diseases]
    said = [*(_stated(name, *found) for name, found in places.items()), *(_stated(name) for name in diseases)]
    return Case(
        id=image, kind="caption", images=(where,), question=str(knowledge("benchmarks")["report"]), cluster=image,
        modality="DX", boxes=tuple(box for found in places.values() for box in found),
        groups={"findings": str(min(len(places), 3)) + ("+" if len(places) > 3 else "")},
        attributes=(*stated, *_absent(image, set(places), names)),
        reference=tuple(said) or (Phrase(str(knowledge("benchmarks")["nothing"])),),
    )  # fmt: skip


def _vindr_box(row: Mapping[str, str]) -> BoundingBox:
    return BoundingBox.from_tuple([float(row[key]) for key in ("x_min", "y_min", "x_max", "y_max")])


def _vindr_image(release: Release, split: str, image: str) -> str:
    """`{split}/{image_id}.dicom` as released; some hold flat folders or PNG copies."""
    places = (
        f"{split}/{image}.dicom",
        f"{image}.dicom",
        f"{split}/{image}.png",
        f"{image}.png",
        f"{split}/{image}.jpg",
    )
    return next((place for place in places if release.has(place)), places[0])


def _votes(rows: Sequence[dict[str, str]]) -> dict[str, int]:
    """Readers who boxed each label at one place, one vote a reader and label."""
    readers: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        readers[row["class_name"]].add(row["rad_id"])
    return {name: len(found) for name, found in sorted(readers.items())}


# --- LIDC-IDRI ------------------------------------------------------------------------------------------------------


def _lidc(release: Release, split: str) -> Iterator[Case]:  # noqa: ARG001 - there is no official split
    """Armato et al., Med Phys 2011. One case a nodule and reader, on the slice where its outline is largest.

    Characteristics are each reader's own, and the votes of all who outlined it; the order of readers means nothing.
    Nodules under 3 mm have none and are left out. Lobulation and spiculation, which some sites scored the other way
    round, are not asked about.
    """
    for file in release.all("**/*.xml"):
        nodules = list(nodules_of(release.record(file)))
        for nodule in nodules:
            folder = file.rpartition("/")[0]
            case = f"{nodule.series_uid}/{nodule.reader}/{nodule.id}"
            readings = _readings(nodule, nodules)
            yield Case(
                id=case, kind="caption", images=(folder,), question=str(knowledge("benchmarks")["caption"]),
                region=nodule.box, boxes=(nodule.box,), sop_instance_uid=nodule.sop_instance_uid,
                cluster=nodule.series_uid, modality="CT",
                groups={"malignancy": str(nodule.scores.get("malignancy", "")), "readers": str(len(readings))},
                attributes=tuple(_lidc_questions(case, nodule, readings)),
                reference=tuple(_lidc_reference(nodule)), tags={"reader": str(nodule.reader)},
            )  # fmt: skip


def _readings(nodule: Nodule, nodules: Sequence[Nodule]) -> list[dict[str, int]]:
    """Every reader's scores of one nodule: each other reader's nodule that overlaps it most on a common slice."""
    found = {nodule.reader: nodule.scores}
    for reader in sorted({other.reader for other in nodules} - {nodule.reader}):
        theirs = [(nodule.overlap(other), other.scores) for other in nodules if other.reader == reader]
        most, scores = max(theirs, key=lambda pair: pair[0])
        if most >= _SAME:
            found[reader] = scores
    return list(found.values())


_DOUBTED = ("lidc_lobulation", "lidc_spiculation", "lidc_malignancy", "lidc_subtlety")


def _lidc_asked() -> Iterator[tuple[str, str, dict[str, int]]]:
    """(name, XML element, word -> score) of the characteristics that are asked about."""
    for name, entry in knowledge("lidc")["characteristics"].items():
        if name not in _DOUBTED:
            yield name, entry["tag"], {word: value["score"] for word, value in entry["values"].items()}


def _lidc_questions(case: str, nodule: Nodule, readings: Sequence[dict[str, int]]) -> Iterator[AttributeQuestion]:
    names = {"nodule": ("nodule", "mass", "lesion"), "effusion": ("effusion",), "fracture": ("fracture",)}
    yield _recognition(case, "nodule", names)
    for name, tag, scale in _lidc_asked():
        ends = {word: _lidc_words(word) for word, score in scale.items() if score in (1, max(scale.values()))}
        right = next((word for word, score in scale.items() if score == nodule.scores.get(tag)), "")
        if right in ends:  # the ends of a scale only: in between, words do not tell values apart
            question = str(_words()["attribute"]).format(attribute=_characteristic(name))
            votes = Counter(word for word, score in scale.items() for read in readings if read.get(tag) == score)
            yield _graded(f"{case}/{name}", question, right, ends, votes if len(readings) > 1 else None)
    yield from _absent(case, {"nodule"}, names)


def _lidc_words(word: str) -> tuple[str, ...]:
    """How a value is said; "absent", of calcium alone, is said as a denial."""
    denied = knowledge("benchmarks")["judge"]["no_calcium"]
    return tuple(denied) if word == "absent" else (word,)


def _lidc_reference(nodule: Nodule) -> Iterator[Phrase]:
    yield _stated("nodule", nodule.box)
    sentence = str(knowledge("benchmarks")["stated_attribute"])
    for name, tag, scale in _lidc_asked():
        for word, score in scale.items():
            if score == nodule.scores.get(tag):
                yield Phrase(sentence.format(attribute=_characteristic(name).capitalize(), value=word), (nodule.box,))


def _characteristic(name: str) -> str:
    return name.removeprefix("lidc_").replace("_", " ")


# --- SkinCon --------------------------------------------------------------------------------------------------------


def _skincon(release: Release, split: str) -> Iterator[Case]:
    """Daneshjou et al., NeurIPS 2022: 48 concepts, image by image, without boxes; of Fitzpatrick 17k or of DDI."""
    concepts = {name: _concept_words(name, entry) for name, entry in knowledge("skincon")["concepts"].items()}
    name = f"annotations_{split}.csv"
    tone = _skin_tones(release, split)
    for row in release.table(name, ("ImageID", "Do not consider this image", *concepts)):
        if row["Do not consider this image"] in ("1", "1.0"):
            continue
        image = row["ImageID"]
        present = [c for c in concepts if row[c] in ("1", "1.0")]
        where = next((f"{f}/{image}" for f in ("images", split, ".") if release.has(f"{f}/{image}")), f"images/{image}")
        stated = [_states(f"{image}/{c}", c.lower(), concepts[c], true=True) for c in present]
        yield Case(
            id=image, kind="caption", images=(where.removeprefix("./"),), cluster=image, modality="XC",
            question=str(knowledge("benchmarks")["caption_image"]), groups={"skin tone": tone.get(image, "unknown")},
            attributes=(*stated, *_absent(image, set(present), concepts)),
            reference=tuple(_stated(concept) for concept in present),
        )  # fmt: skip


def _concept_words(name: str, entry: dict[str, object]) -> tuple[str, ...]:
    said = entry.get("finding") or (entry["value"][1] if isinstance(entry.get("value"), list) else "")  # type: ignore[index]
    return tuple(dict.fromkeys([str(said), *name.lower().replace("(", "/").rstrip(")").split("/")]))


def _skin_tones(release: Release, split: str) -> dict[str, str]:
    """Image to skin tone, where the images' own table is beside: joined on md5hash + ".jpg", or on DDI_file."""
    if split == "fitzpatrick17k" and release.has("fitzpatrick17k.csv"):
        rows = release.table("fitzpatrick17k.csv", ("md5hash", "fitzpatrick_scale"))
        return {f"{row['md5hash']}.jpg": row["fitzpatrick_scale"] for row in rows}
    if split == "ddi" and release.has("ddi_metadata.csv"):
        return {
            row["DDI_file"]: row["skin_tone"] for row in release.table("ddi_metadata.csv", ("DDI_file", "skin_tone"))
        }
    return {}


VINDR_CXR = Benchmark(
    name="vindr_cxr", title="VinDr-CXR", licence="PhysioNet credentialed",
    splits=("test", "train", "test_report", "train_report"), needs=("annotations/annotations_*.csv",), read=_vindr,
    released={}, test_splits=("test", "test_report"),
)  # fmt: skip
LIDC_IDRI = Benchmark(
    name="lidc_idri", title="LIDC-IDRI", licence="CC BY 3.0", splits=("all",), needs=("**/*.xml",), read=_lidc,
    released={}, cluster="series", test_splits=("all",),
)  # fmt: skip
SKINCON = Benchmark(
    name="skincon", title="SkinCon", licence="see the release", splits=("fitzpatrick17k", "ddi"),
    needs=("annotations_*.csv",), read=_skincon, released={}, test_splits=("fitzpatrick17k", "ddi"),
)  # fmt: skip
