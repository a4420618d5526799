"""The self-teacher's weights: live, frozen, or an exponential moving average of the student; saved and loaded.

The average moves once per generation batch, after its last optimiser step (the moment SDPO's reference uses too), so
a batch is scored by one fixed teacher. It is kept in float32: at rate 0.01 a bfloat16 average would lose most updates.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from credit.scoring import with_response_head

KINDS = ("live", "frozen", "ema")
_WEIGHTS, _STATE = "credit_teacher.safetensors", "credit_teacher.json"


class Teacher:
    """Weights that score rollouts.

    Args:
        student: the model being trained, unwrapped.
        kind: "live" (the student itself), "frozen" (as it was at the start) or "ema".
        rate: share of the student mixed in at each `follow`: teacher <- (1 - rate) teacher + rate student.
    """

    def __init__(self, student: nn.Module, kind: str, rate: float):
        if kind not in KINDS:
            raise ValueError(f"teacher={kind!r} is unknown. Use one of {', '.join(KINDS)}.")
        self.kind, self.rate, self.updates = kind, rate, 0
        self._student = student
        self.model = student if kind == "live" else _frozen_copy(student)
        self._average: dict[str, Tensor] = {}
        if kind == "ema":
            self._average = {n: p.detach().float().clone() for n, p in self.model.named_parameters()}

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
