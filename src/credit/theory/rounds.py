"""What happens to a position of boilerplate when the teacher follows the student for many rounds.

A *generic position* is one where no input changes the teacher. There the student learns the target q, the teacher's
weights move towards the student's (as logits, by the EMA), and the next round starts from the moved teacher.
"""

from __future__ import annotations

import torch
from torch import Tensor

from credit.theory.identity import Ingredients, identity, largest
from credit.theory.inputs import LAM
from credit.theory.world import World

ROUNDS = 40
RATE = 0.2


def follow(
    start_V: Tensor, form: str, lam: float, rounds: int, rate: float, use: Ingredients, tilt_V: Tensor | None = None
) -> Tensor:
    """Return log p of the teacher's weights after each round, (rounds + 1, ..., V).

    Args:
        start_V: log p of the position at the start, for student and teacher.
        form: form of the credit.
        lam: its coefficient; 0 is plain self-distillation.
        rounds: how many times the student reaches its target and the teacher follows.
        rate: share of the student mixed into the teacher's logits at each round.
        tilt_V: what feedback adds to the teacher's logits here, under any input; None where feedback is silent.
    """
    logits = start_V
    history = [logits.log_softmax(dim=-1)]
    for _ in range(rounds):
        prior = logits.log_softmax(dim=-1)
        teacher = prior if tilt_V is None else (prior + tilt_V).log_softmax(dim=-1)
        student = use.target(teacher, teacher[None], lam, form, prior[None])
        logits = use.follow(logits, student, rate)
        history.append(logits.log_softmax(dim=-1))
    return torch.stack(history)


def entropy(logp_V: Tensor) -> Tensor:
    """Return the entropy over the last axis, in nats."""
    return -(logp_V.exp() * logp_V).sum(dim=-1)


@identity("flattening", "ours", ("target", "follow"))
def flattening(world: World, use: Ingredients) -> Tensor:
    """At a generic position, the student reaching its target and the teacher following in logits at rate a, the paper's
    form gives p^((1 - a lambda)^n) after n rounds: entropy never falls and tends to log V.
    """
    start = world.policy[0][:, 0]
    path = follow(start, "paper", LAM, ROUNDS, RATE, use)
    exponent = (1 - RATE * LAM) ** torch.arange(ROUNDS + 1, dtype=start.dtype)
    expected = (exponent[:, None, None] * start).log_softmax(dim=-1)
    return largest(path - expected, entropy(path).diff(dim=0).clamp(max=0))


@identity("guided holds still", "ours", ("form",))
def guided_holds_still(world: World, use: Ingredients) -> Tensor:
    """At a generic position where feedback is silent, `guided` and `feedback_contrast` leave the teacher as it was."""
    start = world.policy[0][:, 0]
    forms = ("guided", "feedback_contrast")
    return largest(*(follow(start, form, 1.0, ROUNDS, RATE, use) - start for form in forms))


@identity("boilerplate drift", "ours", ("target", "form", "follow"))
def boilerplate_drift(world: World, use: Ingredients) -> Tensor:
    """Where feedback adds L to the logits of a generic position: plain and guided drift by a L each round, without end;
    paper stops at logits (1-lambda)/lambda L; feedback_contrast drifts by a (1-lambda) L, not at all at lambda 1.
    """
    start, tilt = world.policy[0][:, 0], world.policy[-1][:, 0].flip(-1) / 10
    rounds = torch.arange(ROUNDS + 1, dtype=start.dtype)[:, None, None]
    kept = (1 - RATE * LAM) ** rounds
    expected = {
        ("guided", LAM): start + rounds * RATE * tilt,
        ("paper", LAM): kept * start + (1 - kept) * (1 - LAM) / LAM * tilt,
        ("feedback_contrast", LAM): start + rounds * RATE * (1 - LAM) * tilt,
        ("feedback_contrast", 1.0): start.expand(ROUNDS + 1, *start.shape),
    }
    paths = {key: follow(start, key[0], key[1], ROUNDS, RATE, use, tilt) for key in expected}
    return largest(*(paths[key] - expected[key].log_softmax(dim=-1) for key in expected))
