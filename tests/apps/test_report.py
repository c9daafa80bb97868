from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from sample_answer import HOSTILE, sample

from medloupe.apps.figure import figure, line_style
from medloupe.apps.report import render_report
from medloupe.tools.imaging import MemoryStore, cut_view
from medloupe.types import RESEARCH_LABEL, Answer, BoundingBox, Mask, Region, Study


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, and text by the id of the element it stands in."""

    VOID = frozenset({"meta", "img", "br", "path", "rect", "circle"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self._open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words += data

    def text(self) -> str:
        return " ".join(self.words.split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(scope="module")
def sampled(store: MemoryStore) -> tuple[Study, Answer]:
    return sample(store)


@pytest.fixture(scope="module")
def answer(sampled: tuple[Study, Answer]) -> Answer:
    return sampled[1]


@pytest.fixture(scope="module")
def page(answer: Answer, store: MemoryStore) -> Page:
    return Page(render_report(answer, store.get_png))


def test_it_is_well_formed_and_self_contained(page: Page) -> None:
    assert page.unbalanced == []
    assert not page._open
    assert {name for name, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "form", "base"})
    addresses = [a[key] for _, a in page.tags for key in ("src", "href", "action", "xlink:href") if key in a]
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_hostile_text_stays_text(page: Page) -> None:
    assert "<script>alert(1)</script>" in page.text()  # as words on the page
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "\x1b" not in page.words
    assert "\u202e" not in page.words


def test_its_pictures_are_the_views_that_were_sent(page: Page, answer: Answer) -> None:
    shown = {hashlib.sha256(base64.b64decode(image["src"].partition(",")[2])).hexdigest() for image in page.all("img")}
    assert shown == {view.digest for view in answer.views}


def test_the_overview_bears_every_region_told_apart_without_colour(answer: Answer, store: MemoryStore) -> None:
    drawn = [(region, line_style(place)) for place, region in enumerate(answer.regions)]
    shown = figure(answer.views[0], drawn, store.get_png)
    assert [mark.id for mark in shown.marks] == ["R1", "R2", "R3", "R4"]
    assert len({mark.style.dash for mark in shown.marks}) == 4
    assert [bool(mark.contour) for mark in shown.marks] == [True, True, True, False]
    labels = [mark.label for mark in shown.marks]
    assert not any(a.intersection(b) for place, a in enumerate(labels) for b in labels[:place])
    assert all(b.x0 >= 0 and b.x1 <= shown.width and b.y0 >= 0 and b.y1 <= shown.height for b in labels)


def test_forty_regions_have_forty_styles() -> None:
    assert len({line_style(place) for place in range(40)}) == 40


def test_a_contour_runs_along_the_edges_of_its_pixels(sampled: tuple[Study, Answer], store: MemoryStore) -> None:
    image = sampled[0].images[0]
    inside = np.zeros((image.height, image.width), bool)
    inside[100:140, 200:260] = True
    box = BoundingBox(x0=200, y0=100, x1=260, y1=140)
    region = Region(id="R1", image=0, box=box, mask=Mask.from_array(inside))
    view = cut_view(store, image, BoundingBox(x0=180, y0=80, x1=308, y1=208), index=0, kind="zoom")
    mark = figure(view, [(region, line_style(0))], store.get_png).marks[0]
    points = [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", mark.contour)]
    xs, ys = zip(*points, strict=True)
    scale = 512 / 128
    assert (min(xs), max(xs)) == pytest.approx((20 * scale, 80 * scale), abs=1.0)
    assert (min(ys), max(ys)) == pytest.approx((20 * scale, 60 * scale), abs=1.0)


def test_directions_and_scale_come_from_the_files_geometry(answer: Answer, store: MemoryStore) -> None:
    shown = figure(answer.views[0], [], store.get_png)
    assert shown.directions == ("R", "L", "A", "P")
    assert shown.scale is not None
    mm_per_pixel = 484 * 0.7231 / 512  # PixelSpacing of the file, whole width on 512 pixels
    assert shown.scale.words == "100 mm"
    assert shown.scale.length * mm_per_pixel == pytest.approx(100, rel=0.001)
    unplaced = answer.views[0].model_copy(update={"image_to_patient": None})
    nowhere = figure(unplaced, [], store.get_png)
    assert (nowhere.directions, nowhere.scale) == (None, None)


def test_each_claim_shows_verdict_stated_measured_and_reason(page: Page, answer: Answer) -> None:
    words = page.text()
    for claim in answer.claims:
        assert {"id": claim.id}.items() <= next(a for a in page.all("tr") if a.get("id") == claim.id).items()
    assert "refuted C1 R1: long axis 71 mm 71 mm 43.9 mm R1 stated 71 mm, measured 43.9 mm" in words
    assert "supported C3 R3: margin irregular irregular none R3" in words


def test_corrections_are_struck_through_and_refuted_statements_stand_apart(answer: Answer, store: MemoryStore) -> None:
    html = render_report(answer, store.get_png)
    kept, dropped = html.index(">Answer<"), html.index("Left out of the answer")
    struck = [m.start() for m in re.finditer("<del>", html)]
    assert "<del>R1 measures 71 mm in its long axis.</del> R1 measures 43.9 mm in its long axis." in html
    assert kept < struck[0] < dropped < struck[1]
    assert html.index("R2 lies on the patient&#39;s right side") > dropped


def test_the_label_stands_at_both_ends_and_warnings_faults_and_measures_show(page: Page, answer: Answer) -> None:
    words = page.text()
    body = words[words.index(RESEARCH_LABEL) :]
    assert body.startswith(RESEARCH_LABEL)
    assert body.endswith(RESEARCH_LABEL)
    assert answer.warnings[0] in words
    assert "No description: the endpoint replied 503 four times" in words
    assert "maximum Feret diameter" in words
    assert "4 of 8" in words
    assert answer.run in words


def test_an_abstention_without_looks_is_a_whole_report(answer: Answer, store: MemoryStore) -> None:
    bare = Answer(
        run=answer.run, question=HOSTILE, answer="No answer: nothing stands out.", abstained=True,
        views=answer.views[:1], study=answer.study,
    )  # fmt: skip
    page = Page(render_report(bare, store.get_png))
    assert page.unbalanced == []
    assert "Abstained" in page.text()
    assert "Checks" not in page.text()


def test_earlier_questions_of_the_session_are_listed(answer: Answer, store: MemoryStore) -> None:
    later = answer.model_copy(update={"turn": 1, "question": "And on the other side?"})
    words = Page(render_report(later, store.get_png, earlier=[answer])).text()
    assert "Question 2 of this session And on the other side?" in words
    assert "Earlier in this session Question 1" in words
