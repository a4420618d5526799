"""What the teachers read."""

import copy
import random

import pytest

from credit.context import (
    TeacherTemplate,
    choose_context,
    completion_text,
    shorten,
    strip_thinking,
    teacher_messages,
)

TEMPLATE = TeacherTemplate(reprompt="{prompt}|{solution}|{feedback}", solution="S={solution}", feedback="F={feedback}")
CHAT = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "reply"},
    {"role": "user", "content": "last", "name": "ann"},
]
BRACES = "{} {0} {prompt} {{x}} %s {solution!r}"


# Teacher messages


@pytest.mark.parametrize(
    ("solution", "feedback", "expected"),
    [("s", "f", "q|S=s|F=f"), ("s", None, "q|S=s|"), (None, "f", "q||F=f"), ("s", "", "q|S=s|")],
)
def test_text_prompt_carries_what_there_is(solution, feedback, expected):
    assert teacher_messages("q", solution, feedback, TEMPLATE) == expected


def test_default_template_words():
    assert teacher_messages("q", "s", "f") == (
        "q\n\nCorrect solution:\n\ns"
        "\n\nThe following is feedback from your unsuccessful earlier attempt:\n\nf"
        "\n\nCorrectly solve the original question."
    )


@pytest.mark.parametrize("prompt", ["q", CHAT])
@pytest.mark.parametrize("nothing", [None, ""])
def test_prompt_is_unchanged_without_solution_and_feedback(prompt, nothing):
    assert teacher_messages(prompt, nothing, nothing, TEMPLATE) == prompt


def test_only_the_last_user_turn_changes():
    assert teacher_messages(CHAT, "s", "f", TEMPLATE) == [*CHAT[:3], {**CHAT[3], "content": "last|S=s|F=f"}]


def test_turns_after_the_last_user_turn_are_kept():
    prefill = {"role": "assistant", "content": "Sure,"}
    assert teacher_messages([*CHAT, prefill], "s", None, TEMPLATE)[-2:] == [
        {**CHAT[3], "content": "last|S=s|"},
        prefill,
    ]


def test_the_students_prompt_is_not_changed_in_place():
    prompt = copy.deepcopy(CHAT)
    teacher_messages(prompt, "s", "f", TEMPLATE)
    assert prompt == CHAT


def test_braces_survive_everywhere():
    assert teacher_messages(BRACES, BRACES, BRACES, TEMPLATE) == f"{BRACES}|S={BRACES}|F={BRACES}"


def test_a_conversation_without_user_turn_is_refused():
    with pytest.raises(ValueError, match="no user turn"):
        teacher_messages(CHAT[:1], "s", None)


def test_content_blocks_are_refused():
    with pytest.raises(ValueError, match=r"prompt\[1\]\['content'\] is list, not text"):
        teacher_messages([CHAT[0], {"role": "user", "content": [{"type": "image"}]}], "s", None)


# Texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("<think>a\nb</think>\n\nanswer", "answer"),
        ("<think>a</think>one <think>b</think>two", "one two"),
        ("one <think>a\nb</think>two", "one two"),
        ("opened by the chat template</think>\nanswer", "answer"),
        ("a < b and c > d", "a < b and c > d"),
    ],
)
def test_thinking_is_stripped_from_solutions(text, expected):
    assert strip_thinking(text) == expected


def test_completion_text_is_what_the_assistant_wrote():
    assert completion_text(" kept ") == " kept "
    turns = [
        {"role": "assistant", "content": "one"},
        {"role": "tool", "content": "result"},
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": "two\n"},
    ]
    assert completion_text(turns) == "one\n\n\n\ntwo"


# Choice of z


def choose(own=0, succeeded=(True, True, True, False), feedback_when="without_solution", pick=None, **kwargs):
    arguments = {"texts": ["t0", "t1", "t2", "t3"], "feedbacks": ["f0", "f1", "", None], **kwargs}
    return choose_context(
        own,
        [0, 1, 2, 3],
        succeeded,
        arguments["texts"],
        arguments["feedbacks"],
        feedback_when,
        pick or (lambda n: 0),
    )


@pytest.mark.parametrize("own", [0, 1, 2, 3])
def test_solution_is_any_other_success_and_never_the_own_answer(own):
    pick = random.Random(0).randrange
    seen = {choose(own, pick=pick)[0] for _ in range(50)}
    assert seen == {"t0", "t1", "t2"} - {f"t{own}"}


def test_solution_comes_from_the_own_group():
    solution, _ = choose_context(0, [0, 1], [True] * 4, list("abcd"), [None] * 4, "never", lambda n: n - 1)
    assert solution == "b"


def test_the_only_success_has_no_solution_to_read():
    assert choose(1, succeeded=(False, True, False, False))[0] is None


def test_empty_answers_are_no_solutions():
    assert choose(0, texts=["t0", " \n", "t2", "t3"], pick=lambda n: n - 1)[0] == "t2"
    assert choose(0, texts=["t0", " \n", "", "t3"])[0] is None


@pytest.mark.parametrize(
    ("feedback_when", "with_solution", "alone"),
    [("without_solution", None, "f0"), ("always", "f0", "f0"), ("never", None, None)],
)
def test_feedback_rule(feedback_when, with_solution, alone):
    assert choose(feedback_when=feedback_when) == ("t1", with_solution)
    assert choose(succeeded=[False] * 4, feedback_when=feedback_when) == (None, alone)


@pytest.mark.parametrize("own", [2, 3])
def test_silence_is_no_feedback(own):
    assert choose(own, succeeded=[False] * 4) == (None, None)


# Cutting


def cut(text: str, excess: int) -> str:
    return shorten(text, excess, str.split, " ".join)


def test_shorten_cuts_the_middle_and_pays_for_its_mark():
    assert cut("a b c d e f g h", 3) == "a b ... g h"
    assert cut("a b c d e f g", 3) == "a b ... g"


@pytest.mark.parametrize("excess", range(1, 12))
def test_shorten_removes_at_least_the_excess(excess):
    words = [str(i) for i in range(10)]
    left = cut(" ".join(words), excess).split()
    assert len(left) == (10 - excess if excess <= 7 else 0)


def test_shorten_leaves_nothing_when_one_token_would_remain():
    assert cut("a b c d", 2) == ""
    assert cut("a b c d", 1) == "a ... d"


def test_thousands_of_open_tags_take_no_time():
    text = "<think>" * 200_000
    assert strip_thinking(text) == text
    assert strip_thinking("<think>a</think> " * 50_000 + "b") == "b"
