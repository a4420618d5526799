"""Rows of people's own, their graders, and the registry."""

import json

import pytest

from credit.tasks import Grade, get_task
from credit.tasks.graders import GRADERS, choice, exact, final_answer
from credit.tasks.rows import RowsTask, load_rows


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>B</answer>", "B"),
        ("<answer>A</answer> no, <ANSWER>\n C \n</ANSWER>", "C"),
        ("so the answer is 42.", "42."),
        ("Answer: x\nthen Answer: y", "y"),
        ("first line\n last line \n\n", "last line"),
        ("", ""),
    ],
)
def test_the_final_answer_is_the_last_one_stated(text, answer):
    assert final_answer(text) == answer


def test_exact_ignores_case_spacing_and_a_full_stop_only():
    assert exact("Blue  whale", "the answer is blue whale.") == Grade(1.0, None, "passed")
    assert exact("42", "The answer is 43").outcome == "wrong_answer"
    assert exact("42", "The answer is 4 2").score == 0.0
    assert exact("4.5", "answer: 45").score == 0.0
    assert "43" in (exact("42", "answer: 43").feedback or "")
    assert exact("42", "  \n ").outcome == "format_error"


def test_choice_reads_letters_in_the_forms_models_write_and_tells_format_from_wrong():
    for text in ("<answer>\nB\n</answer>", "<answer>(b)</answer>", "<answer>B: 56 pC</answer>", "The answer is **B**."):
        assert choice("B", text) == Grade(1.0, None, "passed"), text
    assert choice("B", "<answer>A</answer>") == Grade(0.0, None, "wrong_answer")
    for text in ("", "<answer>56 pC</answer>", "<answer>Both</answer>", "A charge moves", "Answer: a good one"):
        assert choice("B", text).outcome == "format_error", text


def test_wrong_grades_never_reveal_the_right_answer():
    for grade in (exact("secret", "answer: x"), choice("C", "no letter: 12"), choice("C", "<answer>A</answer>")):
        assert "secret" not in (grade.feedback or "")
        assert " C" not in (grade.feedback or "")


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def test_rows_in_benchmark_layout_become_conversations_with_their_system_text(tmp_path):
    row = {
        "idx": 3, "kind": "mcq", "answer": "B", "elo": 1500, "prompt": "Which?\nA: x\nB: y", "tests": "-",
        "embedding": [], "system": "Use <answer>.",
    }  # fmt: skip
    (loaded,) = load_rows(write(tmp_path / "rows.jsonl", [row]), "train")
    assert loaded["prompt"] == [
        {"role": "system", "content": "Use <answer>."},
        {"role": "user", "content": "Which?\nA: x\nB: y"},
    ]
    assert loaded["answer"] == "B"


def test_a_tenth_of_the_prompts_is_held_out_by_content_and_never_trained_on(tmp_path):
    rows = [{"prompt": f"question {i // 2}", "answer": "x"} for i in range(100)]
    task = RowsTask(write(tmp_path / "rows.jsonl", rows))
    train, test = ([r["prompt"][0]["content"] for r in task.rows(s)] for s in ("train", "test"))
    assert len(set(test)) == 5
    assert not set(train) & set(test)
    assert len(train) + len(test) == 100
    backwards = RowsTask(write(tmp_path / "backwards.jsonl", rows[::-1]))
    assert {r["prompt"][0]["content"] for r in backwards.rows("test")} == set(test)


def test_parquet_rows_and_numbers_as_answers(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([{"prompt": "2 + 2", "answer": 4}]), tmp_path / "rows.parquet")
    (row,) = load_rows(str(tmp_path / "rows.parquet"), "train")
    assert GRADERS["exact"](row, "4").score == 1.0


def test_choice_rows_need_one_letter(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"prompt": "a", "answer": "A"}, {"prompt": "b", "answer": "BC"}])
    with pytest.raises(ValueError, match=r"rows.jsonl, row 2: field 'answer' is 'BC'"):
        RowsTask(path, grader="choice")


def test_unknown_tasks_and_splits_are_named(tmp_path):
    assert get_task("tiny").name == "tiny"
    with pytest.raises(ValueError, match="Use one of tiny"):
        get_task("tinny")
    task = RowsTask(write(tmp_path / "r.jsonl", [{"prompt": f"q{i}", "answer": "x"} for i in range(9)]))
    with pytest.raises(ValueError, match="Use one of train, test"):
        task.rows("validation")
