"""Vision-language models behind one Protocol: an endpoint, a model folder, a LangChain chat model, or a script.

Light to import: openai, torch and transformers are loaded by the first call.
"""

from __future__ import annotations

from pathlib import Path

from medloupe.errors import UsageError
from medloupe.models.tiny import NAME, packaged
from medloupe.models.vlm.base import VLM, Message, Picture, ToolCall, VLMReply, VLMRequest
from medloupe.models.vlm.chat_model import ChatModelVLM
from medloupe.models.vlm.endpoint import EndpointVLM
from medloupe.models.vlm.ledger import CallLedger, LedgerVLM
from medloupe.models.vlm.local import LocalVLM
from medloupe.models.vlm.profiles import ModelProfile, profile_for
from medloupe.models.vlm.schema import parse_json
from medloupe.models.vlm.scripted import ScriptedVLM

__all__ = [
    "VLM", "CallLedger", "ChatModelVLM", "EndpointVLM", "LedgerVLM", "LocalVLM", "Message", "ModelProfile", "Picture",
    "ScriptedVLM", "ToolCall", "VLMReply", "VLMRequest", "load_vlm", "parse_json", "profile_for",
]  # fmt: skip


def load_vlm(
    url_or_folder: str,
    model: str | None = None,
    *,
    api_key: str | None = None,
    profile: ModelProfile | None = None,
    timeout_s: float = 120.0,
    max_attempts: int = 4,
    retry_base_s: float = 0.5,
    max_batch: int = 1,
) -> VLM:
    """The VLM at an http(s):// endpoint, in a Hugging Face model folder, or "loupe-tiny"; else UsageError.

    The key, the time limit and the retries are an endpoint's; max_batch, requests answered at once, is a folder's.
    """
    if url_or_folder.startswith(("http://", "https://")):
        if not model:
            raise UsageError("an endpoint needs the name of a model, as its server calls it")
        return EndpointVLM(
            url_or_folder,
            model,
            api_key=api_key,
            profile=profile,
            timeout_s=timeout_s,
            max_attempts=max_attempts,
            retry_base_s=retry_base_s,
        )
    if url_or_folder == NAME:
        return LocalVLM(packaged(), model=NAME, profile=profile, max_batch=max_batch)
    if Path(url_or_folder).expanduser().is_dir():
        return LocalVLM(url_or_folder, model=model or "", profile=profile, max_batch=max_batch)
    raise UsageError(f"{url_or_folder} is neither an http(s) URL nor a model folder")
