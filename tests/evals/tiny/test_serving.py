"""`medloupe serve-tiny`: transformers' own server says what the model says in this process, and carries the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_model import save_speaking_model

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("uvicorn", reason="transformers' server is not installed")

from medloupe.errors import BackendMissing
from medloupe.evals.bench_identity import compare, questions
from medloupe.evals.bench_serve import Metered, ask_all, draw_questions
from medloupe.evals.serving import ServedTiny
from medloupe.models.vlm import EndpointVLM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # a server has to start


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speaking_model(tmp_path_factory.mktemp("tiny") / "loupe-tiny")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[ServedTiny]:
    with ServedTiny(folder, device="cpu") as server:
        yield server


def test_it_says_what_it_is_and_where_it_computes(served: ServedTiny) -> None:
    assert "test and demonstration model" in served.said
    assert served.placed == "cpu, float32, pictures by SiglipImageProcessorPil"
    assert served.model == "loupe-tiny"  # its name, and no path of this machine
    assert f"--vlm {served.url} --vlm-model loupe-tiny" in served.said


async def test_the_same_words_from_the_server_and_from_this_process(served: ServedTiny, folder: Path) -> None:
    found = await compare(folder, served, questions(5), device="cpu")
    assert found.differing(found.served) == []
    assert found.place_here == found.place_served
    assert len(set(found.here)) >= 2  # the pictures are looked at
    assert len(found.batched) == 5


async def test_questions_through_the_agent_end_without_a_failure(served: ServedTiny, tmp_path: Path) -> None:
    vlm = Metered(EndpointVLM(served.url, served.model))
    found = await ask_all(vlm, draw_questions(tmp_path, 2), at_once=2)
    await vlm.close()
    assert (found["answered"], found["failures"]) == (2, 0)
    assert found["calls"] >= 2 and found["prompt_tokens"] > 145 * found["calls"] and found["completion_tokens"] > 0
    assert 0 < found["server_busy_share"] <= 1
    assert all(found[name]["p95"] >= found[name]["p50"] > 0 for name in ("question_s", "call_s"))


async def test_a_server_that_is_gone_is_a_failure_of_every_call(tmp_path: Path) -> None:
    vlm = Metered(EndpointVLM("http://127.0.0.1:9/v1", "loupe-tiny", max_attempts=1))
    found = await ask_all(vlm, draw_questions(tmp_path, 1), at_once=1)
    await vlm.close()
    assert found["failures"] == found["calls"] > 0


def test_a_server_that_does_not_start_is_told_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(BackendMissing, match="not a model folder"), ServedTiny(tmp_path):
        pass
