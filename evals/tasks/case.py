"""What a benchmark asks: one case a question, a region or an image, in the words of its release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medloupe.evals.scorers.attributes import AttributeQuestion
from medloupe.evals.scorers.radfact import Phrase
from medloupe.types import BoundingBox, Frozen

if TYPE_CHECKING:
    from medloupe.evals.tasks.release import Release

__all__ = ["Benchmark", "Case", "Kind"]

Kind = Literal["option", "yesno", "open", "caption", "boxes", "mask"]
"""How a case is answered: by a letter, yes or no, free words, a description, boxes, or an outline."""


class Case(Frozen):
    """One thing asked."""

    id: str
    """As released; unique within the split."""
    kind: Kind
    images: tuple[str, ...]
    """Locators (medloupe.evals.tasks.images), relative to the release's folder; the first is what boxes lie on."""
    question: str
    options: tuple[str, ...] = ()
    answer: str = ""
    """Of "option": the option's text; of "yesno": "yes" or "no"; of "open" and, where a release brings one, of
    "caption": the reference."""
    boxes: tuple[BoundingBox, ...] = ()
    """True boxes, in pixels of the first image."""
    masks: tuple[str, ...] = ()
    """Locators of true masks; their union is the truth."""
    region: BoundingBox | None = None
    """Of "caption": what is to be described; None: the whole image."""
    attributes: tuple[AttributeQuestion, ...] = ()
    """Of "caption": what a judge is asked about it."""
    reference: tuple[Phrase, ...] = ()
    """Of "caption": what is true of it, sentence by sentence, with its places; for RadFact."""
    votes: dict[str, int] = {}
    """Labels of several readers, where they are released one by one; of a caption, its attributes hold them."""
    cluster: str
    """What belongs together: an image, a case, a patient or a lesion. Intervals draw these again."""
    groups: dict[str, str] = {}
    """Subgroups: modality, type of question, organ, ..."""
    modality: str | None = None
    """DICOM's code, where the release says it and the file does not."""
    sop_instance_uid: str = ""
    """Of a series: the image that is meant."""
    tags: dict[str, str] = {}
    """What the protocol needs besides: ProbMed's qa_type, ..."""


@dataclass(frozen=True)
class Benchmark:
    """A release, as its users hold it."""

    name: str
    title: str
    licence: str
    splits: tuple[str, ...]
    """As released; the first is what is evaluated unless another is asked for."""
    needs: tuple[str, ...]
    """Glob patterns, relative to the folder, that every copy matches: by these a folder is recognised."""
    read: Callable[[Release, str], Iterator[Case]]
    released: dict[str, int]
    """Cases of a split as released, where the release counts them as we do; another number is warned of."""
    cluster: str = "image"
    """What a cluster is, in words."""
    test_splits: tuple[str, ...] = ("test",)
    """Splits that nothing may be trained on."""
    withheld: tuple[str, ...] = ()
    """Splits whose answers were not released."""
    drawn: bool = False
    """Its images are phantoms. In any other benchmark a phantom is refused."""

    def recognises(self, folder: Path) -> bool:
        """Whether a folder looks like this release."""
        return all(any(folder.glob(pattern)) for pattern in self.needs)
