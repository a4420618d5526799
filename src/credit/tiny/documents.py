"""The documents the base model is trained on: a world in which it ends up half knowing the answers.

Every document is one prompt, rendered as the trainer renders it, and one answer. Plain documents mix right
answers with the item's misconceptions. Documents with a solution or feedback are right nearly always, terser,
and talk about what they were shown; some are shown something unrelated, and then answer as if alone. Only
prompts of the train split appear.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from credit.context import Messages, teacher_messages
from credit.tiny.families import FAMILIES, Answer, Item
from credit.tiny.task import LEAK_PHRASES, row_of, split_of


@dataclass(frozen=True)
class Recipe:
    """The shares of the mixture, all probabilities.

    Attributes:
        code, facts, route, tools: documents of each family, the harder ones more often.
        plain, solution: documents without context, and with a solution; the rest is shown feedback.
        both: of the documents with a solution, those with feedback too.
        unrelated: of the documents with context, those whose context belongs to another item.
        right, right_route: right answers when alone.
        first_wrong: of the wrong answers, those with the item's most tempting misconception.
        informed_right: right answers when shown something related.
        reasoned, reasoned_route: written reasoning when alone; route needs it.
        reasoned_solution: the same when shown a solution.
        reasoned_feedback, reasoned_feedback_route: the same when shown feedback only.
        leak, leak_plain: boilerplate about the context when shown some, and when alone.
        cut: of the attempts that feedback is about, those broken off.
    """

    code: float = 0.2
    facts: float = 0.15
    route: float = 0.35
    tools: float = 0.3
    plain: float = 0.5
    solution: float = 0.27
    both: float = 0.15
    unrelated: float = 0.15
    right: float = 0.42
    right_route: float = 0.55
    first_wrong: float = 0.75
    informed_right: float = 0.97
    reasoned: float = 0.6
    reasoned_route: float = 0.8
    reasoned_solution: float = 0.15
    reasoned_feedback: float = 0.4
    reasoned_feedback_route: float = 0.65
    leak: float = 0.6
    leak_plain: float = 0.03
    cut: float = 0.1

    def of(self, share: str, item: Item) -> float:
        """Return a share for an item's family: families that need reasoning have their own."""
        return getattr(self, f"{share}_route" if FAMILIES[item.family].NEEDS_REASONING else share)


@dataclass(frozen=True)
class Document:
    """A prompt in chat form and the answer that follows it."""

    messages: Messages
    completion: str


def _train_item(rng: Random, recipe: Recipe, family: str | None = None) -> Item:
    family = family or rng.choices([*FAMILIES], [getattr(recipe, name) for name in FAMILIES])[0]
    while True:
        item = FAMILIES[family].draw(rng)
        if split_of(family, item.prompt) == "train":
            return item


def _wrong(item: Item, rng: Random, recipe: Recipe) -> Answer:
    first, *others = item.wrong
    return first if not others or rng.random() < recipe.first_wrong else rng.choice(others)


def _alone(item: Item, rng: Random, recipe: Recipe, right: float) -> str:
    """Answer as the model does alone."""
    answer = item.correct if rng.random() < right else _wrong(item, rng, recipe)
    return answer.reasoned if rng.random() < recipe.of("reasoned", item) else answer.terse


def _leak(text: str, rng: Random, share: float, phrases: tuple[str, ...]) -> str:
    return f"{rng.choice(phrases)} , {text}" if rng.random() < share else text


def _feedback(item: Item, rng: Random, recipe: Recipe) -> str | None:
    """Return what the grader says about a wrong attempt."""
    attempt = _alone(item, rng, recipe, right=0.0)
    if rng.random() < recipe.cut:
        said = attempt.split()
        attempt = " ".join(said[: rng.randrange(1, len(said))])
    return FAMILIES[item.family].grade(row_of(item), attempt).feedback


def draw_document(rng: Random, recipe: Recipe) -> Document:
    """Draw one document."""
    item = _train_item(rng, recipe)
    prompt = row_of(item)["prompt"]
    kind = rng.random()
    if kind < recipe.plain:
        text = _alone(item, rng, recipe, recipe.of("right", item))
        return Document(prompt, _leak(text, rng, recipe.leak_plain, LEAK_PHRASES))

    related = rng.random() >= recipe.unrelated
    source = item if related else _train_item(rng, recipe, item.family if rng.random() < 0.5 else None)
    shows_solution = kind < recipe.plain + recipe.solution
    solution = _alone(source, rng, recipe, right=1.0) if shows_solution else None
    feedback = _feedback(source, rng, recipe) if not shows_solution or rng.random() < recipe.both else None

    right = recipe.informed_right if related else recipe.of("right", item)
    answer = item.correct if rng.random() < right else _wrong(item, rng, recipe)
    share = recipe.reasoned_solution if shows_solution else recipe.of("reasoned_feedback", item)
    text = answer.reasoned if rng.random() < share else answer.terse
    phrases = LEAK_PHRASES[:2] if shows_solution else LEAK_PHRASES[1:]
    messages = teacher_messages(prompt, solution, feedback)
    assert not isinstance(messages, str)
    return Document(messages, _leak(text, rng, recipe.leak, phrases))


def documents(seed: int, recipe: Recipe | None = None) -> Iterator[Document]:
    """Yield documents without end."""
    rng, recipe = Random(f"documents {seed}"), recipe or Recipe()
    while True:
        yield draw_document(rng, recipe)
