"""Answers in the many forms models write them: what each grader makes of them, by table."""

import json

import pytest

from credit.tasks import Grade
from credit.tasks.graders import choice, exact, options_of
from credit.tasks.react import BadCall, documented_tools, has_type, read_calls
from credit.tasks.tooluse import ToolUse

OPTIONS = {"A": "10 mW", "B": "10 MW", "C": "E. coli", "D": "$2.0 \\times 10^4$"}


@pytest.mark.parametrize(
    "text",
    [
        "<answer>B</answer>", "<answer>\nB\n</answer>", "<ANSWER>b</ANSWER>", "<answer>(B)</answer>",
        "<answer>**B**</answer>", "<answer>B.</answer>", "<answer>B)</answer>", "<answer>[B]</answer>",
        "<answer>B: 10 MW</answer>", "<answer>(b) 10 MW</answer>", "<answer>B - 10 MW</answer>",
        "<answer>B 10 MW</answer>", "<answer>B (10 MW)</answer>", "<answer>\\(B\\)</answer>",
        "<answer>**B** - 10 MW</answer>",
        "<answer>**B**: 10 MW</answer>", "<answer>**B: 10 MW**</answer>", "<answer>10 MW</answer>",
        "<answer>10 MW.</answer>", "<answer>$B$</answer>", "<answer>\\boxed{B}</answer>",
        "<answer>\\text{B}</answer>", "<answer>`B`</answer>", '<answer>"B"</answer>', "<answer>Option B</answer>",
        "<answer>option (b)</answer>", "<answer>The correct answer is B</answer>", "<answer>Answer: B</answer>",
        "<answer>A</answer> no: <answer>B</answer>", "<answer>A<answer>B</answer>", "<answer>B",
        "<think><answer>A</answer></think><answer>B</answer>", "so \\boxed{B}", "so $\\boxed{\\text{B}}$.",
        "The answer is B.", "The answer is (B) because it is large.", "answer: **B**\nI hope this answer helps.",
        "The correct option is B", "thus\nB", "**B**", "B.", "Option A is wrong.\nThe answer is B",
    ],
)  # fmt: skip
def test_a_choice_is_read_in_any_common_dress(text):
    assert choice("B", text, OPTIONS) == Grade(1.0, None, "passed")
    assert choice("A", text, OPTIONS) == Grade(0.0, None, "wrong_answer")


@pytest.mark.parametrize(
    "text",
    [
        "", "<answer></answer>", "<answer>?</answer>", "<answer>A and B</answer>", "<answer>A, B</answer>",
        "<answer>A, B and C</answer>", "<answer>(A) or (B)</answer>", "<answer>A/B</answer>", "<answer>E</answer>",
        "<answer>A: 10 MW</answer>", "<answer>10 kW</answer>", "<answer>10 mw</answer>", "<answer>both</answer>",
        "<answer>x-ray</answer>", "<answer>A charge moves</answer>", "A charge moves", "I think so",
        "the answer is 12", "<answer>B</answer> or <answer>none</answer>", "<think>B</think>", "<answer>a-ray</answer>",
    ],
)  # fmt: skip
def test_what_names_no_option_is_an_error_of_format(text):
    grade = choice("B", text, OPTIONS)
    assert (grade.score, grade.outcome) == (0.0, "format_error")
    assert "Finish with <answer>" in (grade.feedback or "")


def test_the_text_of_an_option_counts_where_it_is_the_text_of_one_only():
    assert choice("C", "<answer>E. coli</answer>", OPTIONS).score == 1.0  # not option E
    assert choice("C", "<answer>e. coli</answer>", OPTIONS).score == 1.0
    assert choice("D", "<answer>2.0 \\times 10^4</answer>", OPTIONS).score == 1.0
    assert choice("A", "<answer>7 m</answer>", {"A": "7 m", "B": "7 m"}).outcome == "format_error"
    assert choice("B", "<answer>A</answer>", {"A": "B", "B": "A"}).outcome == "wrong_answer"  # a letter is a letter
    assert choice("A", "<answer>A+</answer>", {"A": "B+", "D": "A+"}).outcome == "wrong_answer"
    assert choice("B", "<answer>7 m</answer>").outcome == "format_error"


def test_options_are_the_last_list_of_the_prompt():
    prompt = "A: first\nB: list\n\nWhich?\n\nA: one\nB: two\n(C) three\nD. four \nPlease reason step by step."
    assert options_of(prompt) == {"A": "one", "B": "two", "C": "three", "D": "four"}
    assert options_of([{"role": "system", "content": "A: x\nB: y"}, {"role": "user", "content": "none"}]) == {}
    assert options_of("A: lone") == {}
    assert options_of("A: one\nB: two\nD: gap") == {"A": "one", "B": "two"}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("42", "\\boxed{42}"), ("42", "so $\\boxed{42}$, as asked"), ("\\frac{1}{2}", "\\boxed{\\frac{1}{2}}"),
        ("\\boxed{42}", "<answer>42</answer>"), ("1000", "answer: 1,000"), ("1,000", "1000"), ("42", "42.0"),
        ("42.0", "42"), ("-3", "\N{MINUS SIGN}3"), ("0.5", ".5"), ("1e3", "1000"), ("$42$", "42"), ("x", '"x".'),
        ("1234567.5", "1,234,567.50"), ("42", "<think>\\boxed{7}</think> The answer is 42."), ("42", "**42**"),
        ("12", "<answer>\\boxed{12}</answer>"), ("42", "so <answer> 42"), ("42", "\\(42\\)"),
    ],
)  # fmt: skip
def test_exact_reads_boxes_and_numbers(answer, text):
    assert exact(answer, text) == Grade(1.0, None, "passed")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("42", "42 km"), ("42", "42%"), ("42", "4.2"), ("1000", "1,00"), ("1.000", "1,000"), ("5", ".5"), ("1",
        "1,0,0"),
        ("42", "forty-two"), ("1e3", "1e4"), ("1", "1e9999999999"), ("10", "1 0"),
    ],
)  # fmt: skip
def test_exact_guesses_neither_units_nor_numbers(answer, text):
    assert exact(answer, text).outcome == "wrong_answer"


# -- tools

PROMPT = """You have access to the following tools:
Name: Pond
Documentation:
findFrog: Find frogs in the pond.
Parameters: {"color": "string. One of: [green, blue].", "limit": "integer. How many.", "where": "Object{x, y}"}
Output: Successful response.
 - Format: application/json
feed: Feed a frog.
Parameters: {"name": "string. Its name.", "grams": "number. How much.", "twice": "boolean", "with": "array of names"}
Output: Successful response.
drain: Drain the pond.
Parameters: {}

Begin!
Question: please"""
FIND = {"Action": "findFrog", "Action_Input": '{"color": "green", "limit": 2}'}
FEED = {"Action": "feed", "Action_Input": '{"name": "Kermit", "grams": 1.5}'}
NESTED = {"Action": "findFrog", "Action_Input": '{"color": "blue", "where": {"x": [1, {"y": "}"}]}}'}


@pytest.fixture
def task(tmp_path):
    rows = [[FIND], [FIND, FEED], [NESTED], [FIND, FIND]]
    rows = [{"prompt": f"{PROMPT} {i}", "answer": json.dumps(calls), "kind": "tooluse"} for i, calls in enumerate(rows)]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ToolUse(str(tmp_path))


def call(tool, arguments):
    return f"Thought: so\nAction: {tool}\nAction Input: {arguments}\n"


GOOD = '{"color": "green", "limit": 2}'


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (0, call("findFrog", GOOD)),
        (0, call("findFrog", '{"limit": 2.0,\n "color": "green"}')),
        (0, call("`findFrog`", f"```json\n{GOOD}\n```")),
        (0, f"**Action:** findFrog\n**Action Input:** {GOOD} and that is all {{}}"),
        (0, f"action: findFrog\n\naction input:\n{GOOD}"),
        (0, f"<think>{call('drain', '{}')}</think>{call('findFrog', GOOD)}"),
        (1, call("findFrog", GOOD) + call("feed", '{"name": "Kermit", "grams": 1.50}')),
        (1, call("feed", FEED["Action_Input"]) + "Observation: fed\n" + call("findFrog", GOOD)),
        (2, call("findFrog", '{"where": {"x": [1, {"y": "}"}]}, "color": "blue"}')),
        (3, call("findFrog", GOOD) * 2),
    ],
)
def test_the_same_calls_pass_however_they_are_written(task, row, text):
    assert task.grade(task.rows("train")[row], text) == Grade(1.0, None, "passed")


@pytest.mark.parametrize(
    ("row", "text", "outcome", "said"),
    [
        (0, "I cannot", "format_error", "No call was found."),
        (0, "Action: findFrog", "format_error", "The Action of call 1 has no Action Input on the next line."),
        (0, "Action: \nAction Input: {}", "format_error", "The Action of call 1 names no tool."),
        (0, call("findFrog", "{'color': 'green'}"), "format_error",
        "call 1 is not valid JSON (Expecting property name"),
        (0, call("findFrog", '{"color": "green"'), "format_error", "call 1 is not valid JSON"),
        (0, call("findFrog", '["green"]'), "format_error", "call 1 is not a JSON object"),
        (0, call("findFrog", '{"limit": 1, "limit": 2}'), "format_error", "an argument is given twice"),
        (0, call("findFrog", '{"limit": NaN}'), "format_error", "NaN is no number of JSON"),
        (0, call("findFrog", '{"a":' * 5000), "format_error", "call 1 is not valid JSON"),
        (0, call("findFrog", '{"a":' * 200 + "1" + "}" * 200), "format_error", "nested more than 100 deep"),
        (0, call("findFrogs", GOOD), "wrong_answer", 'no tool "findFrogs". The tools are: findFrog, feed, drain.'),
        (0, call("findFrog", '{"colour": "green"}'), "wrong_answer", '"findFrog" has no argument "colour"'),
        (0, call("findFrog", '{"color": "green", "limit": "2"}'), "wrong_answer",
        '"limit" of "findFrog" must be of type i'),
        (0, call("findFrog", '{"color": "green", "limit": true}'), "wrong_answer", "must be of type integer"),
        (0, call("findFrog", GOOD) * 2, "wrong_answer", "2 calls were made, which is too many."),
        (1, call("findFrog", GOOD), "wrong_answer", "1 call was made, which is too few."),
        (0, call("drain", "{}"), "wrong_answer", 'The tool "drain" is not the one to call here'),
        (0, call("findFrog", '{"limit": 2}'), "wrong_answer", '"color" of "findFrog" is missing'),
        (0, call("findFrog", '{"color": "green", "limit": 2, "where": {}}'), "wrong_answer",
        '"where" of "findFrog" is not'),
        (0, call("findFrog", '{"color": "green", "limit": 3}'), "wrong_answer",
        'a value in a call of "findFrog" is wrong'),
        (2, call("findFrog", '{"where": {"x": [1]}, "color": "blue"}'), "wrong_answer", "a value in a call"),
        (3, call("findFrog", GOOD) + call("findFrog", '{"color": "blue", "limit": 2}'), "wrong_answer", "a value in"),
    ],
)  # fmt: skip
def test_feedback_says_what_is_wrong_and_no_right_value(task, row, text, outcome, said):
    grade = task.grade(task.rows("train")[row], text)
    assert (grade.score, grade.outcome) == (0.0, outcome)
    assert said in (grade.feedback or "")
    for value in ("green", "Kermit", "1.5", "blue"):
        assert value not in (grade.feedback or "")


def test_feedback_gives_the_answer_away_only_where_that_is_asked_for(task, tmp_path):
    row = task.rows("train")[0]
    revealing = ToolUse(str(tmp_path), feedback="gold")
    said = revealing.grade(row, call("drain", "{}")).feedback or ""
    assert "The expected calls are:\nAction: findFrog" in said
    assert GOOD in said
    with pytest.raises(ValueError, match=r"feedback='all' is unknown. Use one of honest, gold"):
        ToolUse(str(tmp_path), feedback="all")


def test_documentation_is_read_from_the_prompt_where_it_can_be():
    tools = documented_tools(PROMPT)
    assert tools == {
        "findFrog": {"color": "string", "limit": "integer", "where": ""},
        "feed": {"name": "string", "grams": "number", "twice": "boolean", "with": "array"},
        "drain": {},
    }
    assert documented_tools("find: it\nParameters: {broken\nno tool here") == {"find": None}
    assert documented_tools("") == {}
    assert has_type(2.0, "integer")
    assert not has_type(True, "number")
    with pytest.raises(BadCall, match="No call"):
        read_calls("Action Input: {}")
