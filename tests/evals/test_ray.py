"""`--ray`: the cases are solved elsewhere, and everything else is as in one process."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medloupe.evals.bench_cases import command, draw_cases, script
from medloupe.models.vlm.loopback import Reply, ScriptedEndpoint


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, env=os.environ | environment, check=False)


def faulty(body: dict[str, Any]) -> Reply | str:
    """Some answers are refused, some fail for good, some are cut off: by what is asked."""
    text = json.dumps(body["messages"][-1]["content"])
    if body.get("response_format", {}).get("json_schema", {}).get("name", "") != "answer":
        return script(body)
    if "density" in text:
        return Reply(refusal="I would rather not.")
    if "margin" in text:
        return Reply(status=400, error="not today")
    if "shape" in text:
        return Reply(text="It is", finish_reason="length")
    return script(body)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_give_the_scores_of_one_process_also_where_the_model_fails(tmp_path: Path) -> None:
    """Needs two CPUs for two workers; `make bench-ray` kills the run and its workers besides."""
    pytest.importorskip("ray")
    draw_cases(tmp_path / "data", 12)
    with ScriptedEndpoint(faulty) as endpoint:
        calls = []
        for out, more in (("one", ()), ("two", ("--ray", "local"))):
            arguments = command(tmp_path / "data", tmp_path / out, endpoint.url, *more)
            ended = run(arguments, MEDLOUPE_VIEW_PX="128")
            assert ended.returncode == 0, ended.stderr
            calls.append(sorted(endpoint.digests))
            endpoint.forget()
        again = run(arguments, MEDLOUPE_VIEW_PX="128")
    one, two = ((tmp_path / out / "scores.jsonl").read_text() for out in ("one", "two"))
    assert one == two
    assert calls[0] == calls[1]
    rows = [json.loads(line) for line in one.splitlines()]
    assert {"refused", "failed", "scored"} <= {row["status"] for row in rows}
    # What never brought a reply is asked again, and nothing else.
    assert (again.returncode, len(endpoint.digests)) == (0, sum("not today" in row["fault"] for row in rows))
    assert len(list((tmp_path / "two" / "logs").iterdir())) == 2  # one a command, not one a worker


ADDRESSES = {
    "127.0.0.1:1": "no Ray cluster answers at 127.0.0.1:1; it is HOST:PORT, as `ray start --head` says",
    "somewhere": "no Ray cluster answers at somewhere; it is HOST:PORT, as `ray start --head` says",
    "ray://127.0.0.1:10001": "--ray is the cluster's own HOST:PORT, auto or local; a Ray Client address is none",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_where_no_cluster_answers_is_one_line(address: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    draw_cases(tmp_path / "data", 1)
    ended = run(command(tmp_path / "data", tmp_path / "out", "http://127.0.0.1:9/v1", "--ray", address))
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"medloupe: {ADDRESSES[address]}")
    assert ended.stderr.count("\n") == 1


def test_without_ray_it_is_said_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ImportError('as if it were not installed')")
    draw_cases(tmp_path / "data", 1)
    arguments = command(tmp_path / "data", tmp_path / "out", "http://127.0.0.1:9/v1", "--ray", "local")
    ended = run(arguments, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr == "medloupe: Ray is not available here; install it with: pip install 'medloupe[ray]'\n"
