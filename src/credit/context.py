"""What the teachers read: (prompt, solution, feedback) -> messages. Pure functions; no trainer, no task.

The same weights become the teacher by being shown *z*: a correct sibling answer, or what the environment said about
the answer. The contrast view of a rollout is the same call with the prompt of an unrelated input and the same z.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class TeacherTemplate:
    """Text of the teacher prompt; wording of the self-distillation literature (SDPO), layout ours.

    `reprompt` is formatted with `prompt`, `solution` and `feedback`, the latter two already rendered by their own
    templates, or empty.
    """

    reprompt: str = "{prompt}{solution}{feedback}\n\nCorrectly solve the original question."
    solution: str = "\n\nCorrect solution:\n\n{solution}"
    feedback: str = "\n\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback}"

    def render(self, prompt: str, solution: str | None, feedback: str | None) -> str:
        """Return the teacher's user turn; the prompt itself, unchanged, when there is neither solution nor feedback."""
        if not solution and not feedback:
            return prompt
        return self.reprompt.format(
            prompt=prompt,
            solution=self.solution.format(solution=solution) if solution else "",
            feedback=self.feedback.format(feedback=feedback) if feedback else "",
        )


DEFAULT_TEMPLATE = TeacherTemplate()


def teacher_messages(
    prompt: str | Messages,
    solution: str | None,
    feedback: str | None,
    template: TeacherTemplate = DEFAULT_TEMPLATE,
) -> str | Messages:
    """Build the teacher's prompt from the student's.

    Args:
        prompt: the student's prompt, a message list or plain text.
        solution: a correct sibling answer, or None.
        feedback: what the environment said about this answer, or None.
        template: the words around them.

    Returns:
        Same kind as `prompt`. In a message list the content of the *last user turn* is replaced; system messages and
        earlier turns are kept. The input is never changed in place.

    Raises:
        ValueError: the conversation has no user turn, or that turn is not text.
    """
    if isinstance(prompt, str):
        return template.render(prompt, solution, feedback)
    turns = [i for i, message in enumerate(prompt) if message.get("role") == "user"]
    if not turns:
        raise ValueError("prompt has no user turn; the teacher prompt replaces the last one. Add a 'user' message.")
    last = turns[-1]
    content = prompt[last]["content"]
    if not isinstance(content, str):
        raise ValueError(
            f"prompt[{last}]['content'] is {type(content).__name__}, not text; images and content blocks are not "
            "supported. Pass plain strings."
        )
    changed = {**prompt[last], "content": template.render(content, solution, feedback)}
    return [*prompt[:last], changed, *prompt[last + 1 :]]


def strip_thinking(text: str) -> str:
    """Drop `<think>...</think>` blocks, and everything before a lone `</think>`, from a sibling solution."""
    kept, at = [], 0
    # By `find`, not by a pattern: thousands of open tags would make that quadratic.
    while (start := text.find("<think>", at)) >= 0 and (end := text.find("</think>", start)) >= 0:
        kept.append(text[at:start])
        at = end + len("</think>")
        while at < len(text) and text[at].isspace():
            at += 1
    text = "".join([*kept, text[at:]])
    return text.rpartition("</think>")[2].lstrip() if "</think>" in text else text


def completion_text(completion: str | Messages) -> str:
    """Return the text a model wrote: the string itself, or the assistant turns of a conversation, joined."""
    if isinstance(completion, str):
        return completion
    return "\n\n".join(str(m.get("content") or "") for m in completion if m.get("role") == "assistant").strip()


def transcript(completion: str | Messages) -> str:
    """Return a response as a reader would want it shown: what was said, each tool call, and what the tool answered.

    This is what a solution looks like. Without tools it is `completion_text`. Reasoning that a parser has set apart
    comes back between `<think>` marks, for `strip_thinking` to decide about.
    """
    if isinstance(completion, str):
        return completion
    parts: list[str] = []
    for message in completion:
        content = str(message.get("content") or "").strip()
        if message.get("role") == "tool":
            parts.append(f"[result of {message.get('name') or 'tool'}] {content}")
            continue
        if message.get("reasoning_content"):
            parts.append(f"<think>{message['reasoning_content']}</think>")
        parts.append(content)
        parts += [_call(call.get("function") or call) for call in message.get("tool_calls") or []]
    return "\n\n".join(part for part in parts if part).strip()


def _call(function: dict[str, Any]) -> str:
    arguments = function.get("arguments")
    written = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False, default=str)
    return f"[call] {function.get('name')} {written}"


def choose_context(
    own: int,
    group: Sequence[int],
    succeeded: Sequence[bool],
    texts: Sequence[str],
    feedbacks: Sequence[str | None],
    feedback_when: str,
    pick: Callable[[int], int],
) -> tuple[str | None, str | None]:
    """Choose (solution, feedback) for one rollout.

    The solution is a random *other* successful rollout of the same prompt: always taking the first, or the shortest,
    is known to collapse training.

    Args:
        own: row of this rollout.
        group: rows of its prompt group.
        succeeded, texts, feedbacks: per row.
        feedback_when: "without_solution" (paper, second-hand), "always" or "never" (ours).
        pick: n -> index below n, from the caller's seeded generator.
    """
    candidates = [j for j in group if j != own and succeeded[j] and texts[j].strip()]
    solution = texts[candidates[pick(len(candidates))]] if candidates else None
    wanted = feedback_when == "always" or (feedback_when == "without_solution" and solution is None)
    feedback = (feedbacks[own] or None) if wanted else None
    return solution, feedback


def shorten(text: str, excess: int, encode: Callable[[str], list[int]], decode: Callable[[list[int]], str]) -> str:
    """Cut `excess` tokens (and one for the mark) out of the middle of `text`; empty if nothing useful would remain."""
    ids = encode(text)
    keep = len(ids) - excess - 1
    if keep < 2:
        return ""
    head = (keep + 1) // 2
    return decode(ids[:head]) + " ... " + decode(ids[len(ids) - (keep - head) :])
