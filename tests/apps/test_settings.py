from __future__ import annotations

from pathlib import Path
from typing import get_args

import platformdirs
import pytest

from medloupe.errors import UsageError
from medloupe.models.vlm.profiles import BoxConvention
from medloupe.settings import Settings, config_files, load_settings, refuse_tracing

CANARY = "sk-canary-0123456789"


@pytest.fixture(autouse=True)
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and user folder, and no MEDLOUPE_ variable."""
    import os

    for name in os.environ:
        if name.startswith(("MEDLOUPE_", "OPENAI_", "LANGSMITH_", "LANGCHAIN_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def write_user_file(text: str) -> Path:
    folder = platformdirs.user_config_path("medloupe", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "medloupe.toml"
    file.write_text(text)
    return file


def test_flags_go_before_environment_before_here_before_the_users_file(
    clean_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_user_file("max_looks = 1\nmax_calls = 1\nmax_tokens = 1\nview_px = 100")
    (clean_place / "medloupe.toml").write_text("max_looks = 2\nmax_calls = 2\nmax_tokens = 2")
    monkeypatch.setenv("MEDLOUPE_MAX_LOOKS", "3")
    monkeypatch.setenv("MEDLOUPE_MAX_CALLS", "3")
    settings = load_settings(max_looks=4, max_calls=None)
    assert (settings.max_looks, settings.max_calls, settings.max_tokens, settings.view_px) == (4, 3, 2, 100)


@pytest.mark.parametrize("where", ["folder", "file", "parent"])
def test_a_studys_folder_never_configures(where: str, clean_place: Path) -> None:
    (clean_place / "medloupe.toml").write_text("max_looks = 2")
    (clean_place / "slice.dcm").touch()
    (clean_place / "inner").mkdir()
    study = {"folder": Path(), "file": Path("slice.dcm"), "parent": clean_place.parent}[where]
    assert load_settings().max_looks == 2
    assert load_settings(study=study).max_looks == Settings().max_looks
    assert config_files(study).left_out == clean_place / "medloupe.toml"
    (clean_place.parent / "above.dcm").touch()
    for elsewhere in (clean_place / "inner", clean_place.parent / "above.dcm"):
        assert load_settings(study=elsewhere).max_looks == 2


def test_a_symbolic_link_does_not_make_the_studys_folder_another(clean_place: Path, tmp_path: Path) -> None:
    (clean_place / "medloupe.toml").write_text("max_looks = 2")
    (tmp_path / "link").symlink_to(clean_place)
    assert load_settings(study=tmp_path / "link").max_looks == Settings().max_looks


def test_a_dotenv_file_is_not_read(clean_place: Path) -> None:
    (clean_place / ".env").write_text("MEDLOUPE_MAX_LOOKS=3")
    assert load_settings().max_looks == Settings().max_looks


def test_keys_come_from_the_environment_and_show_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    assert load_settings(vlm="https://api.openai.com/v1", vlm_model="m").key() == CANARY
    for other in ("http://127.0.0.1:8000/v1", "https://openai.com.example.org/v1", "https://notopenai.com/v1"):
        assert load_settings(vlm=other, vlm_model="m").key() is None
    monkeypatch.setenv("MEDLOUPE_API_KEY", f"{CANARY}-own")
    settings = load_settings()
    assert settings.key() == f"{CANARY}-own"
    assert CANARY not in repr(settings) + str(settings) + settings.model_dump_json() + str(settings.model_dump())


def test_one_endpoints_key_is_not_sent_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLOUPE_API_KEY", CANARY)
    same = {"vlm": "http://a/v1", "vlm_model": "m"}
    assert load_settings(**same, verifier_vlm="http://a/v1", verifier_model="n").verifier_key() == CANARY
    assert load_settings(**same, verifier_vlm="http://b/v1", verifier_model="n").verifier_key() is None
    monkeypatch.setenv("MEDLOUPE_VERIFIER_API_KEY", "own")
    assert load_settings(**same, verifier_vlm="http://b/v1", verifier_model="n").verifier_key() == "own"


@pytest.mark.parametrize("name", ["api_key", "verifier_api_key", "API_KEY", "openai_key", "client_secret"])
def test_a_key_in_a_file_is_refused_by_name(name: str, clean_place: Path) -> None:
    (clean_place / "medloupe.toml").write_text(f'{name} = "{CANARY}"')
    with pytest.raises(UsageError, match=f'"{name}" does not belong in a file') as caught:
        load_settings()
    assert CANARY not in str(caught.value)


def test_a_key_as_a_flag_is_refused() -> None:
    with pytest.raises(UsageError, match="not a setting"):
        load_settings(api_key=CANARY)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"max_looks": -1}, "--max-looks: input should be greater than or equal to 0"),
        ({"planner": "magic"}, "--planner: input should be 'auto', 'tools', 'grounding' or 'policy'"),
        ({"vlm": "http://x/v1"}, "vlm is an endpoint, so vlm_model must name"),
        ({"vlm_model": "m"}, "vlm does not say where it is"),
        ({"vlm": "ftp://x", "vlm_model": "m"}, "--vlm: a URL must begin with http"),
        ({"vlm": f"http://u:{CANARY}@x/v1", "vlm_model": "m"}, "--vlm: a URL must hold no user, password or query"),
        ({"vlm": f"http://x/v1?key={CANARY}", "vlm_model": "m"}, "--vlm: a URL must hold no user, password or query"),
        ({"modality": "../x"}, "--modality: a modality is a short code"),
    ],
)
def test_a_bad_flag_is_one_line_without_its_value(flags: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(**flags)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("max_looks = ", "not valid TOML"),
        ('max_looks = "many"', "max_looks: input should be a valid integer"),
        ("looks = 3", '"looks" is not a setting'),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_bad_file_is_named(content: str, said: str, clean_place: Path) -> None:
    file = clean_place / "medloupe.toml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLOUPE_TIMEOUT_S", "soon")
    with pytest.raises(UsageError, match=r"^MEDLOUPE_TIMEOUT_S: input should be a valid number"):
        load_settings()


@pytest.mark.parametrize("name", ["LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_TRACING_V2"])
def test_tracing_services_are_refused_unless_meant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "True")
    with pytest.raises(UsageError, match=name):
        load_settings()
    monkeypatch.setenv("MEDLOUPE_ALLOW_TRACING", "1")
    refuse_tracing()
    monkeypatch.delenv("MEDLOUPE_ALLOW_TRACING")
    monkeypatch.setenv(name, "false")
    refuse_tracing()


def test_settings_are_frozen_and_their_box_conventions_are_the_profiles() -> None:
    settings = load_settings(vlm="http://x/v1/", vlm_model="m", modality="us")
    assert (settings.vlm, settings.modality) == ("http://x/v1", "US")
    with pytest.raises(ValueError, match="frozen"):
        settings.max_looks = 3  # type: ignore[misc]
    annotation = Settings.model_fields["box_convention"].annotation
    assert set(get_args(get_args(annotation)[0])) == set(get_args(BoxConvention))


def test_a_resumed_session_does_not_read_its_studys_file(clean_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medloupe.apps.cli import _resumed_settings

    home = clean_place.parent / "sessions" / "20261122-145301-ab12"
    home.mkdir(parents=True)
    monkeypatch.setenv("MEDLOUPE_SESSIONS", str(home.parent))
    (clean_place / "medloupe.toml").write_text("max_looks = 2")
    (home / "study").write_text(str(clean_place / "scan.dcm"))
    assert _resumed_settings(home.name, {}).max_looks == Settings().max_looks
    (home / "study").write_text(str(clean_place.parent / "elsewhere" / "scan.dcm"))
    assert _resumed_settings(home.name, {}).max_looks == 2
