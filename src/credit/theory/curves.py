"""The numbers behind the figures: what the identities look like on worlds a person can read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from credit.rewards import credit_reward, decompose
from credit.theory.gradients import Policy
from credit.theory.identity import Ingredients, log_mean, subsets
from credit.theory.inputs import infonce, information, pairs, response_logps
from credit.theory.rounds import RATE, ROUNDS, entropy, follow
from credit.theory.world import World, capitals, random_world

Curve = tuple[str, list[tuple[float, float]]]
"""A label, and (x, y) points."""


def collect() -> dict[str, Any]:
    """Return the numbers of every figure, by the figure's name; all are exact sums, nothing is sampled."""
    return {
        "token-credit": token_credit(),
        "belief": belief(),
        "estimates": estimates(),
        "bounds": bounds(),
        "gradients": gradient_angles(),
        "flattening": flattening(),
        "drift": drift(),
    }


PRAISE, FRANCE = 0, 0
RESPONSES = (("clearly", "paris", "."), ("well", "paris", "."), ("clearly", "rome", "!"))


def token_credit(lam: float = 0.3) -> list[dict[str, Any]]:
    """Return what every token of three responses of `capitals` is paid when the grader praises, in nats."""
    world = capitals()
    teacher, student = world.teacher_ZXNTV[PRAISE], world.student_XNTV[FRANCE]
    others = world.others(FRANCE)
    specific, generic = decompose(teacher[FRANCE], teacher[others])
    columns = {
        "r": teacher[FRANCE] - student,
        "S": specific,
        "G": generic,
        "R paper": credit_reward(teacher[FRANCE], student, teacher[others], lam),
        "R guided": credit_reward(teacher[FRANCE], student, teacher[others], lam, "guided"),
    }
    table = []
    for words in RESPONSES:
        n = _number(world, words)
        scores = {name: world.sampled(score)[n].tolist() for name, score in columns.items()}
        table.append(
            {"input": world.inputs[FRANCE], "feedback": world.feedbacks[PRAISE], "tokens": list(words), **scores}
        )
    return table


def belief() -> list[Curve]:
    """Return p(z = praise | x, first t tokens) of the same responses: the path whose steps in log are r."""
    world = capitals()
    path_NS = world.filtered_ZXNS[PRAISE, FRANCE].exp()
    return [(" ".join(words), list(enumerate(path_NS[_number(world, words)].tolist()))) for words in RESPONSES]


def estimates() -> list[Curve]:
    """Return bias and spread of G from C of 7 unrelated inputs, averaged over a random world, in nats."""
    world = random_world(11, inputs=8, tokens=3, steps=2, feedbacks=2)
    teacher, others = world.teacher_ZXNTV[0], world.others(0)
    exact = teacher[others].mean(dim=0)
    spread, own_bias, bias = [], [], []
    for count in range(1, len(others) + 1):
        drawn = subsets(others, count)
        logs = torch.stack([teacher[list(s)].mean(dim=0) for s in drawn])
        mean = torch.stack([log_mean(teacher[list(s)]) for s in drawn])
        spread.append((count, logs.std(dim=0, correction=0).mean().item()))
        own_bias.append((count, (logs.mean(dim=0) - exact).mean().item()))
        bias.append((count, (mean.mean(dim=0) - exact).mean().item()))
    return [
        ("mean of logs, deviation", spread),
        ("mean of logs, bias", own_bias),
        ("log of mean, bias", bias),
    ]


def bounds() -> list[Curve]:
    """Return InfoNCE and CLUB around the true information, by number of unrelated inputs."""
    use = Ingredients()
    world = random_world(12, inputs=8, tokens=3, steps=2, feedbacks=2)
    logp_XN = response_logps(world, use)[0]
    counts = range(1, world.X)
    specific_XN = torch.stack([decompose(own, logp_XN[world.others(x)])[0] for x, own in enumerate(logp_XN)])
    club = (logp_XN.exp() * specific_XN).sum(dim=-1).mean().item()
    return [
        ("E sum S (CLUB)", [(count, club) for count in counts]),
        ("I(x; y)", [(count, information(logp_XN).item()) for count in counts]),
        ("InfoNCE", [(count, infonce(logp_XN, count, use).item()) for count in counts]),
    ]


def gradient_angles() -> list[Curve]:
    """Return the cosine between the exact gradient of E sum R and both estimators, averaged, by lambda."""
    use, world = Ingredients(), random_world(13, inputs=4, tokens=3, steps=3, feedbacks=2)
    coefficients = [k / 10 for k in range(11)]
    cosines: dict[str, list[tuple[float, float]]] = {"to go": [], "immediate": []}
    for lam in coefficients:
        policies = [Policy(world, use, z, x, lam) for z, x in pairs(world)]
        for name, key in (("to go", "to_go"), ("immediate", "immediate")):
            cosine = [torch.cosine_similarity(p.exact(), p.estimated(key), dim=0) for p in policies]
            cosines[name].append((lam, torch.stack(cosine).mean().item()))
    return list(cosines.items())


_START = (0.7, 0.2, 0.1)
_TILT = (0.0, 1.0, 0.0)
_SILENT = (("paper, λ 1", "paper", 1.0), ("paper, λ 0.3", "paper", 0.3), ("paper, λ 0.1", "paper", 0.1),
           ("guided, λ 1", "guided", 1.0))  # fmt: skip
_TILTED = (("guided, λ 1", "guided", 1.0), ("paper, λ 0.1", "paper", 0.1), ("paper, λ 0.5", "paper", 0.5),
           ("feedback_contrast, λ 1", "feedback_contrast", 1.0))  # fmt: skip


def flattening() -> list[Curve]:
    """Return the entropy, in nats, of a generic position where feedback is silent, by rounds.

    Plain self-distillation and `feedback_contrast` leave it alone as `guided` does.
    """
    return [(label, _points(entropy(_path(form, lam)))) for label, form, lam in _SILENT]


def drift() -> list[Curve]:
    """Return the probability of the boilerplate token that feedback favours under any input, by rounds.

    Plain self-distillation goes where `guided` goes: the input does not matter here.
    """
    tilt = torch.tensor(_TILT, dtype=torch.float64)
    return [(label, _points(_path(form, lam, tilt)[:, 1].exp())) for label, form, lam in _TILTED]


def _path(form: str, lam: float, tilt: Tensor | None = None) -> Tensor:
    start = torch.tensor(_START, dtype=torch.float64).log()
    return follow(start, form, lam, ROUNDS, RATE, Ingredients(), tilt)


def _points(values: Tensor) -> list[tuple[float, float]]:
    return [(float(i), value) for i, value in enumerate(values.tolist())]


def _number(world: World, words: tuple[str, ...]) -> int:
    ids = torch.tensor([names.index(word) for names, word in zip(world.tokens, words, strict=True)])
    return int((world.responses_NT == ids).all(dim=1).nonzero().item())
