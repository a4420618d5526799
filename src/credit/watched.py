"""Rollouts of the first file of token credit that every later file scores again: same answer, same z, same x'.

New rollouts answer new prompts, so their credit shows the data as much as the model. What is scored again shows how
student and teacher have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from credit.views import Plan


@dataclass
class Watched:
    """What it takes to score a few rollouts again.

    Attributes:
        prompts: prompt ids of the student.
        plan: the teacher's views.
        tensors: completion ids and masks, (n, T), on the CPU.
        described: columns of the files that stay as they are.
    """

    prompts: list[list[int]]
    plan: Plan
    tensors: dict[str, Tensor]
    described: list[dict[str, Any]]

    @classmethod
    def of(
        cls,
        chosen: list[int],
        prompts: list[list[int]],
        plan: Plan,
        output: dict[str, Any],
        described: list[dict[str, Any]],
    ) -> Watched:
        """Keep the `chosen` local rollouts of a generation batch."""

        def pick(values: list[Any]) -> list[Any]:
            return [values[i] for i in chosen]

        return cls(
            pick(prompts),
            Plan(
                contexts=pick(plan.contexts),
                own=pick(plan.own),
                negatives=None if plan.negatives is None else plan.negatives[chosen],
                contrast=[pick(view) for view in plan.contrast],
                nofeedback=[pick(view) for view in plan.nofeedback],
                said=pick(plan.said) if plan.said else [],
            ),
            {
                name: output[name][chosen].cpu()
                for name in ("completion_ids", "completion_mask", "tool_mask")
                if name in output
            },
            described,
        )

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        state["plan"] = {f.name: getattr(self.plan, f.name) for f in fields(self.plan)}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Watched | None:
        """Read what `save` wrote; None when there is nothing."""
        if not path.exists():
            return None
        state = torch.load(path, weights_only=True)
        return cls(**{**state, "plan": Plan(**state["plan"])})


def watched_file(folder: Path, rank: int) -> Path:
    """Return where a rank keeps what it watches."""
    return folder / "credit" / f"watched-{rank}.pt"


def current(path: Path, step: int, everywhere: Callable[[list[bool]], list[bool]]) -> Watched | None:
    """Return what is watched at `step`, or None at the first file; a resumed run goes on with what it had.

    Args:
        path: this rank's file.
        step: optimiser steps done.
        everywhere: gathers over ranks: all score again, or none, so that they stay in step.
    """
    found = Watched.load(path) if step else None
    return found if all(everywhere([found is not None])) else None
