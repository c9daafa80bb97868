"""A miniature of every benchmark, in the exact layout of its release: a few made-up images and rows each."""

from __future__ import annotations

import base64
import csv
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from drawn import disc
from reader_script import write_ct

from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.written import write_cases
from medloupe.types import BoundingBox

SIDE = 96


def picture(seed: int, *, side: int = SIDE) -> np.ndarray:
    """A bright disc on noise; (rows, columns) uint8."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(30, 60, (side, side)).astype(np.uint8)
    grey[disc((side, side), (side * 0.3, side * 0.4), side * 0.15)] = 200
    return grey


def mask(side: int = SIDE) -> np.ndarray:
    """The disc of `picture`; 0 and 255."""
    return disc((side, side), (side * 0.3, side * 0.4), side * 0.15).astype(np.uint8) * 255


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def png(seed: int) -> bytes:
    return cv2.imencode(".png", picture(seed))[1].tobytes()


def table(path: Path, rows: Sequence[Mapping[str, object]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def dump(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, row_group_size=2)


def vindr_cxr(root: Path) -> None:
    rows = []
    for number, image in enumerate(("a1", "b2", "c3")):
        hu = picture(number).astype(np.float32)
        (root / "test").mkdir(parents=True, exist_ok=True)
        ds = pydicom.dcmread(write_ct(root / "test" / f"{image}.dicom", hu))
        ds.Modality, ds.PhotometricInterpretation = "DX", "MONOCHROME1"
        ds.save_as(root / "test" / f"{image}.dicom")
        if number < 2:
            rows.append([image, "Nodule/Mass", 14.0, 24.0, 44.0, 54.0])
    rows += [["b2", "Cardiomegaly", 10, 50, 80, 90], ["c3", "No finding", "", "", "", ""]]
    names = ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max")
    table(root / "annotations/annotations_test.csv", [dict(zip(names, row, strict=True)) for row in rows])
    table(root / "annotations/image_labels_test.csv", [{"image_id": "a1", "Other disease": 0}])
    said = ("Nodule/Mass", "Nodule/Mass", "Calcification")
    readers = [("a1", f"R{n}", label, 14 + n, 24, 44, 54) for n, label in enumerate(said, start=1)]
    names = ("image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max")
    table(root / "annotations/annotations_train.csv", [dict(zip(names, row, strict=True)) for row in readers])
    (root / "train").mkdir()
    (root / "train" / "a1.dicom").write_bytes((root / "test" / "a1.dicom").read_bytes())


_LIDC = """<?xml version="1.0" encoding="UTF-8"?>
<LidcReadMessage xmlns="http://www.nih.gov" uid="1.3.6">
<ResponseHeader><SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>
<readingSession><servicingRadiologistID>anonymous</servicingRadiologistID>
<unblindedReadNodule><noduleID>IL057</noduleID><characteristics><subtlety>5</subtlety>
<internalStructure>1</internalStructure><calcification>6</calcification><sphericity>3</sphericity><margin>5</margin>
<lobulation>1</lobulation><spiculation>1</spiculation>
<texture>5</texture><malignancy>4</malignancy></characteristics>
<roi><imageZposition>0</imageZposition><imageSOP_UID>{image}</imageSOP_UID><inclusion>TRUE</inclusion>{edge}</roi>
</unblindedReadNodule>
<unblindedReadNodule><noduleID>small</noduleID><roi><imageSOP_UID>{image}</imageSOP_UID><inclusion>TRUE</inclusion>
<edgeMap><xCoord>5</xCoord><yCoord>5</yCoord></edgeMap></roi></unblindedReadNodule>
<nonNodule><nonNoduleID>n1</nonNoduleID></nonNodule>
</readingSession></LidcReadMessage>"""


def lidc_idri(root: Path) -> None:
    folder = root / "LIDC-IDRI-0001" / "study" / "series"
    folder.mkdir(parents=True)
    ds = pydicom.dcmread(write_ct(folder / "1-01.dcm", picture(1).astype(np.float32)))
    edge = "".join(
        f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>"
        for x, y in ((13, 23), (43, 23), (43, 53), (13, 53))
    )
    text = _LIDC.format(series=ds.SeriesInstanceUID, image=ds.SOPInstanceUID, edge=edge)
    (folder / "069.xml").write_text(text)
    (folder / "other.xml").write_text("<something/>")


def skincon(root: Path) -> None:
    from medloupe.prompts import knowledge

    concepts = list(knowledge("skincon")["concepts"])
    rows = []
    for number in range(3):
        save(root / "images" / f"{number:032x}.jpg", cv2.cvtColor(picture(number), cv2.COLOR_GRAY2BGR))
        values = {name: int(name in ("Papule", "Brown(Hyperpigmentation)")) for name in concepts}
        rows.append(
            {"": number, "ImageID": f"{number:032x}.jpg", **values, "Do not consider this image": int(number == 2)}
        )
    table(root / "annotations_fitzpatrick17k.csv", rows)
    table(
        root / "fitzpatrick17k.csv",
        [{"md5hash": f"{n:032x}", "fitzpatrick_scale": n + 1, "label": "x"} for n in range(3)],
    )


def probmed(root: Path) -> None:
    rows = []
    for number in range(2):
        image = f"/chest/{number}.jpg"
        save(root / image.lstrip("/"), picture(number))
        for i, (kind, question, answer) in enumerate(
            (
                ("modality_gt", "Is this a radiograph?", "yes"),
                ("modality_hallu", "Is this an MRI?", "no"),
                ("condition_gt", "Is there a nodule?", "yes"),
                ("condition_hallu", "Is there an effusion?", "no"),
            )
        ):
            rows.append(
                {
                    "id": number,
                    "i": i,
                    "image": image,
                    "image_type": "x-ray_chest",
                    "qa_type": kind,
                    "question": question,
                    "answer": answer,
                    "src_dataset": "mini",
                }
            )
    dump(root / "test.json", rows)


def vqa_rad(root: Path) -> None:
    about = ("qid", "phrase_type", "image_name", "image_organ", "question", "question_type", "answer", "answer_type")
    rows = [
        (1, "test_freeform", "synpic1.jpg", "CHEST", "Is there a nodule?", "PRES", "Yes", "CLOSED"),
        (2, "test_para", "synpic1.jpg", "CHEST", "Which side?", "POS", "left side", "OPEN"),
        (3, "freeform", "synpic2.jpg", "HEAD", "Is it normal?", "ABN", "no", "CLOSED "),
        (4, "test_freeform", "synpic2.jpg", "HEAD", "Is it normal?", "ABN", "No", "CLOSED"),
    ]
    dump(root / "VQA_RAD Dataset Public.json", [dict(zip(about, row, strict=True)) for row in rows])
    for number in (1, 2):
        save(root / "VQA_RAD Image Folder" / f"synpic{number}.jpg", picture(number))


def slake(root: Path) -> None:
    about = {"answer_type": "CLOSED", "modality": "MRI", "content_type": "Position", "img_name": "xmlab1/source.jpg"}
    rows = [
        {"qid": 1, "question": "Is it left?", "answer": "Yes", "q_lang": "en", **about},
        {"qid": 2, "question": "左边吗?", "answer": "是", "q_lang": "zh", **about},
        {"qid": 3, "question": "Which organ?", "answer": "Liver", "q_lang": "en", **about, "answer_type": "OPEN"},
    ]
    for split in ("train", "validate", "test"):
        dump(root / f"{split}.json", rows)
    save(root / "imgs/xmlab1/source.jpg", picture(1))
    (root / "KG").mkdir()


def pathvqa(root: Path) -> None:
    rows = [
        {"image": {"bytes": png(n), "path": f"{n}.png"}, "question": "Is a disc present?", "answer": answer}
        for n, answer in enumerate(("yes", "no", "a disc"))
    ]
    parquet(root / "data/test-00000-of-00001.parquet", rows)


def chestagentbench(root: Path) -> None:
    question = "What stands out?\nA) A nodule\nB) An effusion\nC) A fracture"
    rows = [
        {
            "case_id": "10",
            "question_id": str(n),
            "full_question_id": f"10_{n}",
            "type": "single choice",
            "answer": "A",
            "question": question,
            "explanation": "it is bright",
            "categories": "detection",
            "sections": "x",
            "images": ["figures/10/figure_1.jpg"],
        }
        for n in range(2)
    ]
    root.mkdir(parents=True, exist_ok=True)
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save(root / "figures/10/figure_1.jpg", picture(3))


def medxpertqa_mm(root: Path) -> None:
    row = {
        "id": "MM-1",
        "question": "What stands out?\nAnswer Choices: (A) A nodule (B) An effusion",
        "label": "A",
        "options": {"A": "A nodule", "B": "An effusion"},
        "images": ["MM-1-a.png", "MM-1-b.png"],
        "medical_task": "Diagnosis",
        "body_system": "Respiratory",
        "question_type": "Reasoning",
    }
    (root / "MM").mkdir(parents=True)
    (root / "MM/test.jsonl").write_text(json.dumps(row) + "\n")
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for name in row["images"]:
            archive.writestr(f"images/{name}", png(4))


def omnimedvqa(root: Path) -> None:
    row = {
        "dataset": "Mini",
        "question_id": "Mini_0",
        "question_type": "Lesion Grading",
        "question": "What stands out?",
        "gt_answer": "A nodule",
        "image_path": "Images/Mini/0.png",
        "option_A": "An effusion",
        "option_B": "A nodule",
        "option_C": "A fracture",
        "option_D": "",
    }
    dump(root / "QA_information/Open-access/Mini.json", [{**row, "modality_type": "X-Ray"}])
    dump(root / "QA_information/Open-access/Other.json", [{**row, "modality": "CT"}])
    save(root / "Images/Mini/0.png", picture(5))


def _tsv(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    lines = ["\t".join(rows[0]), *("\t".join(str(v) for v in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def gmai_mmbench(root: Path) -> None:
    shown = base64.b64encode(png(6)).decode()
    _tsv(
        root / "GMAI_mm_bench_VAL_latest.tsv",
        (
            {
                "index": n,
                "image": shown,
                "question": "What stands out?",
                "A": "A nodule",
                "B": "An effusion",
                "C": "",
                "D": "",
                "E": "",
                "answer": "A",
                "category": "Disease Diagnosis",
                "modality": "X-ray",
                "department": "LMS",
            }
            for n in range(2)
        ),
    )


def medframeqa(root: Path) -> None:
    frames = {f"image_{n}": {"bytes": png(n)} if n <= 2 else None for n in range(1, 6)}
    rows = [
        {
            "question": "What is in every frame?",
            "options": ["A. A disc", "B. A square"],
            "correct_answer": "A",
            **frames,
        }
        for n in range(3)
    ]
    import pyarrow

    picture_type = pyarrow.struct([("bytes", pyarrow.binary())])
    schema = pyarrow.schema(
        [
            ("question", pyarrow.string()),
            ("options", pyarrow.list_(pyarrow.string())),
            ("correct_answer", pyarrow.string()),
            *((name, picture_type) for name in frames),
        ]
    )
    import pyarrow.parquet

    (root / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), root / "data/test-00000-of-00001.parquet")


def medq_bench(root: Path) -> None:
    row = {
        "index": 0,
        "image_path": "images/0.png",
        "question": "Is there noise?",
        "A": "Yes",
        "B": "No",
        "answer": "A",
        "modality": "CT",
        "question_type": "yes-no",
    }
    _tsv(root / "medqbench_QA_test.tsv", (row, {**row, "index": 1, "answer": "0"}))
    _tsv(root / "medqbench_QA_dev.tsv", (row,))
    save(root / "images/0.png", picture(7))


def ms_cxr(root: Path) -> None:
    row = {
        "category_name": "Pneumonia",
        "label_text": "opacity on the left",
        "path": "files/p10/s5/d1.jpg",
        "x": 14,
        "y": 24,
        "w": 30,
        "h": 30,
        "image_width": 2 * SIDE,
        "image_height": 2 * SIDE,
        "dicom_id": "d1",
        "split": "test",
    }
    rows = [{**row, "x": 28, "y": 48, "w": 60, "h": 60}, {**row, "x": 100, "y": 100, "w": 20, "h": 20}]
    table(root / "MS_CXR_Local_Alignment_v1.1.0.csv", rows)
    save(root / "files/p10/s5/d1.jpg", picture(8))  # a copy of half the size


def medsg_bench(root: Path) -> None:
    row = {
        "task": "registered_difference",
        "images": ["/home/someone/data/MedSG/images/a.png", "images/b.png"],
        "question": "<image>\n<image>\nWhere do they differ?",
        "answer": [14, 24, 44, 54],
    }
    dump(root / "test/registered_difference.json", [row])
    dump(root / "test/multi_view.json", [{**row, "task": "multi_view", "size": [SIDE, SIDE]}])
    for name in "ab":
        save(root / f"images/{name}.png", picture(9))


def chestxray14(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000001_000.png,Infiltrate,14.5,24.5,30.0,30.0,,,\n00000001_000.png,Nodule,14.0,24.0,30.0,30.0,,,\n"
    )
    (root / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "00000001_000.png,Infiltration|Nodule,0,1,58,M,PA,2682,2749,0.143,0.143,\n"
    )
    save(root / "images_001/images/00000001_000.png", picture(10))


def kvasir_seg(root: Path) -> None:
    boxes = {}
    for stem in ("cju0", "cju1"):
        save(root / "images" / f"{stem}.jpg", cv2.cvtColor(picture(11), cv2.COLOR_GRAY2BGR))
        save(root / "masks" / f"{stem}.jpg", cv2.cvtColor(mask(), cv2.COLOR_GRAY2BGR))
        box = {"label": "polyp", "xmin": 14, "ymin": 24, "xmax": 44, "ymax": 54}
        boxes[stem] = {"height": SIDE, "width": SIDE, "bbox": [box]}
    dump(root / "kavsir_bboxes.json", boxes)


def busi(root: Path) -> None:
    base = root / "Dataset_BUSI_with_GT"
    for kind in ("benign", "malignant", "normal"):
        save(base / kind / f"{kind} (1).png", picture(12))
        save(base / kind / f"{kind} (1)_mask.png", mask() if kind != "normal" else np.zeros_like(mask()))
    second = np.zeros_like(mask())
    second[80:90, 80:90] = 255
    save(base / "benign/benign (1)_mask_1.png", second)


def ham10000(root: Path) -> None:
    rows = []
    for number in range(3):
        image = f"ISIC_{number:07d}"
        save(root / f"HAM10000_images_part_{1 + number % 2}" / f"{image}.jpg", picture(number))
        save(root / "HAM10000_segmentations_lesion_tschandl" / f"{image}_segmentation.png", mask())
        rows.append(
            {
                "lesion_id": f"HAM_{number // 2}",
                "image_id": image,
                "dx": "nv",
                "dx_type": "histo",
                "age": "45.0",
                "sex": "female",
                "localization": "back",
            }
        )
    table(root / "HAM10000_metadata.csv", rows)


def medmnist(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    images = np.stack([picture(n, side=28) for n in range(3)])
    arrays = {f"{s}_images": images for s in ("train", "val", "test")}
    labels = {f"{s}_labels": np.array([[0], [1], [1]], np.uint8) for s in ("train", "val", "test")}
    np.savez_compressed(root / "pneumoniamnist.npz", **arrays, **labels)
    colour = np.repeat(images[..., None], 3, axis=3)
    labels = {name: np.array([[3], [0], [8]], np.uint8) for name in labels}
    np.savez_compressed(root / "pathmnist_64.npz", **dict.fromkeys(arrays, colour), **labels)


def medmnist_c(root: Path) -> None:
    (root / "pneumoniamnist").mkdir(parents=True)
    images = np.stack([picture(n % 2, side=28) for n in range(10)])
    labels = np.tile(np.array([[0], [1]], np.uint8), (5, 1))
    np.savez_compressed(root / "pneumoniamnist/gaussian_noise.npz", test_images=images, test_labels=labels)


def phantoms(root: Path, count: int = 3) -> None:
    save_all = [save(root / "images" / f"{n}.png", picture(n)) for n in range(count)]
    box = BoundingBox(x0=14, y0=24, x1=44, y1=54)
    cases = [
        Case(
            id=f"p{n}",
            kind="option",
            images=(f"images/{path.name}",),
            question="On which side is the bright disc?",
            options=("left", "right"),
            answer="left",
            boxes=(box,),
            cluster=f"p{n}",
            modality="OT",
            groups={"size": "large" if n % 2 else "small"},
        )
        for n, path in enumerate(save_all)
    ]
    write_cases(root, cases)


MINIATURES: dict[str, Callable[[Path], None]] = {
    make.__name__: make
    for make in (
        vindr_cxr,
        lidc_idri,
        skincon,
        probmed,
        vqa_rad,
        slake,
        pathvqa,
        chestagentbench,
        medxpertqa_mm,
        omnimedvqa,
        gmai_mmbench,
        medframeqa,
        medq_bench,
        ms_cxr,
        medsg_bench,
        chestxray14,
        kvasir_seg,
        busi,
        ham10000,
        medmnist,
        medmnist_c,
        phantoms,
    )
}
CASES = {
    "vindr_cxr": 3, "lidc_idri": 1, "skincon": 2, "probmed": 8, "vqa_rad": 3, "slake": 2, "pathvqa": 3,
    "chestagentbench": 2, "medxpertqa_mm": 1, "omnimedvqa": 2, "gmai_mmbench": 2, "medframeqa": 3, "medq_bench": 2,
    "ms_cxr": 1, "medsg_bench": 2, "chestxray14": 2, "kvasir_seg": 2, "busi": 2, "ham10000": 3, "medmnist": 6,
    "medmnist_c": 10, "phantoms": 3,
}  # fmt: skip
"""Of each miniature's first split."""
