"""The command line. Light at the top: `medloupe --help` loads click and nothing of ours but the errors.

Exit codes: 0 answered, abstained or refuted; 2 bad input or usage; 3 a model or its endpoint failed; 130 Ctrl-C; 1 a
bug of ours. Errors are one line on stderr. With --json stdout holds the JSON and nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from medloupe import __version__
from medloupe.apps.evaluate import eval_group
from medloupe.errors import MedloupeError, UsageError

if TYPE_CHECKING:
    from medloupe.settings import Settings

__all__ = ["cli", "main"]

F = TypeVar("F", bound=Callable[..., Any])
INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line and exit."""
    # Before langgraph loads: without it, bytes in a checkpoint can import and call a class.
    os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
    debug = os.environ.get("MEDLOUPE_DEBUG") == "1"
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a text file on every platform
    if not debug:  # what libraries want to tell a developer is no error of the user's
        warnings.simplefilter("ignore")
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        code = cli.main(standalone_mode=False) or 0
    except click.ClickException as error:
        code = error.exit_code
        _say(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
        _say("interrupted")
    except MedloupeError as error:
        code = error.exit_code
        _say(str(error))
    except BrokenPipeError:  # the reader of our output left; nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if debug:
            raise
        code = 1
        _say(f"internal error: {type(error).__name__}: {error} (MEDLOUPE_DEBUG=1 shows the traceback)")
    sys.exit(code)


def _say(message: str) -> None:
    """What is wrong, on one line."""
    from medloupe.apps.wording import one_line

    click.echo(f"medloupe: {one_line(message)}", err=True)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="medloupe")
@click.pass_context
def cli(context: click.Context) -> None:
    """Look closer at medical images, check every claim, and answer with the evidence.

    Research use only, not for diagnosis.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _model_options(command: F) -> F:
    """The settings that can be flags; docs/configuration.md has them all."""
    for option in reversed(
        (
            click.option(
                "--vlm", metavar="URL|FOLDER", help="OpenAI-compatible endpoint, a model folder, or loupe-tiny."
            ),
            click.option("--vlm-model", metavar="NAME", help="The model's name at the endpoint."),
            click.option(
                "--planner", type=click.Choice(["auto", "tools", "grounding", "policy"]), help="Who says where to look."
            ),
            click.option(
                "--segmenter", metavar="NAME|none", help="litemedsam, sam:CHECKPOINT, medsam:CHECKPOINT or none."
            ),
            click.option("--max-looks", type=int, metavar="N", help="Most views besides the overview."),
            click.option("--modality", metavar="CODE", help="Overrides the files' modality: CT, MR, US, ..."),
            click.option(
                "--out", type=click.Path(path_type=Path), metavar="DIR", help="Where results go (default: out)."
            ),
        )
    ):
        command = option(command)
    return command


@cli.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.argument("question")
@_model_options
@click.option("--image", type=int, metavar="N", help="Start from that image, counted from 0 (default: the middle one).")
@click.option("--json", "as_json", is_flag=True, help="Print answer.json on stdout; progress goes to stderr.")
def ask(study: Path, question: str, image: int | None, as_json: bool, **flags: Any) -> int:
    """Ask one QUESTION of a STUDY: a DICOM, PNG, JPEG or TIFF file, or a folder."""
    if not question.strip():
        raise UsageError("there is no question")
    settings = _settings(study, flags)
    from medloupe.apps.ask import run_ask

    return run_ask(settings, study, question, image=image, as_json=as_json, say=_say)


@cli.command()
@click.argument("study", required=False, type=click.Path(path_type=Path))
@click.option("--session", "run", metavar="ID", help="Resume a session.")
@_model_options
def chat(study: Path | None, run: str | None, **flags: Any) -> int:
    """Ask several questions of a STUDY in turn, or go on with a session."""
    if (study is None) == (run is None):
        raise UsageError("give a STUDY to start a session, or --session ID to resume one, and not both")
    settings = _settings(study, flags) if run is None else _resumed_settings(run, flags)
    from medloupe.apps.ask import run_chat

    return run_chat(settings, study, run, say=_say)


@cli.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--claims", type=click.Path(path_type=Path), metavar="FILE", help="Claims to check: a claims.json.")
@click.option("--text", metavar="SENTENCES", help="Sentences to check, in place of --claims.")
@click.option("--box", metavar="X0,Y0,X1,Y1", help="What the text is about, in pixels of the full image.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write verdicts.json here, not to stdout.")
@click.option("--vlm", metavar="URL|FOLDER", help="OpenAI-compatible endpoint, or a model folder, to ask for probes.")
@click.option("--vlm-model", metavar="NAME", help="The model's name at the endpoint.")
@click.option("--segmenter", metavar="NAME|none", help="litemedsam, sam:CHECKPOINT, medsam:CHECKPOINT or none.")
@click.option("--modality", metavar="CODE", help="Overrides the files' modality: CT, MR, US, ...")
def verify(study: Path, claims: Path | None, text: str | None, box: str | None, out: Path | None, **flags: Any) -> int:
    """Check claims about a STUDY against its pixels; every verdict is a success.

    A verdict is supported, refuted or undetermined. Without --vlm only measured checks are made.
    """
    if (claims is None) == (not (text or "").strip()):
        raise UsageError("give either --claims FILE or --text SENTENCES, and not both")
    if box and claims:
        raise UsageError("--box goes with --text; in claims.json every claim has its own region")
    settings = _settings(study, flags)
    from medloupe.apps.verify import run_verify

    return run_verify(settings, study, claims=claims, text=text, box=box, out=out)


@cli.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Write a contact sheet there.")
@click.option("--modality", metavar="CODE", help="Overrides the files' modality: CT, MR, US, ...")
def inspect(study: Path, as_json: bool, out: Path | None, modality: str | None) -> None:
    """List what a STUDY holds: series, sizes, spacing, warnings, and the files that cannot be read."""
    from medloupe.apps.inspect import run_inspect

    run_inspect(_settings(study, {"modality": modality}), study, as_json=as_json, out=out)


@cli.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def deidentify(study: Path, out: Path) -> None:
    """Copy a STUDY's DICOM images to the new folder OUT without the header's identifiers (PS3.15 Basic Profile).

    Pixels are copied as they are: text that is written in them stays, and is warned of. The copy is not anonymous.
    """
    from medloupe.apps.deidentify import run_deidentify

    run_deidentify(_settings(study, {}), study, out)


@cli.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["ct", "cxr", "derm", "us"]), default="ct", show_default=True)
@click.option("--n", "count", type=click.IntRange(1, 100_000), default=1, show_default=True, help="How many.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the first; the next has the next seed.")
@click.option("--shifted", is_flag=True, help="Drawn with shifted parameters, for judging what was never trained on.")
@click.option("--slices", type=int, default=1, show_default=True, help="Of a short CT series; an odd number.")
@click.option("--pairs", is_flag=True, help="Each phantom at two times, with lesions grown, shrunk, new and gone.")
@click.option("--fault", "faults", multiple=True, help="noise, blur, motion or text; may be given several times.")
def phantom(out: Path, kind: str, count: int, seed: int, **drawing: Any) -> None:
    """Draw phantoms with known truth into the new folder OUT: test images of no patient, and truth.json beside them."""
    from medloupe.apps.phantom import run_phantom

    run_phantom(out, kind, count=count, seed=seed, **drawing)


@cli.command("serve-tiny")
@click.option("--folder", type=click.Path(path_type=Path), help="Another folder of it than the packaged one.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--device", default="auto", show_default=True, help='"cpu", "cuda", "cuda:1", ...; auto: a GPU where there is one.'
)
def serve_tiny(folder: Path | None, port: int, device: str) -> int:
    """Serve loupe-tiny on this machine's loopback, as an OpenAI-compatible endpoint, until interrupted.

    It is a small model for tests and demonstrations, trained on phantoms only.
    """
    from medloupe.apps.serve import run_serve_tiny

    return run_serve_tiny(folder, port, device)


@cli.command()
@click.option("--vlm", metavar="URL|FOLDER", help="OpenAI-compatible endpoint, a model folder, or loupe-tiny.")
@click.option("--vlm-model", metavar="NAME", help="The model's name at the endpoint.")
@click.option("--check", is_flag=True, help="Ask the endpoint which models it serves. Without it nothing is contacted.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def models(check: bool, as_json: bool, **flags: Any) -> None:
    """List the models that can be used here."""
    from medloupe.apps.inventory import models_inventory, print_models

    found = models_inventory(_settings(None, flags), check=check)
    _print_json(found) if as_json else print_models(found)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the tools' schemas.")
def tools(as_json: bool) -> None:
    """List the look tools and the verifiers."""
    from medloupe.apps.inventory import print_tools, tools_inventory

    found = tools_inventory()
    _print_json(found) if as_json else print_tools(found)


cli.add_command(eval_group)


def _settings(study: Path | None, flags: Mapping[str, Any], *, say: bool = True) -> Settings:
    from medloupe.settings import config_files, load_settings

    if (left_out := config_files(study).left_out) and say:
        click.echo(f"note: {left_out} lies in the study's folder and was not read", err=True)
    return load_settings(study=study, **flags)


def _resumed_settings(run: str, flags: Mapping[str, Any]) -> Settings:
    """As for a new session: a medloupe.toml in the study's folder is not read, even when it is run from there."""
    from medloupe.apps.session import study_of

    # The sessions folder is first looked up without the working directory's file: that may be the study's own.
    trusted = _settings(Path.cwd(), flags, say=False)
    return _settings(study_of(trusted.sessions, run), flags)


def _print_json(content: object) -> None:
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))
