"""What medloupe runs with: flags, then the environment, then medloupe.toml.

    1. flags of the command, or keyword arguments
    2. environment variables MEDLOUPE_<NAME>
    3. medloupe.toml in the working directory
    4. medloupe.toml in the user's configuration folder

A study's folder never configures anything: when the working directory lies in it, its medloupe.toml is left out. API
keys come from the environment only and are in no dump of the settings.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlsplit

import platformdirs
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from medloupe.errors import UsageError
from medloupe.limits import Amount, Limits, Memory, Processes, Seconds

__all__ = ["CONFIG_FILE", "ConfigFiles", "Settings", "config_files", "load_settings", "refuse_tracing"]

CONFIG_FILE = "medloupe.toml"

_TRACING = ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2")
_TRUE = frozenset({"1", "true", "yes", "on"})
_SECRETS = frozenset({"api_key", "openai_api_key", "verifier_api_key"})
_LOOKS_SECRET = ("key", "secret", "password", "credential")


class Settings(BaseSettings):
    """Everything that can be chosen. Called directly it reads flags and environment; `load_settings` adds the files."""

    model_config = SettingsConfigDict(
        env_prefix="MEDLOUPE_", env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    file_contents: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """What `load_settings` read from medloupe.toml files, in order of precedence."""

    vlm: str | None = None
    """Base URL of an OpenAI-compatible endpoint ("http://127.0.0.1:8000/v1"), or a model folder; None: measure only."""
    vlm_model: str | None = None
    """Name of the model at that endpoint. Needed with a URL."""
    verifier_vlm: str | None = None
    """URL or folder of the model that probes claims; None: the describer's."""
    verifier_model: str | None = None
    """Name of the model that probes claims; None: the describer's."""
    box_convention: Literal["absolute", "sent", "thousand", "unit"] | None = None
    """How the model writes boxes, where its profile is wrong: pixels of the picture as its processor resizes it, pixels
    of the picture as sent, 0 to 1000, or 0 to 1."""
    planner: Literal["auto", "tools", "grounding", "policy"] = "auto"
    """Who says where to look: tool calls, boxes as JSON, or rules without a model; "auto": by the model's profile."""
    segmenter: str = "auto"
    """"litemedsam", "sam:CHECKPOINT", "medsam:CHECKPOINT" or "none"; "auto": LiteMedSAM where it is installed."""
    second_segmenter: str = "none"
    """Another segmenter, for a second outline when a claim is measured; where the two disagree, less is decided."""
    probe_orders: Literal[1, 2] = 2
    """Orders in which a claim and its twin are asked: 2 takes four requests a claim, 1 takes two."""
    agreement_samples: int = Field(default=15, ge=0, le=50)
    """n: most draws of the verifier's model where nothing else decided a claim, two requests each; 0: none."""
    agreement_needed: int = Field(default=2, ge=1, le=50)
    """k: by how many draws the claim or its twin must lead; no draw is taken after that."""
    modality: str | None = None
    """Overrides the files' modality: a DICOM code such as "US" or "MR"."""
    view_px: int = Field(default=512, ge=64, le=4096)
    """Longest side of a view, pixels."""

    max_looks: int = Field(default=8, ge=0, le=1000)
    """Views made for one question besides the overview."""
    max_calls: int = Field(default=40, ge=0, le=100_000)
    """Model requests sent for one question."""
    max_tokens: int = Field(default=200_000, ge=0)
    """Prompt and completion tokens of one question."""
    max_seconds: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    """Wall clock of one question, seconds."""

    price_in: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """US dollars a million prompt tokens; None: not known, so an evaluation's cost is told in tokens."""
    price_out: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """US dollars a million completion tokens."""

    timeout_s: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    """Longest wait for one reply, seconds."""
    max_attempts: int = Field(default=4, ge=1, le=10)
    """How often one request is tried."""
    retry_base_s: float = Field(default=0.5, ge=0, le=60, allow_inf_nan=False)
    """First wait before a retry, seconds; doubled each time. A server's Retry-After goes before it."""

    read_memory_bytes: Memory = 3 * 2**29
    """Address space of one process that reads files. This and those below: what it may cost to open a study."""
    read_seconds: Seconds = 10.0
    """Wall clock of one file, seconds."""
    read_workers: Processes = 2
    """Processes that read files at the same time."""
    read_file_bytes: Amount = 2**31
    """Of one file."""
    read_files: Amount = 50_000
    """Of one folder or ZIP."""
    read_inflated_bytes: Amount = 2**29
    """Of one compressed file, inflated."""
    read_inflate_ratio: Amount = 200
    """Of inflated to stored size, beyond 64 MiB."""
    read_zip_bytes: Amount = 2**33
    """Of all that a ZIP holds, inflated."""
    read_frame_pixels: Amount = 89_478_485
    """Of one frame."""
    read_file_pixels: Amount = 2**30
    """Of all frames of one file."""
    read_file_elements: Amount = 100_000
    """Of a DICOM data set."""
    read_sequence_depth: Amount = 64
    """Of DICOM sequences in sequences."""

    out: Path = Path("out")
    """Where `medloupe ask` writes; each run gets a folder of its own below it."""
    sessions: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("medloupe", appauthor=False) / "sessions"
    )
    """Where sessions are kept for `medloupe chat --session`: pixels of views and checkpoints, mode 0700."""

    api_key: SecretStr | None = Field(
        default=None, exclude=True, repr=False, validation_alias=AliasChoices("MEDLOUPE_API_KEY")
    )
    """For the endpoint `vlm`. From the environment only."""
    openai_api_key: SecretStr | None = Field(
        default=None, exclude=True, repr=False, validation_alias=AliasChoices("OPENAI_API_KEY")
    )
    """OpenAI's own variable, so sent to OpenAI's hosts only."""
    verifier_api_key: SecretStr | None = Field(
        default=None, exclude=True, repr=False, validation_alias=AliasChoices("MEDLOUPE_VERIFIER_API_KEY")
    )
    """For the endpoint `verifier_vlm`, where that is another one: one host's key is never sent to another."""

    @field_validator("vlm", "verifier_vlm")
    @classmethod
    def _plain_url(cls, value: str | None) -> str | None:
        if value is None or "://" not in value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a URL must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("a URL must hold no user, password or query; give a key as MEDLOUPE_API_KEY")
        return value.rstrip("/")

    @field_validator("modality")
    @classmethod
    def _modality_code(cls, value: str | None) -> str | None:
        if value is None:
            return None
        code = value.strip().upper()
        if not (code.isascii() and code.isalnum() and 2 <= len(code) <= 16):
            raise ValueError("a modality is a short code such as CT, MR, US, XR")
        return code

    @model_validator(mode="after")
    def _url_names_a_model(self) -> Settings:
        for url, model, names in (
            (self.vlm, self.vlm_model, ("vlm", "vlm_model")),
            (self.verifier_vlm, self.verifier_model, ("verifier_vlm", "verifier_model")),
        ):
            if url is not None and "://" in url and not model:
                raise ValueError(f"{names[0]} is an endpoint, so {names[1]} must name the model to use there")
        if 0 < self.agreement_samples < self.agreement_needed:
            raise ValueError("agreement_needed must be no more than agreement_samples")
        if self.vlm_model and not self.vlm:
            raise ValueError("vlm_model names a model, but vlm does not say where it is")
        return self

    def limits(self) -> Limits:
        """What opening a study may cost."""
        return Limits(**{name: getattr(self, f"read_{name}") for name in Limits.model_fields})

    def key(self) -> str | None:
        """The key for `vlm`, as a string for the client only."""
        host = urlsplit(self.vlm or "").hostname or ""
        if self.api_key is None and self.openai_api_key and (host == "openai.com" or host.endswith(".openai.com")):
            return self.openai_api_key.get_secret_value()
        return self.api_key.get_secret_value() if self.api_key else None

    def verifier_key(self) -> str | None:
        """The key for the verifier's endpoint: its own, or the describer's when both are one endpoint."""
        if self.verifier_api_key:
            return self.verifier_api_key.get_secret_value()
        return self.key() if self.verifier_vlm in (None, self.vlm) else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature; a .env file is never read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, then whatever files `load_settings` read."""
        files = (InitSettingsSource(settings_cls, dict(content)) for content in cls.file_contents)
        return (init_settings, env_settings, *files)


class ConfigFiles(NamedTuple):
    """Which medloupe.toml files count."""

    read: tuple[Path, ...]
    """In order of precedence."""
    left_out: Path | None
    """The working directory's, when that lies in the study's folder."""


def config_files(study: str | Path | None = None) -> ConfigFiles:
    """The medloupe.toml files that exist and may be read for that study."""
    here = Path.cwd() / CONFIG_FILE
    own = platformdirs.user_config_path("medloupe", appauthor=False) / CONFIG_FILE
    left_out = here if here.is_file() and study is not None and _in_study(here.parent, Path(study)) else None
    candidates = (own,) if left_out or here == own else (here, own)
    return ConfigFiles(tuple(file for file in candidates if file.is_file()), left_out)


def load_settings(*, study: str | Path | None = None, **flags: Any) -> Settings:
    """Settings for one command. Flags that are None were not given. UsageError, one line, for anything wrong."""
    refuse_tracing()
    given = {name: value for name, value in flags.items() if value is not None}
    _refuse_unknown(given, "a flag")
    contents = [(file, _read(file)) for file in config_files(study).read]

    class WithFiles(Settings):
        file_contents: ClassVar[Sequence[Mapping[str, Any]]] = [content for _, content in contents]

    try:
        return WithFiles(**given)
    except ValidationError as error:
        raise UsageError(_in_words(error, given, contents)) from None


def refuse_tracing(environment: Mapping[str, str] | None = None) -> None:
    """Stop when LangChain would send every step to a tracing service; UsageError unless MEDLOUPE_ALLOW_TRACING=1."""
    env = os.environ if environment is None else environment
    if env.get("MEDLOUPE_ALLOW_TRACING") == "1":
        return
    for name in _TRACING:
        if env.get(name, "").strip().lower() in _TRUE:
            raise UsageError(
                f"{name} is on, which would send the study's views and texts to a tracing service; unset it,"
                " or set MEDLOUPE_ALLOW_TRACING=1 if that is meant"
            )


def _in_study(folder: Path, study: Path) -> bool:
    """Whether a folder is the study's: the one that a file lies in, or a folder given as study and all below it."""
    place, folder = study.resolve(), folder.resolve()
    return folder.is_relative_to(place) if place.is_dir() else folder == place.parent


def _read(file: Path) -> dict[str, Any]:
    """A settings file's content, checked for keys that have no place there."""
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {type(error).__name__}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from None
    for name in content:
        if name in _SECRETS or any(part in name.lower() for part in _LOOKS_SECRET):
            raise UsageError(
                f'{file}: "{name}" does not belong in a file; keys come from the environment only (MEDLOUPE_API_KEY)'
            )
    _refuse_unknown(content, str(file))
    return content


def _refuse_unknown(content: Mapping[str, Any], where: str) -> None:
    known = Settings.model_fields.keys() - _SECRETS
    for name in content:
        if name not in known:
            raise UsageError(f'{where}: "{name}" is not a setting; the settings are {", ".join(sorted(known))}')


def _in_words(error: ValidationError, given: Mapping[str, Any], contents: list[tuple[Path, dict[str, Any]]]) -> str:
    """The first thing wrong, where it was said, and never the value itself."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    return f"{_said_in(name, given, contents)}: {message[:1].lower()}{message[1:]}"


def _said_in(name: str, given: Mapping[str, Any], contents: list[tuple[Path, dict[str, Any]]]) -> str:
    if name in given:
        return f"--{name.replace('_', '-')}"
    if f"MEDLOUPE_{name}".upper() in {variable.upper() for variable in os.environ}:
        return f"MEDLOUPE_{name.upper()}"
    file = next((file for file, content in contents if name in content), None)
    return f"{file}: {name}" if file else name
