"""Ten thousand broken rows and odd answers: graders never raise and never waver, loaders name file and row."""

import json
import time
from random import Random

import pytest

from credit.tasks import get_task
from credit.tasks.code_text import extract_code
from credit.tasks.graders import choice, exact, options_of
from credit.tasks.livecodebench import LiveCodeBench
from credit.tasks.problems import ProblemsTask
from credit.tasks.react import documented_tools
from credit.tasks.rows import RowsTask
from credit.tasks.science import Science
from credit.tasks.tooluse import ToolUse
from test_task_formats import FIND, GOOD, PROMPT, call

COMPLETIONS, ROWS = 6000, 4000
QUESTION = "Which is green?\n\nA: a frog\nB: B. subtilis\nC: 10 mW\nD: $x_2$\nPlease reason step by step."
PIECES = [
    "<answer>", "</answer>", "A", "b", "(C)", "**D**", ".", ":", ",", " and ", "\n", " ", "answer is ", "Answer:",
    "option ",
    "\\boxed{", "}", "{", "$", "a frog", "B. subtilis", "1,000", "42.0", "-", "\N{MINUS SIGN}", "1e9", "9" * 5000,
    "<think>",
    "</think>", "Action: ", "Action Input: ", "findFrog", "feed", GOOD, '{"limit": 2', '"', "\\", "[", "]", "null",
    "NaN", "1e999",
    "```", "```python\n", "print(1)", "~~~", "\x00", "\ud800", "\u202e", "\N{GREEK SMALL LETTER ALPHA}", "[" * 3000,
    '{"a":' * 3000,
    call("findFrog", GOOD), "\\ud800", "A" * 3000, "\r", "\u2028", "'",
]  # fmt: skip
VALUES = [
    None, True, False, 0, -1, 1.5, 1e308, "", " ", "x", "A", "E", "[", "{}", "[]", "[{}]", "\x00", "\ud800", [], [1],
    {}, {"a": []}, [[]],
    [{}], [None], [{"role": "user"}], [{"role": 1, "content": "x"}], [{"role": "user", "content": QUESTION}],
    "[" * 5000, "9" * 5000,
    [{"Action": "x"}], [{"Action": 1, "Action_Input": {}}], [{"Action": "x", "Action_Input": "{"}],
    '{"func_name": 3}', "[null]",
    [{"input": 1, "output": 2}], [{"input": "", "output": ""}], [{"call": "f", "args": 1, "expected": 1}],
    [{"call": "1f", "args": []}],
    '[{"input": 3, "output": "", "testtype": "stdin"}]', "2025-01-01", "2025-99-99",
]  # fmt: skip
CODE = {"prompt": "p", "tests": [{"input": "1", "output": "1"}], "solution": "x"}
SCIENCE = {"prompt": QUESTION, "answer": "A", "system": "s", "kind": "mcq", "idx": 1}
TOOLS = {"prompt": PROMPT, "answer": json.dumps([FIND]), "system": None, "kind": "tooluse"}
LCB = {
    "question_id": "q", "question_content": "print", "starter_code": "", "contest_date": "2025-03-01T00:00:00",
    "difficulty": "easy",
    "public_test_cases": '[{"input": "1", "output": "1", "testtype": "stdin"}]', "private_test_cases": "[]",
    "metadata": "{}",
}  # fmt: skip
LOADERS = {
    "science": (SCIENCE, lambda path, skip: Science(path, skip_bad_rows=skip)),
    "tooluse": (TOOLS, lambda path, skip: ToolUse(path, skip_bad_rows=skip)),
    "exact": ({"prompt": "p", "answer": "x"}, lambda path, skip: RowsTask(path, skip_bad_rows=skip)),
    "choice": ({"prompt": QUESTION, "answer": "A"}, lambda path, skip: RowsTask(path, "choice", skip_bad_rows=skip)),
    "code": (CODE, lambda path, skip: ProblemsTask(path, skip_bad_rows=skip)),
    "livecodebench": (LCB, lambda path, skip: LiveCodeBench(path, skip_bad_rows=skip)),
}  # fmt: skip


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_graders_never_raise_and_never_waver(tmp_path):
    rng = Random(5)
    tools = ToolUse(write(tmp_path / "t.jsonl", [{**TOOLS, "prompt": f"{PROMPT} {i}"} for i in range(2)]))
    revealing = ToolUse(str(tmp_path / "t.jsonl"), feedback="gold")
    tool_row = tools.rows("train")[0]
    tiny = get_task("tiny", families=("facts", "route", "tools"))
    tiny_rows, options = tiny.rows("train", 30), options_of(QUESTION)
    seen = set()
    for _ in range(COMPLETIONS):
        text = "".join(rng.choices(PIECES, k=rng.randint(0, 8)))
        tiny_row = rng.choice(tiny_rows)
        graders = {
            "exact": lambda text=text: exact("42", text),
            "choice": lambda text=text: choice("B", text, options),
            "letters": lambda text=text: choice("B", text),
            "tooluse": lambda text=text: tools.grade(tool_row, text),
            "gold": lambda text=text: revealing.grade(tool_row, text),
            "tiny": lambda text=text, row=tiny_row: tiny.grade(row, text),
        }
        for name, grade in graders.items():
            first = grade()
            assert grade() == first, (name, text)
            assert (first.outcome == "passed") == (first.score == 1.0), (name, text)
            assert first.outcome in ("passed", "wrong_answer", "format_error")
            assert "\ud800" not in (first.feedback or "")
            seen.add((name, first.outcome))
        assert extract_code(text) == extract_code(text)
    codes = ProblemsTask(write(tmp_path / "c.jsonl", [{**CODE, "prompt": f"{i}"} for i in range(2)]))
    for _ in range(60):
        text = "".join(rng.choices(["```python\n", "print(1)", "\n", "\n```\n", "1 / 0", "print(input())", "}"], k=5))
        first = codes.grade(codes.rows("train")[0], text)
        assert codes.grade(codes.rows("train")[0], text).outcome == first.outcome
    expected = {(name, outcome) for name in ("exact", "choice", "letters", "tooluse", "gold") for outcome in
                ("passed", "wrong_answer", "format_error")}  # fmt: skip
    assert expected <= seen  # the texts reach every outcome


def test_no_text_makes_a_grader_slow(tmp_path):
    """Every pattern is linear: sixty thousand characters of any piece take well under a second."""
    tools = ToolUse(write(tmp_path / "t.jsonl", [{**TOOLS, "prompt": f"{PROMPT} {i}"} for i in range(2)]))
    row, options = tools.rows("train")[0], options_of(QUESTION)
    for piece in [
        *PIECES,
        "Action: x\nAction Input: {}\n",
        "A: x\n",
        "x: y\nParameters: {",
        "a: ",
        "\\text{",
        "``` ",
        "\n ",
    ]:
        text, start = piece * (60_000 // len(piece)), time.process_time()
        for grade in (exact, lambda answer, text: choice(answer, text, options)):
            grade("42", text)
        tools.grade(row, text)
        assert documented_tools(text) == documented_tools(text)
        assert options_of(text) == options_of(text)
        assert extract_code(text) == extract_code(text)
        assert time.process_time() - start < 2.0, piece[:40]


@pytest.mark.parametrize("name", LOADERS)
def test_a_broken_row_is_named_and_can_be_left_out(name, tmp_path):
    good, load = LOADERS[name]
    rng, refused = Random(name), 0
    whole = [dict(good, **({"question_id": i} if name == "livecodebench" else {})) for i in range(3)]
    for i, row in enumerate(whole):
        key = "question_content" if name == "livecodebench" else "prompt"
        row[key] = f"{i} {row[key]}"
    for _ in range(ROWS // len(LOADERS) // 8):
        broken = [_broken(rng, whole[0]) for _ in range(8)]
        path = write(tmp_path / "rows.jsonl", [*whole, *broken])
        kept = load(path, True)  # leaves the bad ones out, whatever they are
        for problem in kept.bad_rows:
            assert "rows.jsonl, row " in problem
        if kept.bad_rows:
            refused += len(kept.bad_rows)
            with pytest.raises(ValueError, match=r"rows\.jsonl, row \d+") as error:
                load(path, False)
            assert str(error.value) == kept.bad_rows[0]
        for split in ("train", "test") if name != "code" else ():
            for row in kept.rows(split):
                if name != "livecodebench":
                    assert kept.grade(row, kept.gold(row)) == kept.grade(row, kept.gold(row))
    assert refused > 100


def _broken(rng, row):
    row = dict(row)
    for _ in range(rng.randint(1, 2)):
        field = rng.choice(list(row))
        if rng.random() < 0.3:
            del row[field]
            if not row:
                break
        else:
            row[field] = rng.choice(VALUES)
    return rng.choice(VALUES) if rng.random() < 0.05 else row
