"""Free text against a reference text: BLEU, ROUGE-L and CIDEr, each by the library that others report it with.

BLEU is sacrebleu's (corpus BLEU, "13a" tokens, lower case), ROUGE-L Google's rouge-score (F1 of the longest common
subsequence). CIDEr is pycocoevalcap's scorer class alone, on lower-case words: the rest of that package starts Java
programs, and its last release is of 2020. All three are in the extra "captions".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from medloupe.errors import BackendMissing
from medloupe.evals.scorers.text import words_of
from medloupe.evals.statistics import Interval, cluster_interval, statistic_interval

__all__ = ["ReferenceScores", "reference_scores"]

_ORDERS = 4


class ReferenceScores(NamedTuple):
    """Over a corpus, each 0 to 1 but CIDEr (0 to 10), with 95% intervals over clusters."""

    bleu_1: Interval
    """Corpus BLEU of words alone (Papineni 2002): what short answers are compared by."""
    bleu_4: Interval
    rouge_l: Interval
    """Mean F1 (Lin 2004)."""
    cider: Interval
    """Mean CIDEr-D (Vedantam 2015); the weights of words come from this corpus' own references."""


def reference_scores(texts: Sequence[str], references: Sequence[str], clusters: Sequence[str]) -> ReferenceScores:
    """Every text against its one reference; an empty text scores 0. BackendMissing without the libraries."""
    try:
        from pycocoevalcap.cider.cider_scorer import CiderScorer
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise BackendMissing("the library for BLEU, ROUGE and CIDEr", "pip install 'medloupe[captions]'") from None
    pairs = list(zip(texts, references, strict=True))
    bleu, rouge, cider = BLEU(lowercase=True, effective_order=True), RougeScorer(["rougeL"]), CiderScorer()
    counts = [_counts(bleu.sentence_score(text, [reference])) for text, reference in pairs]
    for text, reference in pairs:
        cider += (" ".join(words_of(text)), [" ".join(words_of(reference))])
    return ReferenceScores(
        statistic_interval(counts, clusters, _bleu(BLEU.compute_bleu, 1)),
        statistic_interval(counts, clusters, _bleu(BLEU.compute_bleu, _ORDERS)),
        cluster_interval([rouge.score(ref, text)["rougeL"].fmeasure for text, ref in pairs], clusters),
        _times_ten(cluster_interval([float(score) / 10 for score in cider.compute_score()[1]], clusters)),
    )


def _times_ten(found: Interval) -> Interval:
    return Interval(*(10 * number for number in found))


def _counts(score: Any) -> list[float]:
    """What corpus BLEU is made of: n-grams that match, all n-grams, and both lengths."""
    return [*score.counts, *score.totals, score.sys_len, score.ref_len]


def _bleu(compute: Callable[..., Any], order: int) -> Callable[[Sequence[float]], float]:
    def of(sums: Sequence[float]) -> float:
        whole = [round(number) for number in sums]
        found = compute(
            whole[:order], whole[_ORDERS : _ORDERS + order], whole[-2], whole[-1], max_ngram_order=order
        )  # fmt: skip
        return float(found.score) / 100

    return of
