"""Fit confidence to labelled runs: agent/calibration.json, and a reliability plot.

    python -m medloupe.evals.calibrate --data ../shared/data [--rows rows.jsonl]

The runs are those of `make bench-verify` (its --rows file, or made anew). A logistic score of a verdict's features is
fitted with a ridge penalty, and the truth is regressed on it isotonically. Brier score, calibration error and the plot
come from five folds by image, each judged by a fit on the others.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from medloupe.agent.confidence import Calibration, features, thresholds_hash
from medloupe.evals.bench_verify import Row, run
from medloupe.models.segment import load_segmenter
from medloupe.types import CheckedClaim, Verdict

__all__ = ["Fitted", "calibrate", "calibration_error", "fit", "read_rows"]

Floats = npt.NDArray[np.float64]
RIDGE = 1.0
"""Penalty on the squared weights, the constant excepted; features are of order one."""
FOLDS = 5
BINS = 10


class Fitted:
    """A score and a curve over it."""

    def __init__(self, weights: Floats, score: Floats, probability: Floats) -> None:
        self.weights, self.score, self.probability = weights, score, probability

    def __call__(self, x: Floats) -> Floats:
        """Probabilities of rows of features (with the constant)."""
        return np.asarray(np.interp(x @ self.weights, self.score, self.probability))


def fit(x: Floats, true: Floats) -> Fitted:
    """x: (n, features and a constant 1); true: (n,) of 0 and 1."""

    def loss(weights: Floats) -> tuple[float, Floats]:
        z = x @ weights
        penalised = np.append(weights[:-1], 0.0)
        value = float(np.logaddexp(0, z).sum() - true @ z + RIDGE / 2 * penalised @ penalised)
        return value, x.T @ (expit(z) - true) + RIDGE * penalised

    weights = np.asarray(minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x)
    score = x @ weights
    order = np.argsort(score, kind="stable")
    at, place = np.unique(score[order].round(9), return_inverse=True)
    size = np.bincount(place).astype(float)
    mean = np.bincount(place, weights=true[order]) / size
    curve = isotonic_regression(mean, weights=size).x
    # A pseudo-count at the base rate in each step (Laplace): no finite run shows that something is always so.
    _, step = np.unique(curve, return_inverse=True)
    held = np.bincount(step, weights=size)[step]
    curve = isotonic_regression((curve * held + true.mean()) / (held + 1), weights=size).x
    return Fitted(weights, at, np.asarray(curve))


def calibration_error(probability: Floats, true: Floats) -> float:
    """Expected calibration error: mean distance of share and mean probability in bins of equal size."""
    bins = np.array_split(np.argsort(probability, kind="stable"), BINS)
    return float(sum(abs(true[b].mean() - probability[b].mean()) * len(b) for b in bins if len(b)) / len(true))


def _matrix(rows: Sequence[Row]) -> tuple[Floats, Floats]:
    x = [(*features(r.checked.attribute, as_verdict(r.checked)), 1.0) for r in rows]
    return np.asarray(x), np.asarray([float(r.true) for r in rows])


def as_verdict(checked: CheckedClaim) -> Verdict:
    """What the check found, as the answer's confidence is given it."""
    kept = {"verdict", "reason", "measured", "unit", "method", "independent", "numbers"}
    return Verdict.model_validate({"claim": checked.id, **checked.model_dump(include=kept)})


def out_of_fold(x: Floats, true: Floats, images: Sequence[str]) -> Floats:
    """Each row's probability by a fit on the other folds' images."""
    names = sorted(set(images), key=lambda name: hashlib.sha256(name.encode()).digest())
    fold = np.asarray([names.index(image) % FOLDS for image in images])
    found = np.zeros(len(true))
    for held in range(FOLDS):
        inside = fold == held
        if inside.any() and not inside.all():
            found[inside] = fit(x[~inside], true[~inside])(x[inside])
    return found


def calibrate(rows: Sequence[Row], segmenter: str) -> tuple[Calibration, Floats, Floats]:
    """(calibration, out-of-fold probabilities, truth) of the measured statements."""
    rows = [row for row in rows if row.checked.method == "measured"]
    x, true = _matrix(rows)
    held = out_of_fold(x, true, [row.image for row in rows])
    fitted = fit(x, true)
    kept = _corners(fitted.probability)
    content = sorted((r.data, r.image, r.checked.id, str(r.checked.value), r.true) for r in rows)
    attributes = tuple(sorted({row.checked.attribute for row in rows}))
    return (
        Calibration(
            data_hash=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
            thresholds=thresholds_hash(attributes),
            segmenter=segmenter,
            attributes=attributes,
            statements=len(rows),
            images=len({row.image for row in rows}),
            weights=tuple(fitted.weights.round(6).tolist()),
            score=tuple(fitted.score[kept].round(6).tolist()),
            probability=tuple(fitted.probability[kept].round(4).tolist()),
            brier=round(float(np.mean((held - true) ** 2)), 4),
            ece=round(calibration_error(held, true), 4),
        ),
        held,
        true,
    )


def _corners(curve: Floats) -> npt.NDArray[np.intp]:
    """Places of a stepped curve that hold its shape: the ends of each step."""
    steps = np.flatnonzero(np.diff(curve))
    return np.unique(np.concatenate([[0], steps, steps + 1, [len(curve) - 1]]))


def read_rows(path: Path) -> list[Row]:
    """What bench_verify --rows wrote."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Row(
            line["data"], line["image"], line["true"],
            CheckedClaim.model_validate({k: v for k, v in line.items() if k in CheckedClaim.model_fields}),
        )
        for line in lines
    ]  # fmt: skip


def plot(probability: Floats, true: Floats, path: Path) -> None:
    """Share of true statements against stated probability, in bins of equal size."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 5))
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    bins = np.array_split(np.argsort(probability, kind="stable"), BINS)
    axes.plot([probability[b].mean() for b in bins], [true[b].mean() for b in bins], "o-")
    axes.set(xlabel="stated probability", ylabel="share that was true", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("Held-out images, ten bins of equal size")
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--rows", type=click.Path(path_type=Path, exists=True), help="What bench_verify --rows wrote.")
@click.option("--segmenter", "name", default="litemedsam", show_default=True, help="As medloupe ask takes it.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("agent/calibration.json"), show_default=True,
    help="The fitted curve.",
)  # fmt: skip
@click.option("--plot", "picture", type=click.Path(path_type=Path), default=Path("out/reliability.png"))
def main(data: Path, rows: Path | None, name: str, out: Path, picture: Path) -> None:
    """Fit, write, print; see the module."""
    segmenter = load_segmenter(name)
    found = read_rows(rows) if rows else run(data, segmenter)
    if not found:
        click.echo(f"no labelled data at {data}", err=True)
        sys.exit(2)
    curve, held, true = calibrate(found, segmenter.name if segmenter else "threshold")
    out.write_text(curve.model_dump_json(indent=1) + "\n", encoding="utf-8")
    picture.parent.mkdir(parents=True, exist_ok=True)
    plot(held, true, picture)
    always = float(true.mean())
    click.echo(f"{curve.statements} statements on {curve.images} images; held out: Brier {curve.brier:.3f} "
               f"(always {always:.2f}: {always * (1 - always):.3f}), calibration error {curve.ece:.3f}")  # fmt: skip
    click.echo(f"written: {out}, {picture}")


if __name__ == "__main__":
    main()
