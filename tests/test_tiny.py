"""The tiny world: splits, graders, tokenizer, base model and its recipe."""

from __future__ import annotations

import json
from itertools import islice
from random import Random

import pytest

from credit.context import DEFAULT_TEMPLATE, teacher_messages
from credit.tiny import BASE_PATH
from credit.tiny.families import FAMILIES, code, split_words
from credit.tiny.families.code import HEAD
from credit.tiny.task import (
    LEAK_PHRASES,
    SIZES,
    TinyTask,
    bearing_words,
    has_reasoning,
    items,
    leaks,
    row_of,
    split_of,
)

pytest.importorskip("transformers")

from credit.tiny.documents import documents
from credit.tiny.vocabulary import END_ID, SPECIAL, build_tokenizer, render, vocabulary

TASK = TinyTask()
OUTCOMES = {"passed", "wrong_answer", "format_error"}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def world_items(count: int = 300, split: str = "train"):
    return [item for family in FAMILIES for item in islice(items(family, split, seed=1), count)]


# --- rows and splits


def test_splits_are_disjoint_balanced_and_deterministic():
    seen: dict[str, str] = {}
    for split, size in SIZES.items():
        rows = TASK.rows(split)
        assert rows == TinyTask().rows(split)
        assert len(rows) == size
        assert [r["family"] for r in rows[:8]] == [*FAMILIES] * 2
        for family in FAMILIES:
            assert sum(r["family"] == family for r in rows) == size // len(FAMILIES)
        for row in rows:
            assert seen.setdefault(row["prompt"][1]["content"], split) == split
            assert split_of(row["family"], row["prompt"][1]["content"]) == split
    assert len(seen) == sum(SIZES.values())


def test_other_seeds_give_other_rows_of_the_same_split():
    rows = TinyTask(seed=5).rows("train", 64)
    assert rows != TASK.rows("train", 64)
    assert all(split_of(r["family"], r["prompt"][1]["content"]) == "train" for r in rows)


def test_rows_share_their_columns_and_survive_json():
    rows = TASK.rows("test", 40)
    assert rows == TASK.rows("test")[:40]
    assert len({tuple(row) for row in rows}) == 1
    assert json.loads(json.dumps(rows)) == rows
    assert len({row["id"] for row in rows}) == 40


def test_an_exhausted_family_ends_instead_of_looping(monkeypatch):
    monkeypatch.setattr("credit.tiny.task._PATIENCE", 3000)
    assert 0 < len(list(items("code", "validation"))) < 200


def test_the_example_in_the_docs_holds():
    row = TASK.rows("train", limit=8)[0]
    assert row["prompt"][1]["content"] == "write f : negate a , then subtract 4"
    assert TASK.grade(row, f"{HEAD} a").feedback == "f ( 3 , 2 ) expected - 7 got 3"


def test_bad_arguments_say_what_to_choose():
    with pytest.raises(ValueError, match="choose one of"):
        TASK.rows("dev")
    with pytest.raises(ValueError, match="choose some of"):
        TinyTask(families=("poetry",))


# --- graders


@pytest.mark.parametrize("family", FAMILIES)
def test_gold_passes_and_misconceptions_fail_with_feedback(family):
    for item in islice(items(family, "train", seed=2), 300):
        row = row_of(item)
        for text in (item.correct.terse, item.correct.reasoned, f"as shown above , {item.correct.terse}"):
            grade = TASK.grade(row, text)
            assert (grade.score, grade.feedback, grade.outcome) == (1.0, None, "passed"), (item, text)
        assert item.wrong
        for answer in item.wrong:
            for text in (answer.terse, answer.reasoned):
                grade = TASK.grade(row, text)
                assert (grade.score, grade.outcome) == (0.0, "wrong_answer"), (item, text)
                assert grade.feedback
                assert item.correct.terse not in grade.feedback
                assert len(text.split()) <= 48


@pytest.mark.parametrize("family", FAMILIES)
def test_broken_off_answers_never_pass_and_say_what_is_wanted(family):
    for item in islice(items(family, "train", seed=3), 30):
        row, said = row_of(item), item.correct.reasoned.split()
        for length in range(len(said) - 2):
            grade = TASK.grade(row, " ".join(said[:length]))
            assert grade.score == 0 or family == "code"  # a shorter expression may be the same function
            assert grade.feedback or grade.score == 1


def fuzz(rng: Random, texts: list[str]) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return "".join(
            chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x2FFF)))) for _ in range(rng.randrange(80))
        )
    said = rng.choice(texts).split()
    if kind == 1:
        rng.shuffle(said)
    elif kind == 2:
        for _ in range(3):
            said[rng.randrange(len(said))] = rng.choice(rng.choice(texts).split())
    else:
        said = said[rng.randrange(len(said)) :] + rng.choice(texts).split() * rng.randrange(4)
    return " ".join(said)


def test_grading_never_raises_and_is_deterministic():
    rng, world = Random(0), world_items(100)
    texts = [t for i in world for t in (i.correct.terse, i.correct.reasoned, i.wrong[0].reasoned)]
    rows = [row_of(item) for item in world]
    for _ in range(2000):
        text, row = fuzz(rng, texts), rng.choice(rows)
        grade = TASK.grade(row, text)
        assert grade == TASK.grade(row, text)
        assert grade.outcome in OUTCOMES
        assert grade.score == (grade.outcome == "passed")
        assert (grade.feedback is None) == (grade.outcome == "passed")
        assert has_reasoning(row, text) in (True, False, None)
        assert leaks(text) in (True, False)
        assert all(0 <= i < len(split_words(text)) for i in bearing_words(row, text))


@pytest.mark.parametrize(
    "body",
    [
        "", "a +", "( a", "a ** b", "__import__", "a . b", "f ( a , b )", "9 " * 60, "( " * 39 + "a", "007",
        "1 if a", "a b", "lambda : a", "a < b", "1.5", "'a'", "a @ b", "0x10", "١",
    ],
)  # fmt: skip
def test_code_outside_the_whitelist_is_a_format_error_or_wrong(body):
    row = TASK.rows("train", 1)[0]
    assert TASK.grade(row, f"{HEAD} {body}").score == 0


def test_code_feedback_is_about_the_first_failing_test():
    row = {**TASK.rows("train", 1)[0], "meta": json.dumps({"expected": [5, 7, 9, 5, 4]})}  # a + b
    assert TASK.grade(row, f"{HEAD} b + a").score == 1
    assert TASK.grade(row, f"{HEAD} a - b").feedback == "f ( 3 , 2 ) expected 5 got 1"
    assert TASK.grade(row, f"{HEAD} ( a + b ) / 1").feedback == "f ( 3 , 2 ) wanted int got float"
    assert TASK.grade(row, f"{HEAD} a // ( b - 2 )").feedback == "f ( 3 , 2 ) failed"
    assert TASK.grade(row, f"{HEAD} " + "a * " * 9 + "a").feedback == "f ( 3 , 2 ) expected 5 got a large number"
    assert TASK.grade(row, f"{HEAD} " + "999 * " * 18 + "a").feedback == "f ( 3 , 2 ) expected 5 got a large number"


def test_the_sandbox_and_the_walk_over_expressions_agree(caplog):
    rng = Random(0)
    words = ["a", "b", "(", ")", "+", "-", "*", "/", "//", "%", "0", "1", "2", "999"]
    row = {**TASK.rows("train", 1)[0], "meta": json.dumps({"expected": [5, 7, 9, 5, 4]})}
    seen = set()
    for _ in range(3000):
        body = " ".join(rng.choice(words) for _ in range(rng.randrange(1, 8)))
        walked = code.grade(row, f"{HEAD} {body}")
        if walked.outcome != "format_error":
            assert TASK.grade(row, f"{HEAD} {body}") == walked, body
            seen.add(walked.feedback)
    assert {"f ( 3 , 2 ) failed", "f ( 3 , 2 ) wanted int got float"} <= seen
    assert len(seen) > 10
    assert caplog.records == []  # a sandbox was there


def test_without_a_sandbox_the_code_family_says_so_and_grades_the_same(monkeypatch, caplog):
    def nothing_proven(*args):
        raise RuntimeError("no level of protection can be proven on this machine")

    monkeypatch.setattr("credit.tiny.task.shared_sandbox", nothing_proven)
    task = TinyTask()
    row = task.rows("train", 1)[0]
    assert task.grade(row, row["answer"]) == TASK.grade(row, row["answer"])
    assert "graded by walking its expressions" in caplog.text


# --- what can be measured on an answer


def test_reasoning_leak_and_bearing_words():
    for item in world_items(20):
        row, needed = row_of(item), FAMILIES[item.family].NEEDS_REASONING
        assert has_reasoning(row, item.correct.reasoned) is (True if needed else None)
        assert has_reasoning(row, item.correct.terse) is (False if needed else None)
        assert has_reasoning(row, item.wrong[0].reasoned) is (True if needed else None)
        assert FAMILIES[item.family].reasons(row, item.correct.reasoned)
        assert not FAMILIES[item.family].reasons(row, item.correct.terse)
        assert not leaks(item.correct.reasoned)
        assert all(leaks(f"{phrase} , {item.correct.terse}") for phrase in LEAK_PHRASES)
        # Where a right and a wrong answer of equal length differ, the word bears the answer in one of them.
        right, wrong = split_words(item.correct.reasoned), split_words(item.wrong[0].reasoned)
        if len(right) == len(wrong):
            marked = {*bearing_words(row, item.correct.reasoned), *bearing_words(row, item.wrong[0].reasoned)}
            assert {i for i, pair in enumerate(zip(right, wrong, strict=True)) if pair[0] != pair[1]} <= marked
        assert 0 < len(bearing_words(row, item.correct.reasoned)) < len(right)


# --- tokenizer and chat template


def test_every_text_of_the_world_round_trips(tokenizer):
    texts = []
    for item in world_items(150):
        row = row_of(item)
        attempts = [item.correct, *item.wrong]
        texts += [m["content"] for m in row["prompt"]] + [a.terse for a in attempts] + [a.reasoned for a in attempts]
        texts += [TASK.grade(row, a.reasoned).feedback or "" for a in attempts] + [TASK.grade(row, "?").feedback or ""]
    texts += [f"{phrase} ," for phrase in LEAK_PHRASES]
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids
        assert len(ids) == len(split_words(text))


def test_documents_and_teacher_prompts_have_no_unknown_words(tokenizer):
    for document in islice(documents(seed=3), 500):
        text = render(tokenizer, document.messages) + document.completion
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.unk_token_id not in ids
        assert len(ids) <= 256
    shown = tokenizer.encode(DEFAULT_TEMPLATE.render("", "a ... b", "f failed"), add_special_tokens=False)
    assert tokenizer.unk_token_id not in shown


def test_vocabulary_is_small_and_distinct():
    words = vocabulary()
    assert len(words) == len(set(words))
    assert 250 <= len(words) <= 450
    assert tuple(words[: len(SPECIAL)]) == SPECIAL


def test_chat_template_is_a_prefix_of_the_finished_turn(tokenizer):
    for item in world_items(10):
        prompt = teacher_messages(row_of(item)["prompt"], item.correct.terse, None)
        begun = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, tokenize=True, return_dict=False, enable_thinking=False
        )
        turn = {"role": "assistant", "content": item.correct.reasoned}
        whole = tokenizer.apply_chat_template([*prompt, turn], tokenize=True, return_dict=False)
        answer = tokenizer.encode(item.correct.reasoned, add_special_tokens=False)
        assert whole == [*begun, *answer, END_ID]
        assert tokenizer.eos_token_id == END_ID


# --- documents


def test_documents_are_seeded_and_use_train_prompts_only():
    first = list(islice(documents(seed=0), 400))
    assert first == list(islice(documents(seed=0), 400))
    assert first != list(islice(documents(seed=1), 400))
    held_out = {row["prompt"][1]["content"] for s in ("validation", "test") for row in TASK.rows(s)}
    assert not {d.messages[-1]["content"].split("\n")[0] for d in first} & held_out


# --- the base model and its recipe


def test_pretraining_is_deterministic(tmp_path):
    from safetensors.torch import load_file

    from credit.tiny.pretrain import pretrain

    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pretrain(tmp_path / name, steps=3, seed=seed, log_every=0)
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all((a[key] == b[key]).all() for key in a)
    assert any((a[key] != c[key]).any() for key in a)
    json.loads((tmp_path / "a" / "training.json").read_text())


def test_base_is_small_complete_and_current(tokenizer):
    from transformers import AutoTokenizer

    assert sum(f.stat().st_size for f in BASE_PATH.iterdir()) < 4_000_000
    saved = AutoTokenizer.from_pretrained(BASE_PATH)
    assert saved.get_vocab() == tokenizer.get_vocab()
    assert saved.chat_template == tokenizer.chat_template
    assert (saved.eos_token_id, saved.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert saved.decode(saved.encode("s1 : ( a )", add_special_tokens=False)) == "s1 : ( a )"


def test_base_card_comes_from_its_measurements():
    from credit.tiny.card import card

    measured = json.loads((BASE_PATH / "measurements.json").read_text())
    assert (BASE_PATH / "README.md").read_text() == card(measured)


def test_base_does_what_its_measurements_say():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from credit.tiny.measure import sample, summary

    measured = json.loads((BASE_PATH / "measurements.json").read_text())
    saved = AutoTokenizer.from_pretrained(BASE_PATH)
    model = AutoModelForCausalLM.from_pretrained(BASE_PATH).eval()
    rows = TASK.rows("test", 64) * 2
    found = summary(list(zip(rows, sample(model, saved, [r["prompt"] for r in rows]), strict=True)))
    for key in ("accuracy", "reasoning_kept"):
        assert found[key] == pytest.approx(measured["alone"][key], abs=0.2)
    assert found["words"] < 48
