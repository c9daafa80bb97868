"""The package as it is installed: nothing missing from the wheel, nothing heavy at start-up, exports that exist."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import medloupe

ROOT = Path(__file__).parent.parent


def test_every_public_name_can_be_had() -> None:
    assert set(medloupe.__all__) == {*medloupe._HOME, "__version__"}
    for name in medloupe.__all__:
        assert getattr(medloupe, name) is not None


def test_every_subpackage_is_declared_so_that_the_wheel_holds_it() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"agent", "apps", "evals", "graphs", "medloupe", "models", "prompts", "tools"}
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for folder in folders
        for init in (ROOT / folder).rglob("__init__.py")
    }
    expected = {name if name == "medloupe" else f"medloupe.{name}" for name in found}
    assert set(setuptools["packages"]) == expected


def test_every_data_file_is_declared_so_that_the_wheel_holds_it() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    declared = {
        path for package, patterns in data.items() for pattern in patterns for path in _folder(package).glob(pattern)
    }
    kept = {
        path
        for folder in ("agent", "apps", "evals", "graphs", "medloupe", "models", "prompts", "tools")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert kept == declared


def _folder(package: str) -> Path:
    parts = package.split(".")
    return ROOT.joinpath(*(parts[1:] or parts))


def test_importing_the_cli_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'langgraph', 'langchain_core', 'openai', 'cv2', 'skimage', 'mlflow', 'gradio'}"
    code = f"import sys, medloupe, medloupe.apps.cli; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_question_without_a_segmenter_or_model_never_imports_torch() -> None:
    code = """
import asyncio, sys
from medloupe import make_graph
from medloupe.evals.bundled import bundled_study
asyncio.run(make_graph().ainvoke({"study": str(bundled_study()), "question": "What stands out?"}))
print(sorted({"torch", "transformers"} & set(sys.modules)))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_help_answers_in_under_half_a_second() -> None:
    command = [str(Path(sys.executable).with_name("medloupe")), "--help"]
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.5


def test_the_graph_that_langgraph_json_names_is_there() -> None:
    import json

    module, _, name = json.loads((ROOT / "langgraph.json").read_text())["graphs"]["reader"].partition(":")
    graph = getattr(importlib.import_module(module), name)
    checked = subprocess.run(
        [str(Path(sys.executable).with_name("langgraph")), "validate", "-c", str(ROOT / "langgraph.json")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    assert {"open", "plan", "look", "draft", "claims", "verify", "revise", "answer"} <= set(graph.get_graph().nodes)
