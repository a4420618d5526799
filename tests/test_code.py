"""Coding tasks: extraction, comparison and feedback as pure functions; then grading by running; then files."""

import base64
import json
import os
import pickle
import random
import zlib

import pytest

from credit.sandbox import Result
from credit.tasks import get_task
from credit.tasks.code import CodeGrader, Problem
from credit.tasks.code_text import CUT_OFF, NO_CODE, Case, extract_code, feedback, judge, same_output
from credit.tasks.livecodebench import LiveCodeBench, decode_private
from credit.tasks.problems import ProblemsTask

ECHO = "```python\nprint(int(input()) + 1)\n```"
ADD = "```python\nclass Solution:\n    def add(self, a, b):\n        return a + b\n```"


# Texts


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("first\n```py\na\n```\nthen\n``` Python3 \nb\n```\nend", "b\n"),
        ("```\nplain\n```", "plain\n"),
        ("```python\na\n```\n```bash\nls\n```", "a\n"),
        ("```python\na\n```\nOutput:\n```\n1\n```", "a\n"),
        ("<think>```python\nno\n```</think>```python\nyes\n```", "yes\n"),
        ("```python\na\n```\n```python\nunfinished", "a\n"),
        ("~~~python\ns = '```'\n~~~", "s = '```'\n"),
        ("1. so\n    ```python\n    if 1:\n        a\n    ```", "if 1:\n    a\n"),
        ("````python\n'''\n```\n'''\n````", "'''\n```\n'''\n"),
    ],
)
def test_the_program_is_the_last_closed_python_block(completion, code):
    assert extract_code(completion) == (code, "")


@pytest.mark.parametrize(
    ("completion", "why"),
    [("", NO_CODE), ("print(1)", NO_CODE), ("```python\nprint(1)", CUT_OFF), ("```python\n\n```", NO_CODE),
     ("```bash\nls\n```", NO_CODE), ("\x00\n```\n", CUT_OFF)],
)  # fmt: skip
def test_an_answer_without_a_program_says_why(completion, why):
    assert extract_code(completion) == (None, why)


@pytest.mark.parametrize(
    ("given", "expected", "same"),
    [
        ("1 2\n3\n", "1 2\n3", True),
        ("  1 2 \n 3", "1 2\n3\n\n", True),
        ("1\n2", "1\n2\n3", False),  # printing the first right lines is not enough
        ("1\n2\n3", "1\n2", False),
        ("1.0", "1", True),
        ("1e3", "1000", True),
        ("0.1", "0.10000001", False),
        ("nan", "nan", True),
        ("sNaN", "1", False),
        ("0011", "11", False),
        ("1_0", "10", False),
        ("١٢", "12", False),
        ("-1.50 2e2", "-1.5 200", True),
        ("1 2", "1", False),
        ("", "", True),
        ("yes", "YES", False),
    ],
)
def test_outputs_agree_line_by_line(given, expected, same):
    assert same_output(given, expected) is same


def result(outcome="ok", stdout="", stderr="", value=None):
    return Result(outcome, stdout, stderr, value, 0.1, "locked")


def said(*pairs: tuple[Case, Result]) -> str:
    cases, results = zip(*pairs, strict=True)
    return feedback(cases, results, [judge(c, r) for c, r in pairs]) or ""


def test_feedback_prefers_errors_then_limits_then_the_shortest_wrong_answers():
    wrong = [(Case("x" * n, "right"), result(stdout=f"wrong{n}")) for n in (5, 3, 4)]
    error = (Case("input1", "o"), result("runtime_error", stderr="Traceback\nZeroDivisionError: division by zero"))
    limit = (Case("input2", "o"), result("time_limit"))
    passed = (Case("input3", "o"), result(stdout="o"))
    assert said(passed) == ""
    text = said(passed, *wrong)
    assert text.index("wrong3") < text.index("wrong4")
    assert "wrong5" not in text
    assert "Expected:\n    right\n\nGot:\n    wrong3\n" in text
    assert said(*wrong, limit).startswith("A test ended with time limit.\n\nInput:\n    input2")
    text = said(*wrong, limit, error)
    assert text.startswith("A test ended with ZeroDivisionError.\n\nInput:\n    input1\n\nError:\n    Traceback")
    assert "Expected" not in text


def test_feedback_never_tells_of_hidden_tests_more_than_how_they_ended():
    secret = Case("SECRET-IN", "SECRET-OUT", None, True)
    open_one = (Case("1", "2"), result(stdout="3"))
    for bad in (result(stdout="SECRET-IN"), result("time_limit"),
                result("runtime_error", stderr="ValueError: SECRET-IN\nSECRET-OUT: x")):  # fmt: skip
        for text in (said((secret, bad)), said(open_one, (secret, bad))):
            assert "SECRET" not in text
            assert text
    # The class of an error could be chosen by what was read.
    assert said((secret, result("runtime_error", stderr="KeyError: 1"))).endswith("ended with runtime error.")
    named = said((Case("1", "2"), result("runtime_error", stderr="import: os")))
    assert named.startswith("A test ended with an error.")
    call = Case(["SECRET-IN"], "SECRET-OUT", "f", True)
    assert "SECRET" not in said((call, result(value="no")))


def test_feedback_is_short_and_clean():
    noisy = "\x1b[31m" + "\n".join("é" * 1000 for _ in range(100)) + "\u202e"
    text = said((Case(noisy, "x" * 10_000), result(stdout=noisy)), (Case("1", "2"), result(stdout=noisy)))
    assert len(text) <= 2000
    assert "\x1b" not in text
    assert "\u202e" not in text


# Running


@pytest.fixture(scope="module")
def grader():
    return CodeGrader(workers=2)


PLUS = Problem((Case("1", "2"), Case("5", "6"), Case("7", "8", None, True)), cpu_s=2.0)


def test_programs_are_graded_by_their_output(grader):
    assert grader.grade(PLUS, ECHO).score == 1.0
    assert grader.grade(PLUS, ECHO).outcome == "passed"
    wrong = grader.grade(PLUS, "```python\nprint(2)\n```")
    assert (wrong.score, wrong.outcome) == (0.0, "wrong_answer")
    assert "Input:\n    5" in (wrong.feedback or "")
    hidden = grader.grade(PLUS, "```python\nn = int(input())\nprint(n + (n < 7))\n```")
    assert hidden.score == 0.0
    assert hidden.feedback == "All public tests pass. A hidden test ended with wrong answer."
    assert grader.grade(PLUS, "no code").outcome == "format_error"
    loop = grader.grade(Problem((Case("1", "2"),), cpu_s=0.2), "```python\nwhile True: pass\n```")
    assert (loop.outcome, loop.score) == ("time_limit", 0.0)
    error = grader.grade(PLUS, "```python\n1 / 0\n```")
    assert error.outcome == "runtime_error"
    assert "ZeroDivisionError" in (error.feedback or "")


def test_functions_are_graded_by_their_value(grader):
    problem = Problem((Case([1, 2], 3, "Solution.add"), Case([[1], [2]], [1, 2], "Solution.add", True)))
    assert grader.grade(problem, ADD).score == 1.0
    text = grader.grade(problem, ADD.replace("a + b", "a")).feedback or ""
    assert "Solution.add(1, 2)" in text
    assert "Expected:\n    3" in text


def test_fractions_count_every_test():
    half = CodeGrader("fraction", workers=2).grade(PLUS, "```python\nn = int(input())\nprint(n + (n < 7))\n```")
    assert half.score == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="reward='all' is unknown"):
        CodeGrader("all")


def test_values_that_claim_to_equal_everything_do_not(grader):
    forged = "```python\nclass E(str):\n    __eq__ = lambda *a: True\ndef f(x): return E('no')\n```"
    assert grader.grade(Problem((Case([1], 2, "f"),)), forged).score == 0.0


def test_a_broken_sandbox_makes_up_no_score(monkeypatch):
    from credit.tasks import code

    class Broken:
        def run_many(self, jobs):
            return [result("sandbox_error", stderr="gone") for _ in jobs]

    monkeypatch.setattr(code, "shared_sandbox", lambda *args: Broken())
    with pytest.raises(RuntimeError, match="the sandbox failed 3 times on one program, and no score is made up: gone"):
        CodeGrader().grade(PLUS, ECHO)


def test_no_completion_escapes_the_grader_and_grades_repeat(grader):
    """Pieces of programs, fences and noise in random order: each gets the same grade twice."""
    rng = random.Random(0)
    pieces = ["```python\n", "```", "\n```\n", "~~~", "print(int(input())+1)", "while 1: pass", "\x00", "\ud800",
              "é\n", "import os\nos._exit(0)", "raise SystemExit(3)", "<think>", "</think>", "def f(",
              "1/0", "\n"]  # fmt: skip
    problem = Problem((Case("1", "2"), Case("2", "3", None, True)), cpu_s=0.1, memory_mb=256)
    for _ in range(150):
        text = "".join(rng.choice(pieces) for _ in range(rng.randrange(8)))
        first = grader.grade(problem, text)
        assert first.score in (0.0, 1.0)
        assert first == grader.grade(problem, text)


def test_values_are_compared_as_json(grader):
    def score(value: str, expected) -> float:
        return grader.grade(Problem((Case([], expected, "f"),)), f"```python\ndef f(): return {value}\n```").score

    assert score("(1, 2)", [1, 2]) == score("1.0", 1) == score("{'a': [True]}", {"a": [True]}) == 1.0
    assert score("True", 1) == score("[False]", [0]) == score("1e999", 1) == score("None", 0) == 0.0


def test_a_flood_of_output_stays_out_of_the_trainer(grader):
    """A right program that writes 16 MiB of four-byte characters and odd bytes to standard error, on 12 tests."""
    import resource

    flood = "```python\nimport os\nos.write(2, '😀'.encode() + b'\\xff' * (15 << 20))\nprint(int(input()) + 1)\n```"
    problem = Problem(tuple(Case(str(n), str(n + 1), None, n > 3) for n in range(12)), cpu_s=5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert grader.grade(problem, flood).score == 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 << 10  # KiB


def test_a_prelude_does_not_get_in_the_way(grader):
    from credit.tasks.livecodebench import PRELUDE

    problem = Problem((Case([[1, 2]], 3, "Solution.f"),), prelude=PRELUDE)
    body = "class Solution:\n    def f(self, nums: List[int]) -> int:\n        return sum(nums)"
    assert grader.grade(problem, f"```python\n{body}\n```").score == 1.0
    assert grader.grade(problem, f"```python\nfrom __future__ import annotations\n{body}\n```").score == 1.0
    assert grader.grade(Problem(problem.cases), f"```python\n{body}\n```").outcome == "runtime_error"


def test_hidden_tests_run_in_processes_of_their_own(grader, monkeypatch):
    from credit.tasks import code

    asked = []
    shared = code.shared_sandbox
    monkeypatch.setattr(code, "shared_sandbox", lambda *args: asked.append(args[-1]) or shared(*args))
    assert grader.grade(PLUS, ECHO).score == 1.0
    assert asked == ["public", "hidden"]


# Problems of one's own


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROWS = [
    {"prompt": f"Add {n}.", "tests": [{"input": "1", "output": str(1 + n)}, {"input": "2", "output": str(2 + n),
     "hidden": True}], "cpu_s": 1, "solution": f"print(int(input()) + {n})"}
    for n in range(1, 5)
]  # fmt: skip


def test_problems_of_ones_own(tmp_path):
    task = ProblemsTask(write(tmp_path / "problems.jsonl", ROWS))
    rows = task.rows("train") + task.rows("test")
    assert len(rows) == 4
    assert len(task.rows("test")) == 1
    for row in rows:
        assert "tests" not in row
        assert task.grade(row, f"```python\n{row['answer']}\n```").score == 1.0
        assert task.grade(row, "```python\nprint(0)\n```").score == 0.0


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"prompt": "p"}, "row 1: field 'tests' is missing (found: prompt)."),
        ({"tests": []}, "row 1: field 'prompt' is missing"),
        ({"prompt": "p", "tests": []}, "row 1: field 'tests' must be a list with at least one test."),
        ({"prompt": "p", "tests": "["}, "row 1: field 'tests' is text but not JSON"),
        ({"prompt": "p", "tests": ["a"]}, "row 1, test 1: is a str; write an object."),
        ({"prompt": "p", "tests": [{"input": "1"}]}, "row 1, test 1: field 'output' is missing"),
        ({"prompt": "p", "tests": [{"input": 1, "output": "1"}]}, "field 'input' must be text. For values use 'call'"),
        ({"prompt": "p", "tests": [{"call": "f", "args": 1, "expected": 1}]}, "field 'args' must be a list"),
        ({"prompt": "p", "tests": [{"call": "f x", "args": [], "expected": 1}]}, "field 'call' must name a function"),
        ({"prompt": "p", "tests": [{"input": "", "output": "", "hidden": 1}]}, "field 'hidden' must be true or false"),
        (
            {"prompt": "p", "tests": [{"input": "", "output": ""}], "cpu_s": 0},
            "field 'cpu_s' is 0; it must be a number",
        ),
        ({"prompt": "p", "tests": [{"input": "", "output": "", "hiden": True}]}, "field 'hiden' is unknown"),
        ({"prompt": "p", "tests": [{"call": "f", "args": [float("nan")], "expected": 1}]}, "field 'args' must be JSON"),
        ({"prompt": "p", "tests": "[" * 100_000}, "field 'tests' is text but not JSON (nested too deeply)"),
        ({"prompt": "p", "tests": [{"input": "", "output": ""}], "solution": 3}, "field 'solution' must be the text"),
    ],
)
def test_bad_problems_are_named(tmp_path, row, complaint):
    with pytest.raises(ValueError) as problem:  # noqa: PT011 - the text is compared below
        ProblemsTask(write(tmp_path / "problems.jsonl", [row]))
    assert complaint in str(problem.value)
    assert "problems.jsonl, row 1" in str(problem.value)


# LiveCodeBench


def packed(tests) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def contest(number: int, day: str, functional: bool = False, **more) -> dict:
    if functional:
        public, private = ([{"input": f"{n}\n2", "output": str(n + 2), "testtype": "functional"}] for n in (1, 5))
    else:
        public, private = ([{"input": str(n), "output": str(n + 1), "testtype": "stdin"}] for n in (1, 5))
    return {
        "question_id": f"q{number}", "question_content": f"Problem {number}.", "contest_date": f"{day}T00:00:00",
        "starter_code": "class Solution:\n    def add(self, a: int, b: int) -> int:\n        " if functional else "",
        "difficulty": "easy", "public_test_cases": json.dumps(public), "private_test_cases": packed(private * 4),
        "metadata": json.dumps({"func_name": "add"} if functional else {}), **more,
    }  # fmt: skip


def test_livecodebench_splits_by_date_and_grades_both_kinds(tmp_path):
    rows = [
        contest(1, "2024-12-31"),
        contest(2, "2025-02-01", True),
        contest(3, "2025-04-30"),
        contest(4, "2025-05-01"),
    ]
    task = LiveCodeBench(write(tmp_path / "test.jsonl", rows), workers=2)
    assert [row["id"] for row in task.rows("train")] == ["train-q1"]
    functional, stdin = task.rows("test")
    assert (functional["id"], stdin["id"]) == ("test-q2", "test-q3")
    assert "class Solution" in functional["prompt"][1]["content"]
    assert "standard input" in stdin["prompt"][1]["content"]
    assert task.grade(functional, ADD).score == 1.0
    assert task.grade(stdin, ECHO).score == 1.0
    assert task.grade(stdin, "```python\nprint(2)\n```").feedback == (
        "All public tests pass. A hidden test ended with wrong answer."
    )
    folder = get_task("livecodebench", path=str(tmp_path), protocol="same")
    assert [row["id"] for row in folder.rows("train")] == ["train-q2", "train-q3"]
    assert [row["id"] for row in folder.rows("test")] == ["test-q2", "test-q3"]


def test_the_same_protocol_trains_on_half_of_the_private_tests(tmp_path):
    from credit.tasks.livecodebench import _problem

    task = LiveCodeBench(write(tmp_path / "test.jsonl", [contest(3, "2025-04-30")]), protocol="same")
    hidden = {
        name: [case.hidden for case in _problem(raw, 6.0).cases].count(True) for name, raw in task._problems.items()
    }
    assert hidden == {"test-q3": 4, "train-q3": 2}


def test_private_tests_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    for content in (Bomb(), [Bomb()], {"a": 1}, 3, ["text"]):
        text = base64.b64encode(zlib.compress(pickle.dumps(content))).decode()
        with pytest.raises(ValueError, match=r"here: field 'private_test_cases' (is a pickle of something else|holds)"):
            decode_private(text, "here")
    assert not (tmp_path / "exploded").exists()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        text = base64.b64encode(zlib.compress(pickle.dumps(json.dumps([{"é": 1}]), protocol))).decode()
        assert decode_private(text, "here") == [{"é": 1}]
    assert decode_private('[{"a": 1}]', "here") == [{"a": 1}]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"contest_date": "soon"}, "field 'contest_date'='soon' is no date"),
        ({"public_test_cases": "["}, "field 'public_test_cases' is not JSON"),
        ({"private_test_cases": "!"}, "field 'private_test_cases' is neither JSON nor compressed"),
        ({"metadata": "{"}, "field 'metadata' is not JSON"),
        ({"public_test_cases": "[1]"}, "a test has no 'input' or no 'output'"),
        ({"public_test_cases": '[{"input": 1, "output": "1"}]'}, "a test has no 'input' or no 'output' of text"),
        ({"public_test_cases": [{"input": "1", "output": "1"}]}, "is a list; expected the text of a list"),
        ({"metadata": '{"func_name": 3}'}, "names the function 3, which is no name"),
        ({"private_test_cases": packed([])[:-8]}, "field 'private_test_cases' is cut short"),
        ({"public_test_cases": '[{"input": "1", "output": "1", "testtype": "functional"}]'}, "names no 'func_name'"),
    ],
)
def test_bad_contest_rows_are_named(tmp_path, change, complaint):
    def load_and_grade():
        task = LiveCodeBench(write(tmp_path / "test.jsonl", [contest(1, "2025-03-01", **change)]))
        task.grade(task.rows("test")[0], ECHO)

    with pytest.raises(ValueError) as problem:  # noqa: PT011 - the text is compared below
        load_and_grade()
    assert complaint in str(problem.value)
    assert "test.jsonl, row 1" in str(problem.value)


def test_options_of_tasks_are_checked(tmp_path):
    path = write(tmp_path / "test.jsonl", [contest(1, "2025-03-01")])
    with pytest.raises(ValueError, match="has no option 'paht'"):
        get_task("livecodebench", paht=path)
    with pytest.raises(ValueError, match="start=2025-06-01 must be before end=2025-05-01"):
        get_task("livecodebench", path=path, start="2025-06-01")
    with pytest.raises(ValueError, match="protocol='other' is unknown"):
        get_task("livecodebench", path=path, protocol="other")
