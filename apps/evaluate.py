"""`medloupe eval`: the benchmarks, one run, and two runs compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["eval_group"]


class _EvalGroup(click.Group):
    """`medloupe eval vqa_rad FOLDER` is `medloupe eval run vqa_rad FOLDER`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(name="eval", cls=_EvalGroup)
def eval_group() -> None:
    """Evaluate on a benchmark: medloupe eval NAME FOLDER; also list, compare and export.

    A run is kept in its folder and goes on where it stopped when the same command is given again.
    """


@eval_group.command(name="list")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def list_benchmarks(folder: Path | None) -> None:
    """Print all benchmarks, or what FOLDER is."""
    from medloupe.errors import InputRejected
    from medloupe.evals.tasks.catalogue import BENCHMARKS, recognise

    if folder is None:
        for found in BENCHMARKS.values():
            click.echo(f"{found.name:18s} {found.title:28s} {', '.join(found.splits)}")
        return
    known = recognise(folder)
    if not known:
        raise InputRejected("unknown-release", "the folder is none of the benchmarks' releases")
    for found, split in known:
        click.echo(f"{found.name:18s} {split}")


@eval_group.command(name="run", hidden=True)
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--split", metavar="SPLIT", help="As released (default: the test split).")
@click.option("--solver", metavar="NAME", default="agent", show_default=True, help="agent, single_pass or a control.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N cases only.")
@click.option("--epochs", type=click.IntRange(1), default=1, show_default=True, help="How often each case is asked.")
@click.option("--parallel", type=click.IntRange(1), default=4, show_default=True, help="Cases at once.")
@click.option("--ray", metavar="ADDRESS", help="Solve on this Ray cluster: HOST:PORT, auto or local.")
@click.option("--judge", metavar="NAME", default="words", show_default=True, help="Of descriptions: words or vlm.")
@click.option("--looks", type=click.IntRange(1), default=4, show_default=True, help="Looks of the crop controls.")
@click.option("--tokens", type=click.IntRange(0), default=0, help="Tokens a case of majority_vote (default: 5 draws).")
@click.option("--like", type=click.Path(path_type=Path), metavar="RUN", help="As many looks or tokens a case as RUN.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the controls' random places.")
@click.option("--allow-missing", is_flag=True, help="Leave cases out whose image is missing.")
@click.option("--traces", is_flag=True, help="Keep every case's trace in OUT/traces, without pictures.")
@click.option("--trace-images", is_flag=True, help="With the pictures of its views.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and stop.")
@click.option("--price-in", type=float, metavar="USD", help="A million prompt tokens; for the cost.")
@click.option("--price-out", type=float, metavar="USD", help="A million completion tokens.")
@click.option("--mlflow/--no-mlflow", default=True, help="Record the run in OUT/mlflow.sqlite.")
@click.option("--vlm", metavar="URL|FOLDER", help="OpenAI-compatible endpoint, or a model folder.")
@click.option("--vlm-model", metavar="NAME", help="The model's name at the endpoint.")
@click.option("--planner", type=click.Choice(["auto", "tools", "grounding", "policy"]), help="Who says where to look.")
@click.option("--segmenter", metavar="NAME|none", help="litemedsam, sam:CHECKPOINT, medsam:CHECKPOINT or none.")
@click.option("--max-looks", type=int, metavar="N", help="Most views besides the overview.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's folder.")
def run_benchmark(
    name: str, folder: Path, parallel: int, ray: str | None, dry_run: bool, mlflow: bool, **given: Any
) -> None:
    """Evaluate on the benchmark NAME, whose release lies in FOLDER."""
    from medloupe.evals.running.estimate import estimate
    from medloupe.evals.running.run import EvalSpec, Run, spec_of
    from medloupe.settings import load_settings

    ours = {key: given.pop(key) for key in list(given) if key in EvalSpec.model_fields}
    settings = load_settings(**given)
    run = Run(spec_of(name, folder, settings.out, **ours), settings)
    for warning in run.read.warnings:
        click.echo(f"note: {warning}", err=True)
    if dry_run:
        try:
            click.echo(estimate(run).text())
        finally:
            run.close()
        return
    from medloupe.evals.running.evaluate import evaluate
    from medloupe.evals.running.progress import Progress

    out = run.spec.out
    progress = Progress(run, lambda line: click.echo(line, err=True))
    store = out.parent / "mlflow.sqlite" if mlflow else None
    summary = evaluate(run, parallel=parallel, mlflow=store, on_row=progress, ray=ray)
    progress.end()
    click.echo(f"{summary.headline} {summary.score.text()} on {summary.counts['total']} cases")
    click.echo(", ".join(f"{word} {count}" for word, count in summary.counts.items() if word != "total"))
    for warning in summary.warnings[len(run.read.warnings) :]:
        click.echo(f"note: {warning}", err=True)
    click.echo(f"report: {out / 'report.html'}")


@eval_group.command(name="compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def compare_two(a: Path, b: Path, as_json: bool) -> None:
    """Compare two runs over the same cases, A less B."""
    from medloupe.evals.running.compare import compare_runs

    found = compare_runs(a, b)
    click.echo(found.model_dump_json(indent=2) if as_json else found.text())


@eval_group.command(name="export")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def export_training(run: Path, out: Path) -> None:
    """Write what RUN has to train on to OUT: chat trajectories, Ophiuchus's records, preference pairs, pictures.

    RUN needs --traces and --trace-images. Nothing is ever exported from a test split.
    """
    from medloupe.evals.training.export import export_run

    click.echo(export_run(run, out).text())
