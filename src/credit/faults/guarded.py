"""`Guarded`: TRL's trainer that stops at what is not finite, and names options when memory is out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from credit import _trl
from credit.errors import SamplingError
from credit.faults.memory import advised
from credit.faults.nonfinite import bad_parameters, stop
from credit.phases import StepClock
from credit.shards import whole


class Guarded(_trl.GRPOTrainer):
    """GRPOTrainer whose faults are found before they reach the weights. Hooks only.

    Attributes:
        parts: what the last loss was made of, by name, per token or whole; without gradient.
    """

    _clock: StepClock

    def __init__(self, *args: Any, **kwargs: Any):
        self.parts: dict[str, Tensor] = {}
        self._window: list[dict[str, Any]] = []  # micro-batches of the step so far: TRL's buffer holds them anyway
        self._stage = "loss"
        super().__init__(*args, **kwargs)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; errors of memory and of numbers come with what to do."""
        with advised(self.args, lambda: self._clock.failed or self._stage, self._when):
            try:
                return super().train(*args, **kwargs)
            except RuntimeError as error:
                if "probability tensor contains" not in str(error):  # torch.multinomial
                    raise
                bad = bad_parameters(self.accelerator.unwrap_model(self.model))
                found = f"{bad[0]} is not finite" if bad else "all weights are finite, so activations overflow"
                raise SamplingError(
                    f"{self._when()}the student's probabilities were not finite while answers were sampled: {found}. "
                    "There is no batch to save. Try the model in another dtype (bf16, model_init_kwargs)."
                ) from error

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return TRL's loss, if it is finite on every rank."""
        self.parts, self._stage = {}, "loss"
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if model.training:
            self._window.append(inputs)
            if ranks := self._not_finite(loss.detach()):
                stop(self, "loss", loss.item(), [inputs], ranks)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Return the norm before the optimiser's step, if it is finite."""
        norm: Any = super()._get_grad_norm(model, grad_norm=grad_norm)
        window, self._window, self._stage = self._window, [], "update"
        if norm is None or self._scaling():
            return norm
        value = whole(norm.detach()) if isinstance(norm, Tensor) else torch.tensor(float(norm))
        if ranks := self._not_finite(value.to(self.accelerator.device)):
            stop(self, "gradient norm", value.item(), window, ranks)
        return norm

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self.parts["log-probabilities"] = found[0].detach()
        return found

    def _not_finite(self, value: Tensor) -> list[int]:
        """Return the ranks on which a number is not finite: all learn of it, so that all stop.

        One integer of every rank for a micro-batch, which TRL gathers several metrics of anyway.
        """
        found: Any = self.accelerator.gather((~torch.isfinite(value)).int().reshape(1))
        return found.nonzero().flatten().tolist()

    def _scaling(self) -> bool:
        """Whether float16's loss scaling is still to be lowered: it looks for overflow, and leaves out such steps."""
        scaler = getattr(self.accelerator, "scaler", None)
        return scaler is not None and scaler.get_scale() >= 1

    def _when(self) -> str:
        return f"step {self.state.global_step + 1}: "
