"""Training data and training: packing changes nothing, a stopped run goes on where it was, the model learns."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("mlflow", reason="mlflow is not installed")
pytest.importorskip("tokenizers", reason="transformers is not installed")

from medloupe.agent.describe import DescriptionReply
from medloupe.agent.planner_grounding import GroundingReply
from medloupe.errors import UsageError
from medloupe.evals.tiny.ahead import drawn_ahead, packer
from medloupe.evals.tiny.batches import batch_of
from medloupe.evals.tiny.samples import PER_SCENE, kind_of, samples_of
from medloupe.evals.tiny.train import Plan, Trainer
from medloupe.models.tiny.language import LOOK_CLOSER
from medloupe.models.vlm import parse_json


@pytest.fixture(scope="module")
def views():
    return [view for n in range(12) for view in samples_of(n, 144)]


def test_every_phantom_gives_eight_views_of_every_kind_of_picture(views) -> None:
    assert len(views) == 12 * PER_SCENE
    assert {kind_of(n) for n in range(12)} == {"ct", "cxr", "derm", "us"}
    assert all(view.picture.shape == (144, 144, 3) for view in views)
    tasks = Counter(turn.task for view in views for turn in view.turns)
    assert min(tasks[t] for t in ("describe", "locate", "probe")) > 30


def test_replies_fit_the_agents_schemas(views) -> None:
    for view in views:
        for turn in view.turns:
            if turn.task == "describe":
                stated = {a.attribute: a.value for a in parse_json(turn.say, DescriptionReply).attributes}
                assert stated["presence"] is (view.lesion is not None)
                assert ("long_axis" in stated) == (view.lesion is not None and not view.closer)
            elif turn.task == "locate":
                assert len(parse_json(turn.say, GroundingReply).regions) == len(view.boxes)


def test_a_small_lesion_is_not_described_but_to_be_looked_at_closer(views) -> None:
    small = [v for v in views if v.lesion is not None and v.closer]
    assert small
    for view in small:
        assert view.lesion.long_axis / (view.box[2] - view.box[0]) < LOOK_CLOSER
        assert "Look closer" in next(t.say for t in view.turns if t.task == "describe")


def test_statements_come_in_pairs_of_which_one_is_true(views) -> None:
    for view in views:
        answers: dict[int, list[str]] = {}
        for turn in view.turns:
            if turn.task == "probe":
                answers.setdefault(turn.pair, []).append(turn.say)
        assert all(sorted(pair) in (["no", "yes"], ["unsure", "unsure"]) for pair in answers.values())


def test_the_same_number_is_the_same_view_and_no_test_phantom_is_trained_on(views) -> None:
    again = next(samples_of(0, 144))
    assert np.array_equal(again.picture, views[0].picture)
    assert again.turns == views[0].turns
    assert not np.array_equal(next(samples_of(0, 144, "test")).picture, views[0].picture)


def test_a_packed_turn_reads_as_when_it_is_asked_alone(tmp_path, views) -> None:
    import torch

    trainer = Trainer(tmp_path, Plan(steps=1), device="cpu", threads=1)
    view = next(v for v in views if len(v.turns) > 4)
    batch = packer()([view]).to("cpu")
    model = trainer.learner.model.eval()
    with torch.no_grad():
        _, hidden = trainer.learner._forward(batch)
        packed = model.lm_head(hidden[0])
        start = 1 + batch.cells.shape[1]
        for turn in view.turns[:3]:
            chat = [
                {
                    "role": "user",
                    "content": [{"type": "image", "image": view.picture}, {"type": "text", "text": turn.ask}],
                }
            ]
            inputs = trainer.processor.apply_chat_template(
                [chat], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
            alone = model(**inputs).logits[0, -1]
            asked = inputs["input_ids"].shape[1] - 1 - batch.cells.shape[1]
            assert torch.allclose(packed[start + asked - 1], alone, atol=1e-4)
            start += asked + len(trainer.tokenizer(turn.say, add_special_tokens=False)["input_ids"]) + 1


@pytest.mark.slow
def test_batches_drawn_ahead_in_processes_are_those_drawn_here_in_order() -> None:
    wanted = [(step, 1, 2) for step in (3, 0, 1, 2, 7, 8, 9)]
    for (step, scenes, every), batch in zip(wanted, drawn_ahead(wanted, workers=2), strict=True):
        here = batch_of(step, scenes, packer(), every=every)
        for name in here.__dataclass_fields__:
            given, drawn = getattr(batch, name), getattr(here, name)
            assert np.array_equal(given, drawn, equal_nan=name == "measures")
            assert drawn.flags.c_contiguous, f"{name}: torch adds up differently in another order of memory"


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed() -> None:
    script = "from medloupe.evals.tiny.ahead import drawn_ahead\n"
    script += "import multiprocessing, sys\n"
    script += "if __name__ == '__main__':\n"
    script += "    for _ in drawn_ahead([(n, 1, 2) for n in range(400)], 1):\n"
    script += "        print(multiprocessing.active_children()[0].pid, flush=True)\n"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    raise AssertionError("the worker outlived its parent by ten seconds")


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own use of SQLAlchemy
def test_a_stopped_run_that_is_resumed_has_the_same_losses(tmp_path) -> None:
    plan = Plan(steps=4, scenes=1)
    whole = Trainer(tmp_path / "whole", plan, device="cpu", threads=1)
    whole.run()
    Trainer(tmp_path / "halves", plan, device="cpu", threads=1).run(until=2)
    resumed = Trainer(tmp_path / "halves", plan, device="cpu", threads=1)
    assert resumed.step == 2
    resumed.run()
    assert resumed.losses == whole.losses
    assert len(whole.losses) == 4
    assert (tmp_path / "whole" / "losses.csv").read_text() == (tmp_path / "halves" / "losses.csv").read_text()
    assert json.loads((tmp_path / "halves" / "loupe-tiny" / "config.json").read_text())["model_type"] == "llava"
    assert (tmp_path / "halves" / "mlflow.db").is_file()


def test_another_plan_in_the_same_folder_is_refused(tmp_path) -> None:
    Trainer(tmp_path, Plan(steps=1), device="cpu", threads=1)
    with pytest.raises(UsageError, match="another plan"):
        Trainer(tmp_path, Plan(steps=2), device="cpu", threads=1)
