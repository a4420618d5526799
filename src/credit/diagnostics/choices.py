"""Posterior compatibility at the answer token of multiple-choice items: is the student the mixture of its teachers?

For an item with options o, z_o is "a sibling wrote this response, with o wherever it says its answer". The answer token
is the one stated as the answer, else the last mention of an option, unless the task knows where it is decided.

If z had no other values than these, and z_o were as likely as the student thinks o is (w_o), a posterior teacher would
obey sum_o w_o p_T(v | z_o) = p(v) at the answer token (ours, from the mixture condition of `credit verify`). The gap is
how far that is from true. What the student puts outside the options, and feedback of other kinds, are part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from credit.compatibility import best_weights, mixture_gap
from credit.context import DEFAULT_TEMPLATE, TeacherTemplate, teacher_messages
from credit.contrast import prompt_key
from credit.diagnostics.rollouts import Rollouts
from credit.diagnostics.summary import estimate
from credit.passes import response_hidden
from credit.sampling import prompt_ids
from credit.scoring import Head, head_of, with_response_head
from credit.statistics import bootstrap_mean

MOST_ITEMS = 200

MEANING = {
    "gap": "KL(student || mixture of its teachers), nats; 0 if z_o is all there is, as likely as the student thinks o",
    "smallest_gap": "the same with the best weights of the options; 0 if some weights make the student their mixture",
    "options_mass": "student's probability of naming any option here",
    "copies": "mean probability the teacher gives to the option it was shown; 1 is plain copying",
}
"""Every number of the summary."""


Choices = tuple[Sequence[str], int | None]
"""Options, and where in the text of the response one is chosen first (None: at its last mention)."""


@dataclass(frozen=True)
class Item:
    """The answer token of one response.

    Attributes:
        where: the rollout, for messages.
        prompt: what was asked.
        prefix: token ids of the response before the answer.
        options: the first token of each option after this prefix, all different.
        solutions: the response with each option in place of the answer.
    """

    where: str
    prompt: Any
    prefix: list[int]
    options: list[int]
    solutions: list[str]


def compatibility(
    model: Any,
    tokenizer: Any,
    rollouts: Rollouts,
    choices_of: Callable[[Mapping[str, Any]], Choices | None],
    teacher: Any = None,
    template: TeacherTemplate = DEFAULT_TEMPLATE,
    template_options: Mapping[str, Any] | None = None,
    temperature: float = 1.0,
    most: int = MOST_ITEMS,
) -> dict[str, Any]:
    """Measure the gap on every multiple-choice item among the rollouts, one per prompt.

    Returns:
        `items`, one each with the numbers of `MEANING`; `summary`, their means with intervals; `problems`, sentences.
    """
    items, problems = _items(tokenizer, rollouts, choices_of, most)
    teacher = model if teacher is None else teacher
    for each in (model, teacher):
        each.eval()
        with_response_head(each)
    head, teacher_head = head_of(model, temperature), head_of(teacher, temperature)
    template_options = dict(template_options or {})
    measured = []
    for item in items:
        asked = [teacher_messages(item.prompt, solution, None, template) for solution in item.solutions]
        views = [prompt_ids(tokenizer, prompt, template_options) for prompt in [item.prompt, *asked]]
        student_V = _next_logps(model, tokenizer, views[:1], item.prefix, head)[0]
        teacher_OV = _next_logps(teacher, tokenizer, views[1:], item.prefix, teacher_head)
        measured.append({"where": item.where, **_gaps(student_V, teacher_OV, item.options)})
    summary = {
        name: estimate(bootstrap_mean([found[name] for found in measured])) if measured else None for name in MEANING
    }
    return {"items": measured, "summary": summary, "problems": problems}


def _gaps(student_V: Tensor, teacher_OV: Tensor, options: list[int]) -> dict[str, float]:
    student_V, teacher_OV = student_V.double().log_softmax(-1), teacher_OV.double().log_softmax(-1)
    chosen = torch.tensor(options, device=student_V.device)
    own_weights = student_V[chosen].log_softmax(dim=0)
    return {
        "gap": mixture_gap(student_V, teacher_OV, own_weights).item(),
        "smallest_gap": mixture_gap(student_V, teacher_OV, best_weights(student_V, teacher_OV)).item(),
        "options_mass": student_V[chosen].exp().sum().item(),
        "copies": teacher_OV[torch.arange(len(options)), chosen].exp().mean().item(),
    }


@torch.no_grad()
def _next_logps(model: Any, tokenizer: Any, views: list[list[int]], prefix: list[int], head: Head) -> Tensor:
    device = next(model.parameters()).device
    # One token more than the prefix, whatever it is: the state before it is the one that predicts the answer.
    response = torch.tensor([[*prefix, tokenizer.pad_token_id]] * len(views), device=device)
    hidden = response_hidden(model, [views], response, torch.ones_like(response), batch_size=len(views))
    return head.logps(hidden[0, :, -1])


def _items(
    tokenizer: Any, rollouts: Rollouts, choices_of: Callable[[Mapping[str, Any]], Choices | None], most: int
) -> tuple[list[Item], list[str]]:
    items: dict[str, Item] = {}
    problems: dict[str, list[str]] = {}
    for index, row in enumerate(rollouts.rows):
        choices = choices_of(row)
        if choices is None or prompt_key(row["prompt"]) in items or len(items) == most:
            continue
        found = _item(tokenizer, row, *choices, rollouts.where(index))
        if isinstance(found, str):
            problems.setdefault(found, []).append(rollouts.where(index))
        else:
            items[prompt_key(row["prompt"])] = found
    named = [
        f"{len(places)} responses are no multiple-choice items here: {why} (first: {places[0]})."
        for why, places in problems.items()
    ]
    if not items and not named:
        named.append(
            "No rollout has options: the posterior-compatibility gap needs a task with choices, or a field 'options'."
        )
    return list(items.values()), named


def _item(
    tokenizer: Any, row: Mapping[str, Any], options: Sequence[str], chosen_at: int | None, where: str
) -> Item | str:
    """Return the item, or why there is none."""
    text = row["completion"]
    if len(set(options)) < 2:
        return "fewer than two different options"
    answer = _answer(text, options, chosen_at)
    if answer is None:
        return f"the response names no option{'' if chosen_at is None else ' where the task says it is chosen'}"
    start, rest = text[: answer.start()], text[answer.start() :]
    written = [start + o for o in options]
    ids = [tokenizer(w, add_special_tokens=False)["input_ids"] for w in written]
    shared = 0
    while all(len(i) > shared for i in ids) and len({i[shared] for i in ids}) == 1:
        shared += 1
    if any(len(i) <= shared for i in ids) or len({i[shared] for i in ids}) < len(options):
        return "two options begin with the same token"
    own = row.get("token_ids")
    if own is not None and list(own[:shared]) != ids[0][:shared]:
        return "the tokens before the answer are not those the tokenizer writes for this text"
    return Item(
        where=where,
        prompt=row["prompt"],
        prefix=ids[0][:shared],
        options=[i[shared] for i in ids],
        solutions=[start + re.sub(rf"(?<!\w){re.escape(answer[0])}(?!\w)", lambda _, o=o: o, rest) for o in options],
    )


_STATED = re.compile(r"<answer>|(?<!/)\banswer(?:\s+is)?\b", flags=re.IGNORECASE)


def _answer(text: str, options: Sequence[str], chosen_at: int | None) -> re.Match[str] | None:
    """Return the mention that is the answer: where the task says, else the first one stated as it, else the last."""
    longest_first = sorted(set(options), key=len, reverse=True)  # "5" is not an answer inside "1.5"
    found = list(re.finditer(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", text))
    if chosen_at is not None:
        return next((match for match in found if match.start() == chosen_at), None)
    stated = [match.end() for match in _STATED.finditer(text) if any(m.start() >= match.end() for m in found)]
    after = [match for match in found if stated and match.start() >= stated[-1]]
    return (after or found[-1:] or [None])[0]
