"""The self-teacher's weights: live, frozen, or an exponential moving average of the student; saved and loaded.

With a trust region there are two: a frozen reference and the live student, whose logits are interpolated, both after
the teacher's prompt (SDPO, arXiv 2601.20802; second-hand, share 0.01).

The average moves once per generation batch, after its last optimiser step (the moment SDPO's reference uses too), so
a batch is scored by one fixed teacher. It is kept in float32: at rate 0.01 a bfloat16 average would lose most updates.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from credit.scoring import Head, LerpHead, with_response_head

KINDS = ("live", "frozen", "ema", "trust_region")
_WEIGHTS, _STATE = "credit_teacher.safetensors", "credit_teacher.json"


class Teacher:
    """Weights that score rollouts.

    Args:
        student: the model being trained, unwrapped.
        kind: "live" (the student itself), "frozen" (as it was at the start), "ema" or "trust_region".
        rate: share of the student: of "ema" mixed in at each `follow`, teacher <- (1 - rate) teacher + rate student;
            of "trust_region" in the logits.
    """

    def __init__(self, student: nn.Module, kind: str, rate: float):
        if kind not in KINDS:
            raise ValueError(f"teacher={kind!r} is unknown. Use one of {', '.join(KINDS)}.")
        self.kind, self.rate, self.updates = kind, rate, 0
        self._student = student
        self.model = student if kind == "live" else _frozen_copy(student)
        self._average: dict[str, Tensor] = {}
        if kind == "ema":
            # A float32 teacher is its own average; in half precision a rate of 0.01 would round away.
            self._average = {n: p.detach().float() for n, p in self.model.named_parameters()}

    @property
    def reads_student(self) -> bool:
        """Whether the student's weights of today are part of the teacher."""
        return self.kind in ("live", "trust_region")

    def hidden(self, student: Any, of: Callable[[Any], Tensor]) -> Tensor:
        """Return the hidden states the teacher's head reads.

        Args:
            student: as the trainer calls it, wrapped or not.
            of: model -> its hidden states (B, T, D); with a trust region both are returned side by side, (B, T, 2D).
        """
        models = [*([] if self.kind == "live" else [self.model]), *([student] if self.reads_student else [])]
        return of(models[0]) if len(models) == 1 else torch.cat([of(model) for model in models], dim=-1)

    def head(self, of: Callable[[Any], Head], moves: bool) -> Head:
        """Return the teacher's head as it is today, without gradient.

        Args:
            of: model -> its head.
            moves: whether the student takes several steps on one batch, whose target must stay.
        """
        own = of(self.model).frozen(copy=moves and self.kind == "live")
        if self.kind != "trust_region":
            return own
        return LerpHead(**vars(own), student=of(self._student).frozen(copy=moves), share=self.rate)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average one step towards the student; nothing to do for the other kinds."""
        if self.kind != "ema":
            return
        student = dict(self._student.named_parameters())
        for name, parameter in self.model.named_parameters():
            average = self._average[name]
            average.lerp_(student[name].detach().to(average), self.rate)
            parameter.copy_(average)
        self.updates += 1

    def save(self, folder: str | Path) -> None:
        """Write the teacher beside a checkpoint. Live teachers are the student and need no file of their own."""
        if self.kind == "live":
            return
        from safetensors.torch import save_file

        weights = self._average or {n: p.detach() for n, p in self.model.named_parameters()}
        save_file({n: w.cpu().contiguous() for n, w in weights.items()}, Path(folder) / _WEIGHTS)
        state = {"kind": self.kind, "rate": self.rate, "updates": self.updates}
        (Path(folder) / _STATE).write_text(json.dumps(state))

    @torch.no_grad()
    def load(self, folder: str | Path) -> None:
        """Restore from a checkpoint; raise if it holds no teacher, or one of another kind."""
        if self.kind == "live":
            return
        from safetensors.torch import load_file

        state_file = Path(folder) / _STATE
        if not state_file.exists():
            raise ValueError(
                f"{folder} holds no saved teacher ({_STATE}); resuming would restart it silently. "
                "Resume from a checkpoint written with the same `teacher`, or set teacher='live'."
            )
        state = json.loads(state_file.read_text())
        if (state["kind"], state["rate"]) != (self.kind, self.rate):
            raise ValueError(
                f"{folder} was written with teacher={state['kind']!r}, ema_rate={state['rate']}, this run asks for "
                f"{self.kind!r}, {self.rate}. Use the same settings to resume."
            )
        self.updates = state["updates"]
        weights = load_file(Path(folder) / _WEIGHTS)
        for name, parameter in self.model.named_parameters():
            if name in self._average:
                self._average[name].copy_(weights[name])
            parameter.copy_(weights[name])


def read_weights(folder: str | Path) -> dict[str, Tensor] | None:
    """Return the teacher's parameters saved beside a checkpoint; None when the student itself was the teacher."""
    from safetensors.torch import load_file

    path = Path(folder) / _WEIGHTS
    return load_file(path) if path.exists() else None


def _frozen_copy(student: nn.Module) -> nn.Module:
    # An instance-level `forward` (TRL's fused head, ours) closes over the student: a copy that kept it would run the
    # student's weights. The copy gets a clean one of its own.
    patched = student.__dict__.pop("forward", None)
    try:
        model = copy.deepcopy(student)
    finally:
        if patched is not None:
            student.forward = patched
    model.requires_grad_(False).eval()
    with_response_head(model)
    return model
