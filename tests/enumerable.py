"""A world small enough to sum over completely, and random log-probabilities. Float64 throughout."""

import torch
from torch import Tensor


def random_logps(*shape: int, scale: float = 2.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random log-probabilities, normalised over the last axis."""
    return (scale * torch.randn(*shape, dtype=dtype)).log_softmax(dim=-1)


class World:
    """X inputs, V tokens, answers of T tokens, Z feedback values; the teacher is the exact Bayes posterior.

    Attributes (axes X inputs, N = V^T answers, T steps, V tokens, Z feedback values):
        answers_NT: every answer.
        logp_XN: log p(y | x).
        logp_feedback_XNZ: log p(z | x, y).
        student_XNTV: log p(v | x, y_<t).
        teacher_ZXNTV: log P(v | x, y_<t, z).
        filtered_ZXNS: log p(z | x, y_<=s) for s = 0..T; s = 0 is log p(z | x).
    """

    def __init__(self, seed: int = 0, inputs: int = 3, tokens: int = 3, steps: int = 3, feedbacks: int = 3):
        self.X, self.V, self.T, self.Z = inputs, tokens, steps, feedbacks
        generator = torch.Generator().manual_seed(seed)

        def logps(*shape: int) -> Tensor:
            return (2 * torch.randn(*shape, generator=generator, dtype=torch.float64)).log_softmax(dim=-1)

        self.answers_NT = torch.cartesian_prod(*[torch.arange(tokens)] * steps)
        count = len(self.answers_NT)
        self.student_XNTV = self._along_answers([logps(inputs, tokens**t, tokens) for t in range(steps)])
        self.logp_XN = self.sampled(self.student_XNTV).sum(dim=-1)
        self.logp_feedback_XNZ = logps(inputs, count, feedbacks)

        joint_XNZ = (self.logp_XN.unsqueeze(-1) + self.logp_feedback_XNZ).exp()
        posterior, filtered = [], []
        for t in range(steps + 1):
            prefix_XPZ = joint_XNZ.reshape(inputs, tokens**t, -1, feedbacks).sum(dim=2)
            prefix_XP = self.logp_XN.exp().reshape(inputs, tokens**t, -1).sum(dim=2)
            likelihood_XPZ = (prefix_XPZ / prefix_XP.unsqueeze(-1)).log()
            filtered.append(likelihood_XPZ.repeat_interleave(tokens ** (steps - t), dim=1))
            if t < steps:
                next_XPVZ = joint_XNZ.reshape(inputs, tokens**t, tokens, -1, feedbacks).sum(dim=3)
                posterior.append((next_XPVZ / prefix_XPZ.unsqueeze(2)).log())
        self.filtered_ZXNS = torch.stack(filtered, dim=-1).permute(2, 0, 1, 3)
        self.teacher_ZXNTV = torch.stack(
            [self._along_answers([p[..., z] for p in posterior]) for z in range(feedbacks)]
        )

    @property
    def pmi_ZXN(self) -> Tensor:
        """pMI(y; z | x) = log p(z | x, y) - log p(z | x), from the feedback model alone."""
        return self.logp_feedback_XNZ.permute(2, 0, 1) - self.filtered_ZXNS[..., 0]

    def sampled(self, score_V: Tensor) -> Tensor:
        """Pick the tokens of the answers: (..., N, T, V) -> (..., N, T)."""
        index = self.answers_NT.unsqueeze(-1).expand(*score_V.shape[:-1], 1)
        return score_V.gather(-1, index).squeeze(-1)

    def others(self, x: int) -> list[int]:
        """Return all unrelated inputs."""
        return [other for other in range(self.X) if other != x]

    def _along_answers(self, tables: list[Tensor]) -> Tensor:
        """One (X, V^t, V) table per step -> (X, N, T, V), along the prefixes of every answer."""
        repeated = [table.repeat_interleave(self.V ** (self.T - t), dim=1) for t, table in enumerate(tables)]
        return torch.stack(repeated, dim=2)
