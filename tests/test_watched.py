"""Rollouts scored again: the same answers under the same views, by the model as it is now."""

import copy

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import TrainerCallback

from credit.credit_log import ALTERNATIVES, TOKEN_COLUMNS
from credit.diagnostics import diagnose, read_rollouts
from local_models import fit, make_tokenizer, make_trainer, save_model
from multi_turn import make_tool_trainer

FIXED = ("row", "group", "prompt", "completion", "score", "solution", "feedback", "negatives", "teacher_prompt", "own")


def files_of(folder):
    return [pq.read_table(path).to_pylist() for path in sorted((folder / "credit").glob("*.parquet"))]


def again(rows):
    return [row for row in rows if row["scored_again"]]


@pytest.mark.parametrize("form", ["paper", "feedback_contrast"])
def test_a_model_that_does_not_change_gives_the_same_numbers(tmp_path, form):
    fit(make_trainer(tmp_path, learning_rate=0.0, credit_log_steps=1, num_negatives=2, lam=0.5, form=form))
    first, second = files_of(tmp_path)
    assert not again(first)
    assert len(again(second)) == 4
    known = {row["row"]: row for row in first}
    for row in again(second):
        assert row["step"] == 1
        assert row["solution"] or row["feedback"]  # those with a teacher come first
        assert all(row[name] == known[row["row"]][name] for name in FIXED)
        for name in (*TOKEN_COLUMNS, *ALTERNATIVES, "logp_contrast"):
            old, new = (np.array(r[name]) for r in (known[row["row"]], row))
            assert np.allclose(old, new, rtol=1e-4, atol=1e-4, equal_nan=True), name


class Snapshot(TrainerCallback):
    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == 1:
            self.model = copy.deepcopy(model)


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
def test_the_model_as_it_is_now_scores(tmp_path, family):
    trainer, snapshot, tokenizer = make_trainer(tmp_path, family, credit_log_steps=1), Snapshot(), make_tokenizer()
    trainer.add_callback(snapshot)
    fit(trainer)
    model = snapshot.model.eval()
    for row in again(files_of(tmp_path)[1]):
        question = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["prompt"].split('"content": "')[1].split('"')[0]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        ids = tokenizer(question)["input_ids"]
        with torch.no_grad():
            logits = type(model).forward(model, torch.tensor([ids + row["token_ids"]])).logits[0, len(ids) - 1 : -1]
        expected = logits.log_softmax(-1)[range(len(row["token_ids"])), row["token_ids"]]
        assert np.allclose(row["logp_student"], expected, atol=1e-4)


def test_they_are_in_no_mean(tmp_path):
    fit(make_trainer(tmp_path, credit_log_steps=1, credit_log_rollouts=6))
    found = read_rollouts(sorted((tmp_path / "credit").glob("*.parquet"))[1])
    assert len(found.rows) == 10
    assert diagnose(found)["counts"]["responses"] == 6


def test_none_are_kept_when_none_are_asked_for(tmp_path):
    fit(make_trainer(tmp_path, credit_log_steps=1, credit_log_watched=0))
    assert not any(map(again, files_of(tmp_path)))
    assert not list((tmp_path / "credit").glob("*.pt"))


def test_a_resumed_run_scores_the_same_rollouts_to_the_same_numbers(tmp_path):
    model = str(save_model("qwen3", tmp_path / "model"))
    options = {"model": model, "credit_log_steps": 1, "max_steps": 3, "save_strategy": "steps", "save_steps": 1}
    whole, broken = (make_trainer(tmp_path / name, **options) for name in ("whole", "broken"))
    fit(whole, broken)
    for path in sorted((tmp_path / "broken" / "credit").glob("*.parquet"))[2:]:
        path.unlink()
    resumed = make_trainer(tmp_path / "broken", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "broken" / "checkpoint-2"))
    expected, found = (files_of(tmp_path / name)[2] for name in ("whole", "broken"))
    assert len(again(found)) == 4
    assert repr(found) == repr(expected)


@pytest.mark.filterwarnings("ignore:You are using 'environment_factory':UserWarning")
def test_conversations_with_tools(tmp_path):
    trainer = make_tool_trainer(tmp_path, learning_rate=0.0, max_steps=2)
    fit(trainer)
    first, second = files_of(tmp_path)
    known = {row["row"]: row for row in first}
    assert again(second)
    for row in again(second):
        assert row["own"] == known[row["row"]]["own"]
        assert np.allclose(row["R"], known[row["row"]]["R"], rtol=1e-4, atol=1e-4, equal_nan=True)
