"""What looking closer is worth: the same model and budget, single pass against the agent, tool by tool, and controls.

    python -m medloupe.evals.bench_ablation --model out/tiny/loupe-tiny --phantoms 90

Phantoms of the test seeds, 1024 and 2048 pixels wide, with one lesion of 8 to 200 pixels or none. Printed: attribute
accuracy, recall, false findings, calls and tokens of every condition, paired differences with 95% intervals; drawn:
accuracy against lesion size. Stopped at any time and run again, it goes on: replies lie in the run's ledger. Exit 1
when a bar is missed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from medloupe.agent.resources import Resources
from medloupe.errors import UserError
from medloupe.evals.ablation.cases import make_cases, truth_of
from medloupe.evals.ablation.conditions import AGENT, BUDGET, CONDITIONS, SINGLE, run_case
from medloupe.evals.ablation.report import as_json, draw, lines, missed
from medloupe.evals.ablation.scoring import Judged, judge
from medloupe.evals.phantoms.parameters import Profile
from medloupe.evals.running.run import write_whole
from medloupe.evals.running.store import RunStore
from medloupe.evals.solvers.bench import Bench
from medloupe.evals.tasks.case import Case
from medloupe.models.segment import Segmenter, load_segmenter
from medloupe.models.vlm import VLM, load_vlm
from medloupe.tools.imaging import MemoryStore

__all__ = ["ablate", "model_id"]


def model_id(model: str) -> str:
    """What replies are recorded under: an address, or a folder's name with the sha-256 of its weights."""
    weights = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in weights)).hexdigest()[:16]
    return f"{Path(model).name}@{digest}" if weights else model


async def ablate(
    vlm: VLM, cases: Sequence[Case], folder: Path, store: RunStore, *, endpoint: str, segmenter: Segmenter | None,
    conditions: Sequence[str] = (), parallel: int = 4, quiet: bool = False,
) -> dict[str, list[Judged]]:  # fmt: skip
    """Every case under every condition (all of them, or those named), judged, in the order of the cases."""
    resources = Resources(store=MemoryStore(), vlm=vlm, segmenter=segmenter, budget=BUDGET)
    bench = Bench(folder=folder, resources=resources, ledger=store.ledger, endpoint=endpoint, drawn=True)
    chosen = {c.name: c for c in CONDITIONS if not conditions or c.name in conditions}
    judged: dict[str, dict[str, Judged]] = {name: {} for name in chosen}
    room, pace = asyncio.Semaphore(parallel), _Pace(len(cases), store)

    async def one(case: Case) -> None:
        async with room:
            outcomes, solved = await run_case(bench, store, case, chosen)
        truth = await asyncio.to_thread(truth_of, folder, case.id)
        for name, outcome in outcomes.items():
            judged[name][case.id] = judge(case, truth, outcome)
        if not quiet:
            pace(solved=solved)

    await asyncio.gather(*(one(case) for case in cases))
    return {name: [found[case.id] for case in cases] for name, found in judged.items()}


class _Pace:
    """Says how far it is; the rate is of phantoms that were solved now, not of those from the record."""

    def __init__(self, of: int, store: RunStore) -> None:
        self._of, self._store, self._begin = of, store, time.monotonic()
        self._done = self._solved = 0

    def __call__(self, *, solved: bool) -> None:
        self._done, self._solved = self._done + 1, self._solved + solved
        minutes = (time.monotonic() - self._begin) / 60
        left = f"{minutes / self._solved * (self._of - self._done):.0f} min left" if self._solved else "from the record"
        ledger = self._store.ledger
        rate = f"{self._solved / minutes:.1f} phantoms/min, {left}"
        calls = f"calls {ledger.sent} sent, {ledger.replayed} from the ledger"
        click.echo(f"{self._done}/{self._of}  {rate}; {calls}", err=True)


async def _run(
    model: str, name: str | None, batch: int, out: Path, cases: Sequence[Case], segmenter: Segmenter | None,
    parallel: int,
) -> dict[str, list[Judged]]:  # fmt: skip
    vlm, store = load_vlm(model, name, max_batch=batch), RunStore(out)
    endpoint = f"{model_id(model)} batch {batch}"
    try:
        return await ablate(
            vlm, cases, out / "phantoms", store, endpoint=endpoint, segmenter=segmenter, parallel=parallel
        )
    finally:
        await vlm.close()
        store.close()


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", default="out/tiny/loupe-tiny", show_default=True, help="A model folder, or an endpoint's URL.")
@click.option("--name", help="The model's name at the endpoint.")
@click.option("--phantoms", type=click.IntRange(3), default=90, show_default=True)
@click.option("--profile", type=click.Choice(["standard", "shifted"]), default="standard", show_default=True)
@click.option("--parallel", type=click.IntRange(1), default=4, show_default=True, help="Phantoms under way at once.")
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Pictures answered at once.")
@click.option("--segmenter", default="litemedsam", show_default=True, help="As medloupe ask takes it.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/ablation"), show_default=True)
def main(
    model: str, name: str | None, phantoms: int, profile: Profile, parallel: int, batch: int, segmenter: str, out: Path
) -> None:
    """Run, print and draw; see the module."""
    try:
        cases = make_cases(out / "phantoms", phantoms, profile)
        results = asyncio.run(_run(model, name, batch, out, cases, load_segmenter(segmenter), parallel))
    except UserError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on where it was", err=True)
        sys.exit(130)
    print(f"{phantoms} {profile} phantoms of the test seeds, {model_id(model)}\n")
    print("\n".join(lines(results)))
    picture = out.with_suffix(".png")
    draw(results, picture)
    write_whole(out / "results.json", json.dumps(as_json(results), indent=1))
    print(f"\ndrawn: {picture}; every phantom: {out / 'results.json'}")
    bars = missed(results)
    print("\n".join([f"missed: {bar}" for bar in bars]) or f"no bar is missed ({AGENT} against {SINGLE})")
    sys.exit(bool(bars))


if __name__ == "__main__":
    main()
