"""Evaluation: what a number is called, and that a killed evaluation goes on to the same answers."""

import pytest

from credit.evaluate import evaluate, read_records, summarise, write_records
from credit.sampling import EvalOptions, generate
from credit.tasks import Grade
from local_models import make_model, make_rows, make_tokenizer


def record(scores, greedy=0.0, family="all"):
    return {"family": family, "sampled_scores": scores, "greedy_score": greedy}


def test_accuracy_counts_successes_and_the_mean_score_counts_fractions():
    summary = summarise([record([1.0, 0.5, 0.5, 0.0]), record([1.0, 1.0, 0.0, 0.0], greedy=0.9)])
    assert summary["sampled"]["overall"]["mean"] == pytest.approx((0.25 + 0.5) / 2)
    assert summary["greedy"]["overall"]["mean"] == 0.0  # 0.9 is no success
    assert summary["mean_score"]["mean"] == pytest.approx(0.5)
    assert {k: v["mean"] for k, v in summary["pass_at"].items()} == pytest.approx(
        {"1": (1 / 4 + 2 / 4) / 2, "2": (1 / 2 + 5 / 6) / 2, "4": 1.0}
    )
    assert summary["pass_at_k"]["k"] == 4
    assert list(summarise([record([1.0] * 6)])["pass_at"]) == ["1", "2", "4", "6"]


OPTIONS = EvalOptions(samples=2, temperature=1.0, top_p=1.0, max_new_tokens=5, batch_size=3)


class Killed(Exception):
    pass


def killed_after(batches: int):
    seen = []

    def progress(done):
        seen.append(done)
        if sum(1 for n in seen if n) == batches:
            raise Killed

    return progress


@pytest.mark.parametrize("greedy", [False, True])
def test_a_killed_evaluation_goes_on_to_the_same_answers(tmp_path, greedy):
    model, tokenizer, rows = make_model("qwen3"), make_tokenizer(), make_rows(10)
    whole = generate(model, tokenizer, rows, OPTIONS, greedy, {})
    partial = tmp_path / "partial" / "sampled.pt"
    with pytest.raises(Killed):
        generate(model, tokenizer, rows, OPTIONS, greedy, {}, killed_after(2), partial)
    done = []
    again = generate(model, tokenizer, rows, OPTIONS, greedy, {}, done.append, partial)
    assert again == whole
    assert done == [6, 3, 1]  # two batches of three were not sampled again


def test_what_another_evaluation_left_is_not_used(tmp_path):
    model, tokenizer, rows = make_model("qwen3"), make_tokenizer(), make_rows(6)
    partial = tmp_path / "sampled.pt"
    generate(model, tokenizer, rows, OPTIONS, False, {}, partial=partial)
    done = []
    generate(make_model("olmo3"), tokenizer, rows, OPTIONS, False, {}, done.append, partial)
    assert done[0] == 0
    partial.write_bytes(b"cut short")
    generate(model, tokenizer, rows, OPTIONS, False, {}, done.append, partial)
    assert done[-3] == 0


def test_records_are_read_back_whatever_was_answered(tmp_path):
    records = [{"greedy": text} for text in ("a\nb", "a\u2028b", "a\x85b", "\x0b", "")]
    write_records(tmp_path / "records.jsonl", records)
    assert read_records(tmp_path / "records.jsonl") == records


def test_records_hold_every_answer_and_its_score(tmp_path):
    class Long:
        def grade(self, row, completion):
            return Grade(len(completion.split()) / 5, None, "passed")

    rows = [{**row, "family": "all"} for row in make_rows(4)]
    records = evaluate(make_model("qwen3"), make_tokenizer(), Long(), rows, OPTIONS, partial=tmp_path / "partial")
    assert [len(r["sampled"]) for r in records] == [2] * 4
    assert all(s == len(t.split()) / 5 for r in records for t, s in zip(r["sampled"], r["sampled_scores"], strict=True))
    assert sorted(p.name for p in (tmp_path / "partial").iterdir()) == ["greedy.pt", "sampled.pt"]
