"""The self-teacher's weights: live, frozen, or an exponential moving average of the student; saved and loaded.

With a trust region there are two: a frozen reference and the live student, whose logits are interpolated, both after
the teacher's prompt (SDPO, arXiv 2601.20802; second-hand, share 0.01).

The average moves once per generation batch, after its last optimiser step (the moment SDPO's reference uses too), so
a batch is scored by one fixed teacher. It is kept in float32: at rate 0.01 a bfloat16 average would lose most updates.

With an adapter (LoRA) the base weights are nobody's to copy: a frozen teacher is the student with its adapter switched
off, and the average is one of the adapter's weights, which the student wears while it scores. A sharded student (FSDP2,
ZeRO-3) wears the teacher's shards in the same way: no accelerator ever holds a whole second model. One whose parameters
DeepSpeed leaves whole (ZeRO-2) wears a whole teacher: a copy made before the start would be of another type and place.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from credit.scoring import Head, LerpHead, with_response_head
from credit.shards import gathered, local, parameters, sliced

KINDS = ("live", "frozen", "ema", "trust_region")
_WEIGHTS, _STATE = "credit_teacher.safetensors", "credit_teacher.json"


class Teacher:
    """Weights that score rollouts.

    Args:
        student: the model being trained, unwrapped.
        kind: "live" (the student itself), "frozen" (as it was at the start), "ema" or "trust_region".
        rate: share of the student: of "ema" mixed in at each `follow`, teacher <- (1 - rate) teacher + rate student;
            of "trust_region" in the logits.
        adapter: the `PeftModel` around the student, when only an adapter is trained.
        worn: whether the student wears the teacher, as it must where it is sharded (FSDP2, DeepSpeed). Each rank then
            keeps the teacher's shards of its own.
        release: frees what passes left gathered, where the student's modules cannot (`shards.parameters`).
    """

    def __init__(
        self, student: nn.Module, kind: str, rate: float, adapter: Any = None, worn: bool = False,
        release: Callable[[], None] = lambda: None,
    ):  # fmt: skip
        if kind not in KINDS:
            raise ValueError(f"teacher={kind!r} is unknown. Use one of {', '.join(KINDS)}.")
        self.kind, self.rate, self.updates = kind, rate, 0
        self._student, self._adapter = student, adapter
        self._release = release
        self._copied = kind != "live" and adapter is None and not worn
        self.model = _frozen_copy(student) if self._copied else student
        self._kept: dict[str, Tensor] | None = None

    @property
    def reads_student(self) -> bool:
        """Whether the student's weights of today are part of the teacher."""
        return self.kind in ("live", "trust_region")

    @property
    def weights(self) -> dict[str, Tensor]:
        """What is kept beside the student, by name: this rank's shards, in float32; empty for a frozen adapter."""
        if self._kept is None:  # at the first look: by then a sharded student is sharded, and nothing has moved
            named = parameters(self.model)
            if self._adapter is not None:
                named = {n: p for n, p in named.items() if p.requires_grad} if self.kind == "ema" else {}
            # A float32 copy is its own average; in half precision a rate of 0.01 would round away.
            averages = self.kind == "ema" or not self._copied
            kept = {n: local(p).float() if averages else p.detach() for n, p in named.items()}
            self._kept = {n: w if self._copied else w.clone() for n, w in kept.items()} if self.kind != "live" else {}
        return self._kept

    def hidden(self, student: Any, of: Callable[[Any], Tensor]) -> Tensor:
        """Return the hidden states the teacher's head reads.

        Args:
            student: as the trainer calls it, wrapped or not.
            of: model -> its hidden states (B, T, D); with a trust region both are returned side by side, (B, T, 2D).
        """
        found = []
        if self.kind != "live":
            with self._worn():
                found.append(of(self.model if self._copied else student))
        if self.reads_student:
            found.append(of(student))
        return found[0] if len(found) == 1 else torch.cat(found, dim=-1)

    def _worn(self) -> AbstractContextManager[Any]:
        """Let the student wear what is kept beside it, or take its adapter off."""
        if self._copied or self.kind == "live":
            return nullcontext()
        if self._adapter is not None and self.kind != "ema":
            return self._adapter.disable_adapter()
        return _wearing(self._student, self.weights, self._release)

    def head(self, of: Callable[[Any], Head], moves: bool) -> Head:
        """Return the teacher's head as it is today, whole and without gradient.

        Args:
            of: model -> its head.
            moves: whether the student takes several steps on one batch, whose target must stay.
        """
        # What is worn comes off again, and a live teacher trains on; an adapter never touches the head.
        changes = not self._copied and self._adapter is None and (moves or self.kind != "live")
        with self._worn():
            parameters(self.model)  # as shards: what is gathered for a pass is freed behind it
            own = of(self.model).frozen(copy=changes)
        if self.kind != "trust_region":
            return own
        return LerpHead(**vars(own), student=of(self._student).frozen(copy=moves), share=self.rate)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average one step towards the student; nothing to do for the other kinds."""
        if self.kind != "ema":
            return
        student = parameters(self._student)
        for name, average in self.weights.items():
            average.lerp_(local(student[name]).to(average), self.rate)
        self._show()
        self.updates += 1

    def save(self, folder: str | Path, writes: bool = True) -> None:
        """Write the teacher beside a checkpoint. Live teachers are the student and need no file of their own.

        Args:
            folder: the checkpoint.
            writes: whether this rank writes; all ranks call, because shards are gathered.
        """
        if self.kind == "live":
            return
        from safetensors.torch import save_file

        named = parameters(self.model)
        weights = {}
        for name, kept in self.weights.items():
            full = gathered(kept, named[name])
            if writes:  # one rank holds all of it, the others one parameter at a time
                weights[name] = full.cpu().contiguous()
        if not writes:
            return
        save_file(weights, Path(folder) / _WEIGHTS)
        state = {"kind": self.kind, "rate": self.rate, "updates": self.updates}
        (Path(folder) / _STATE).write_text(json.dumps(state))

    @torch.no_grad()
    def load(self, folder: str | Path) -> None:
        """Restore from a checkpoint; raise if it holds no teacher, or one of another kind."""
        if self.kind == "live":
            return
        from safetensors import safe_open

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
        named = parameters(self.model)
        with safe_open(Path(folder) / _WEIGHTS, framework="pt") as saved:
            for name, kept in self.weights.items():
                kept.copy_(sliced(saved.get_tensor(name), named[name]))
        self._show()

    def _show(self) -> None:
        """Round the average to the copy that scores; what the student wears is rounded when it does."""
        if self._copied:
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.weights[name])


def read_weights(folder: str | Path) -> dict[str, Tensor] | None:
    """Return the teacher's parameters saved beside a checkpoint; None when the student itself was the teacher."""
    from safetensors.torch import load_file

    path = Path(folder) / _WEIGHTS
    return load_file(path) if path.exists() else None


@contextmanager
def _wearing(model: nn.Module, weights: dict[str, Tensor], release: Callable[[], None]) -> Iterator[None]:
    """Give some parameters other values, and their own back, bit for bit."""
    own = {name: local(p).clone() for name, p in parameters(model).items() if name in weights}

    def put(values: dict[str, Tensor]) -> None:
        release()
        named = parameters(model)  # as shards again, or the next pass would find what the last one had gathered
        with torch.no_grad():
            for name, value in values.items():
                local(named[name]).copy_(value)

    put(weights)
    try:
        yield
    finally:
        put(own)


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
