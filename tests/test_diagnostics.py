"""Diagnostics: numbers by hand on three responses, then odd input by name. Models come in test_diagnose.py."""

import json
import math
import re

import pytest

from credit.credit_log import TOKEN_COLUMNS, write_token_credit
from credit.diagnostics import OddRollout, Rollouts, auroc, diagnose, measure, read_rollouts
from credit.diagnostics.marks import Marks
from credit.diagnostics.offsets import marked_tokens, token_at, token_ends
from credit.diagnostics.summary import MEANING
from credit.statistics import bootstrap_ratio
from credit.tasks import get_task

NAN = math.nan


def word_ends(text: str) -> list[int]:
    """Ends of the words of a text with single spaces, and of an end token that writes nothing."""
    ends, at = [], 0
    for number, word in enumerate(text.split(" ")):
        at += len(word) + (number > 0)
        ends.append(at)
    return [*ends, at]


def rollout(row, text, score, r, S, R, gap=None, **more):
    size = len(r)
    return {
        "prompt": row["prompt"], "completion": text, "score": score, "step": 7,
        "token_ids": list(range(size)), "ends": word_ends(text), "r": r, "S": S, "R": R,
        "G": [-1.0] * size, "logp_student": [-1.0] * size,
        "logp_teacher_nofeedback": [NAN] * size if gap is None else [-1.0 - g for g in gap],
        **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def three():
    """A right and a wrong answer to one question about units, and a walk whose third place is wrong."""
    task = get_task("tiny")
    rows = task.rows("train", 40)
    facts = next(row for row in rows if row["family"] == "facts")
    gold, options = facts["answer"], json.loads(facts["meta"])["options"]
    wrong = next(option for option in options if option != gold)
    route = next(row for row in rows if row["family"] == "route")
    meta = json.loads(route["meta"])
    places = [*meta["places"][:2], *["s0" if p != "s0" else "s1" for p in meta["places"][2:]]]
    steps = " ".join(f"{n} {d} {p}" for n, d, p in zip("1234", meta["directions"], places, strict=True))
    walk = f"from {meta['start']} {steps} . so answer {places[-1]}"
    r = [0.0, 0.1, *[0.0, 0.0, 0.5] * 2, 0.0, 0.0, -3.0, 0.0, 0.0, -0.5, 0.0, 0.0, 0.0, -0.5, 0.0]
    assert len(r) == len(walk.split()) + 1
    return task, [
        rollout(facts, f"answer {gold}", 1.0, [0.1, 1.2, 0.0], [0.0, 2.0, -0.1], [0.1, 3.2, -0.1], gap=[0.1, 0.2, 0.0]),
        rollout(facts, f"answer {wrong}", 0.0, [0.2, -2.0, 0.4], [0.3, 0.5, -1.0], [0.5, -1.5, -0.6]),
        rollout(route, walk, 0.0, r, [NAN] * len(r), r, gap=[0.0] * len(r)),
    ]


def test_three_responses_by_hand(three):
    task, rollouts = three
    result = diagnose(rollouts, task)
    right, wrong, walk = result["responses"]

    assert right["pmi"] == pytest.approx(1.3)
    assert (right["S"], right["G"], right["R"]) == pytest.approx((1.9, -3.0, 3.2))
    assert right["weight_gap"] == pytest.approx(0.3)
    assert (right["generic_tokens"], right["generic_credit"], right["credit"]) == (
        2,
        pytest.approx(0.2),
        pytest.approx(3.4),
    )
    assert (right["bearing_tokens"], right["bearing_credit"]) == (1, pytest.approx(3.2))
    assert right["auroc_bearing"] == {"r": 1.0, "S": 1.0, "R": 1.0}
    assert right["auroc_error"] == {"r": None, "S": None, "R": None}  # nothing is wrong

    assert wrong["pmi"] == pytest.approx(-1.4)
    assert wrong["weight_gap"] is None
    assert (wrong["generic_tokens"], wrong["generic_credit"]) == (2, pytest.approx(2.0))
    assert wrong["auroc_bearing"] == {"r": 1.0, "S": 0.5, "R": 1.0}  # |S|: 0.5 against 0.3 and 1.0
    assert wrong["auroc_error"] == {"r": 1.0, "S": 0.0, "R": 1.0}  # -S: -0.5 against -0.3 and 1.0

    assert walk["tokens"] == 19
    assert walk["pmi"] == pytest.approx(0.1 + 1.0 - 3.0 - 1.0)
    assert (walk["S"], walk["generic_tokens"], walk["generic_credit"]) == (None, None, None)
    assert (walk["bearing_tokens"], walk["bearing_credit"]) == (5, pytest.approx(0.5 * 2 + 3.0 + 0.5 * 2))
    assert walk["auroc_error"] == {"r": 1.0, "S": None, "R": 1.0}
    # 5 places at 0.5, 0.5, 3, 0.5, 0.5 against 13 zeros and one 0.1
    assert walk["auroc_bearing"] == {"r": 1.0, "S": None, "R": 1.0}

    summary = result["summary"]
    assert list(summary) == list(MEANING)
    # The unit is the prompt: the first two responses count as one.
    assert summary["pmi"]["n"] == 2
    assert summary["pmi"]["mean"] == pytest.approx(((1.3 - 1.4) / 2 - 2.9) / 2)
    assert summary["pmi_of_successes"] == {"n": 1, "mean": pytest.approx(1.3), "low": None, "high": None}
    assert summary["pmi_of_failures"]["mean"] == pytest.approx((-1.4 - 2.9) / 2)
    assert summary["r_per_token"]["mean"] == pytest.approx(((1.3 / 3 - 1.4 / 3) / 2 - 2.9 / 19) / 2)
    assert summary["weight_gap_per_token"]["mean"] == pytest.approx((0.1 + 0.0) / 2)
    assert summary["credit_on_generic_tokens"]["mean"] == pytest.approx((0.2 + 2.0) / (3.4 + 2.6))
    assert summary["generic_tokens"]["mean"] == pytest.approx(4 / 6)
    assert summary["credit_on_answer_tokens"]["mean"] == pytest.approx(
        ((3.2 + 1.5) / 2 + 5.0) / ((3.4 + 2.6) / 2 + 5.1)
    )
    assert summary["answer_tokens"]["mean"] == pytest.approx((1 + 5) / (3 + 19))
    assert summary["auroc_answer_S"]["mean"] == pytest.approx(0.75)
    assert summary["auroc_error_S"] == {"n": 1, "mean": 0.0, "low": None, "high": None}
    assert result["counts"] == {
        "responses": 3, "measured": 3, "tokens": 25, "without_negative": 1, "without_task_knowledge": 0
    }  # fmt: skip
    assert result["problems"] == []


def test_what_the_task_does_not_know_is_said(three):
    _, rollouts = three
    result = diagnose(rollouts)
    assert result["counts"]["without_task_knowledge"] == 3
    assert all(result["summary"][name] is None for name in MEANING if "answer" in name or "error" in name)
    strangers = [{**rollouts[0], "prompt": "another question"}, {**rollouts[1], "ends": None}]
    said = diagnose(strangers, get_task("tiny"))["problems"]
    assert said == [
        "Not known which tokens carry the answer in 1 of the responses: their prompt is not one of the task's.",
        "Not known which tokens carry the answer in 1 of the responses: their tokens do not spell their text.",
    ]


def test_one_token_has_sums_but_nothing_to_rank():
    found = measure({"token_ids": [5], "r": [0.7], "S": [0.1], "G": [-0.3], "R": [0.6]}, Marks([True], None, 0))
    assert found is not None
    assert (found.tokens, found.pmi, found.R) == (1, 0.7, 0.6)
    assert found.auroc_bearing == found.auroc_error == {"r": None, "S": None, "R": None}


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"token_ids": [], "r": [], "R": []}, "the response is empty"),
        ({"token_ids": None, "r": None}, "the response is empty"),
        ({"token_ids": None, "r": None, "completion": "a"}, "it has neither tokens nor r"),
        ({"r": None}, "it has no r (a response without a teacher has a list of NaN)"),
        ({"r": [[1, 2], [3, 4], [5, 6]]}, "r holds lists, not numbers"),
        ({"r": [10**400, 0.1, 0.2]}, "r holds something that is no number"),
        ({"logp_student": [-1.0] * 3, "logp_teacher": [-1.0] * 3}, "r is not logp_teacher - logp_student"),
        ({"r": [0.1, NAN, 0.3]}, "r is not a finite number at 1 of 3 tokens (the first is token 2: nan)"),
        ({"r": [0.1, 0.2, None]}, "r is not a finite number at 1 of 3 tokens (the first is token 3: nan)"),
        ({"S": [math.inf, 0.1, 0.2]}, "S is not a finite number at 1 of 3 tokens (the first is token 1: inf)"),
        ({"R": [NAN, NAN, NAN]}, "there is r but no R"),
        ({"R": None}, "there is r but no R"),
        ({"r": [0.1, 0.2]}, "r has 2 values for 3 tokens"),
        ({"G": ["a", 0.1, 0.2]}, "G holds something that is no number"),
    ],
)
def test_odd_rollouts_are_named_and_left_out(odd, said):
    sound = {"token_ids": [1, 2, 3], "r": [0.1, 0.2, 0.3], "S": [0.1] * 3, "G": [0.1] * 3, "R": [0.1] * 3}
    with pytest.raises(OddRollout) as problem:
        measure({**sound, **odd})
    assert str(problem.value) == said
    result = diagnose([{**sound, "prompt": "a"}, {**sound, **odd, "prompt": "b"}])
    assert result["counts"]["odd"] == result["counts"]["measured"] == 1
    assert result["problems"] == [f"rollouts, row 2: {said}; left out."]
    assert result["summary"]["pmi"]["mean"] == pytest.approx(0.6)  # no zero was averaged in


def test_no_teacher_is_counted_not_averaged():
    none = {"prompt": "b", "token_ids": [1, 2], **{name: [NAN, NAN] for name in TOKEN_COLUMNS}}
    result = diagnose([none, none])
    assert result["counts"]["without_teacher"] == 2
    assert set(result["summary"].values()) == {None}
    assert result["problems"] == ["No response could be measured: each is odd or has no teacher."]


def test_many_odd_rollouts_are_counted():
    result = diagnose([{"prompt": str(i), "token_ids": [], "r": []} for i in range(8)])
    assert len(result["problems"]) == 7
    assert result["problems"][5] == "3 more responses are left out like these."


def test_auroc_by_hand():
    import numpy as np

    scores, marks = np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, False, True, False])
    assert auroc(scores, marks) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert auroc(scores, np.array([True] * 4)) is None
    assert auroc(None, marks) is None


def test_bootstrap_ratio_is_the_pooled_share():
    found = bootstrap_ratio([1.0, 0.0, 3.0], [2.0, 2.0, 4.0])
    assert found["mean"] == 0.5
    assert 0.0 <= found["low"] < 0.5 < found["high"] <= 0.75
    with pytest.raises(ValueError, match="nothing to take a share of"):
        bootstrap_ratio([0.0], [0.0])
    with pytest.raises(ValueError, match="differ in number: 1 and 2"):
        bootstrap_ratio([0.0], [0.0, 1.0])


# Tokens in text


def test_token_ends_follow_bytes_and_spaces():
    pieces = [b"caf", b"\xc3", b"\xa9", b" au", b" lait", b""]

    def decode(ids):
        return b"".join(pieces[i] for i in ids).decode(errors="replace")

    text = "café au lait"
    assert token_ends(range(6), decode, text) == [3, 3, 4, 7, 12, 12]
    assert token_ends(range(5), decode, "other") is None
    assert token_ends([], decode, "") == []
    assert token_ends([0, 1], decode, "caf") == [3, 3]  # cut in the middle of a character


def test_token_ends_when_the_first_token_loses_its_space():
    """Sentence pieces write a space before every word, and decoding drops the first."""
    pieces = ["▁a", "▁b", "c"]

    def decode(ids):
        return "".join(pieces[i] for i in ids).replace("▁", " ").removeprefix(" ")

    assert token_ends(range(3), decode, "a bc") == [1, 3, 4]


def test_marks_on_text_become_marks_on_tokens():
    ends = [3, 3, 4, 7, 12]
    assert marked_tokens(ends, [(3, 4), (8, 12)]) == [False, False, True, False, True]
    assert marked_tokens(ends, []) == [False] * 5
    assert (token_at(ends, 3), token_at(ends, 0), token_at(ends, 12)) == (2, 0, None)


def test_tiny_families_know_their_first_error():
    task = get_task("tiny")
    rows = {row["family"]: row for row in reversed(task.rows("train", 8))}
    facts, tools, code = rows["facts"], rows["tools"], rows["code"]
    wrong = next(o for o in json.loads(facts["meta"])["options"] if o != facts["answer"])
    assert task.first_error(facts, f"it is measured in {wrong} . so answer {wrong}") == len("it is measured in ")
    assert task.first_error(facts, f"answer {facts['answer']}") is None
    assert task.choices(facts, f"answer {wrong}") == (json.loads(facts["meta"])["options"], len("answer "))
    assert task.choices(code, "answer") is None
    good = tools["answer"]
    assert task.first_error(tools, good) is None
    meta = json.loads(tools["meta"])
    name, value = next(iter(meta["arguments"].items()))
    other = "call " + good.split(" ", 2)[1] + " { " + name + " : nothing }"
    assert task.first_error(tools, other) == other.index("nothing")
    assert task.first_error(tools, good.replace(meta["tool"], "no_tool")) in (None, good.index(meta["tool"]))
    assert task.first_error(code, "anything") is None
    assert value in good


# Files


def test_missing_columns_are_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "step_000010.parquet"
    pq.write_table(
        pa.table({"prompt": ["a"], "completion": ["b"], "token_ids": [[1]], "r": [[0.5]], "R": [[0.5]]}), path
    )
    result = diagnose(read_rollouts(path))
    assert result["problems"] == [
        "step_000010.parquet has no column logp_student, logp_teacher, logp_teacher_nofeedback, S, G, baseline: what "
        "needs it is left out."
    ]
    assert result["summary"]["S_per_token"] is None
    assert result["summary"]["pmi"]["mean"] == 0.5


def test_written_token_credit_reads_back_the_same(tmp_path, three):
    task, rollouts = three
    path = tmp_path / "credit.parquet"
    full = [
        {"row": 0, "group": 0, "solution": None, "feedback": None, "negatives": [], "tokens": ["t"] * len(r["r"]),
         "logp_teacher": [x - 1.0 for x in r["r"]], **r, "prompt": json.dumps(r["prompt"])}
        for r in rollouts
    ]  # fmt: skip
    write_token_credit(path, full)
    again, direct = diagnose(read_rollouts(path), task), diagnose(rollouts, task)
    assert again["summary"]["credit_on_answer_tokens"]["mean"] == pytest.approx(
        direct["summary"]["credit_on_answer_tokens"]["mean"], rel=1e-6
    )
    assert again["counts"] == direct["counts"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            '{"prompt": "a"}',
            "rollouts.jsonl, row 1: field 'completion' is missing. Every rollout needs prompt and completion.",
        ),
        ('{"completion": "a"}', "rollouts.jsonl, row 1: field 'prompt' is missing."),
        ('{"prompt": "a", "completion": 3}', "rollouts.jsonl, row 1: field 'completion' must be text (valid Unicode)"),
        ('["a"]', "rollouts.jsonl, row 1: is a list. Write one JSON object per line."),
        ("{", "rollouts.jsonl, row 1: not valid JSON in UTF-8"),
        ("[" * 100_000, "rollouts.jsonl, row 1: not valid JSON in UTF-8"),
        ('{"prompt": {"a": 1}, "completion": ""}', "row 1: field 'prompt' must be text, or messages with 'role'"),
        ('{"prompt": [{"role": "system", "content": "a"}], "completion": ""}', "one of them the user's"),
        ('{"prompt": "a", "completion": "\\ud800"}', "row 1: field 'completion' must be text (valid Unicode)"),
        ('{"prompt": "a", "completion": "", "score": "1"}', "row 1: field 'score' must be a finite number. Mend it"),
        ('{"prompt": "a", "completion": "", "score": NaN}', "row 1: field 'score' must be a finite number."),
        ('{"prompt": "a", "completion": "", "options": "ab"}', "row 1: field 'options' must be a list of texts."),
        (
            '{"prompt": "a", "completion": "", "token_ids": [1.5]}',
            "field 'token_ids' must be a list of token ids",
        ),
        ('{"prompt": "a", "completion": "", "r": ["0.1"]}', "row 1: field 'r' must be a list of numbers."),
        ('{"prompt": "a", "completion": "", "feedback": 3}', "row 1: field 'feedback' must be text."),
        ('{"prompt": "a", "sampled": ["x"], "sampled_scores": [1, 0]}', "'sampled_scores' has 2 values for 1 answers"),
        ("", "rollouts.jsonl holds no rollouts."),
    ],
)
def test_bad_files_are_refused_by_file_row_and_field(tmp_path, line, said):
    path = tmp_path / "rollouts.jsonl"
    path.write_text(line)
    with pytest.raises(ValueError, match=re.escape(said)):
        read_rollouts(path)


def test_damaged_and_absent_files_are_named(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ValueError, match=r"bad.parquet is not a readable Parquet file"):
        read_rollouts(tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match=r"none.jsonl is neither a run nor a file of rollouts"):
        read_rollouts(tmp_path / "none.jsonl")


def test_answers_of_an_evaluation_are_rollouts(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"prompt": "a", "sampled": ["x", "y"], "sampled_scores": [1.0, 0.0]}) + "\n")
    found = read_rollouts(path)
    assert found.rows == [
        {"prompt": "a", "completion": "x", "score": 1.0},
        {"prompt": "a", "completion": "y", "score": 0.0},
    ]
    assert not found.scored
    assert found.where(1) == "answers.jsonl, row 1"  # both answers stand in one row
    assert Rollouts("none", []).scored is False
