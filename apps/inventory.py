"""What `medloupe models` and `medloupe tools` list."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from medloupe.apps.wording import one_line
from medloupe.errors import EndpointFault, EndpointUnreachable, MedloupeError, ReplyUnreadable
from medloupe.models.tiny import NAME, packaged
from medloupe.settings import Settings

__all__ = ["models_inventory", "print_models", "print_tools", "tools_inventory"]

_LOCAL = ("torch", "transformers", "accelerate")


def models_inventory(settings: Settings, *, check: bool) -> dict[str, Any]:
    """Segmenters, the in-process VLM, the endpoint and the model profiles. Contacts nothing unless `check`."""
    from medloupe.models.segment import available_segmenters
    from medloupe.models.vlm.profiles import profile_for

    absent = [name for name in _LOCAL if importlib.util.find_spec(name) is None]
    found: dict[str, Any] = {
        "segmenters": [
            {"name": status.name, "available": status.available, "detail": status.detail}
            for status in available_segmenters()
        ],
        "in_process": {
            "available": not absent,
            "detail": f"absent: {', '.join(absent)}; pip install 'medloupe[local]'" if absent else _versions(_LOCAL),
        },
        NAME: _loupe_tiny(),
        "vlm": {"at": settings.vlm, "model": settings.vlm_model, "key": settings.key() is not None},
        "measured": {"available": True, "detail": "no network: says only what it can measure"},
    }
    if settings.vlm_model:
        profile = profile_for(settings.vlm_model, convention=settings.box_convention)
        found["vlm"]["profile"] = {
            "name": profile.name, "boxes": profile.describe_convention(), "tool_calls": profile.tool_calls,
            "longest": profile.longest,
        }  # fmt: skip
    if check and settings.vlm and "://" in settings.vlm:
        found["vlm"]["serves"] = served = _served(settings)
        found["vlm"]["served"] = settings.vlm_model in served
    return found


def _loupe_tiny() -> dict[str, Any]:
    """Whether the package came with it, and whole."""
    try:
        packaged()
    except MedloupeError as error:
        return {"available": False, "detail": str(error)}
    return {"available": True, "detail": f"--vlm {NAME}; for tests and demonstrations, trained on drawn phantoms only"}


def tools_inventory() -> dict[str, Any]:
    """The look tools with their schemas, and the verifiers."""
    from medloupe.tools.look.actions import Compare, Crop, Measure, Segment, SetWindow, Slice, Zoom
    from medloupe.tools.verify import AgreementVerifier, MeasuredVerifier, ProbeVerifier, RulesVerifier, installed

    actions = (Zoom, Segment, Crop, SetWindow, Slice, Measure, Compare)
    return {
        "look": [
            {
                "name": action.model_fields["action"].default,
                "description": " ".join((action.__doc__ or "").split()),
                "schema": action.model_json_schema(),
            }
            for action in actions
        ],
        "verify": [
            {"name": verifier.name, "description": " ".join((type(verifier).__doc__ or "").split())}
            for verifier in (MeasuredVerifier(), RulesVerifier(), ProbeVerifier(), AgreementVerifier())
        ]
        + [{"name": point.name, "description": f"plug-in: {point.value}"} for point in installed()],
    }


def print_models(found: dict[str, Any]) -> None:
    """models_inventory as a table."""
    table = Table("kind", "name", "here", "", box=None, header_style="bold")
    for segmenter in found["segmenters"]:
        table.add_row("segmenter", segmenter["name"], _yes(segmenter["available"]), segmenter["detail"])
    table.add_row("describer", "measured", _yes(True), found["measured"]["detail"])
    table.add_row("vlm", "model folder", _yes(found["in_process"]["available"]), found["in_process"]["detail"])
    table.add_row("vlm", NAME, _yes(found[NAME]["available"]), found[NAME]["detail"])
    vlm = found["vlm"]
    if vlm["at"] is None:
        table.add_row("vlm", "endpoint", _yes(False), "none configured; --vlm URL --vlm-model NAME")
    else:
        key = "with a key" if vlm["key"] else "without a key"
        here = "set" if "served" not in vlm else _yes(vlm["served"])
        note = "; the endpoint lists no model of that name" if vlm.get("served") is False else ""
        table.add_row("vlm", vlm["model"] or "", here, f"{vlm['at']} ({key}){note}")
    if profile := vlm.get("profile"):
        table.add_row("profile", profile["name"], "", profile["boxes"])
    for name in vlm.get("serves", ()):
        table.add_row("served", one_line(name), _yes(True), "")
    _console().print(table)


def print_tools(found: dict[str, Any]) -> None:
    """tools_inventory as a table."""
    table = Table("kind", "name", "", box=None, header_style="bold")
    for kind in ("look", "verify"):
        for tool in found[kind]:
            table.add_row(kind, tool["name"], tool["description"])
    _console().print(table)


def _yes(available: bool) -> str:
    return "yes" if available else "no"


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def _versions(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _served(settings: Settings) -> list[str]:
    """The model names that the endpoint lists."""
    import httpx2

    key = settings.key()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        # Neither a proxy from the environment nor a redirect: only the configured endpoint is ever contacted.
        reply = httpx2.get(
            f"{settings.vlm}/models",
            headers=headers,
            timeout=settings.timeout_s,
            trust_env=False,
            follow_redirects=False,
        )
        reply.raise_for_status()
        return [str(model["id"]) for model in reply.json()["data"]]
    except httpx2.HTTPStatusError as error:
        status = error.response.status_code
        raise EndpointFault(status, f"{settings.vlm}/models answered with status {status}") from None
    except httpx2.HTTPError as error:
        raise EndpointUnreachable(f"{settings.vlm} cannot be reached: {type(error).__name__}") from None
    except (ValueError, KeyError, TypeError):
        raise ReplyUnreadable(f"{settings.vlm}/models did not answer with a list of models") from None
