"""A step whose loss or gradient is not finite: where it first shows, and a folder from which it can be replayed.

`nonfinite-step-N` holds `rank-R.json` (for people: what, where, texts, options) and `rank-R.safetensors` (the
micro-batches) of each rank that met it, and once for all `model/` (the weights at that moment) and
`teacher_head.safetensors`. Nothing in it runs code when it is read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError
from torch import Tensor, nn

from credit.errors import NonFiniteError
from credit.scoring import Head, LerpHead
from credit.shards import local, parameters

# What a micro-batch may hold, in the order in which it comes to be; other names follow as they are.
INPUTS = {
    "teacher_hidden": "teacher's hidden states",
    "contrast_hidden": "contrast's hidden states",
    "nofeedback_hidden": "contrast's hidden states without feedback",
    "advantages": "advantages",
    "old_per_token_logps": "log-probabilities at sampling",
    "sampling_per_token_logps": "log-probabilities of the sampler",
    "ref_per_token_logps": "log-probabilities of the reference",
}
HEAD = "teacher_head.safetensors"

Places = list[tuple[int, int | None]]


def places(values: Tensor) -> Places:
    """Return (row, first token) of every row that is not finite: of (B,), (B, T), (B, T, D) or (B, C, T, D)."""
    bad = ~torch.isfinite(values.detach())
    if bad.dim() == 1:
        return [(row, None) for row in bad.nonzero().flatten().tolist()]
    while bad.dim() > 2:
        bad = bad.any(-1 if bad.dim() == values.dim() else 1)
    return [(row, int(bad[row].int().argmax())) for row in bad.any(1).nonzero().flatten().tolist()]


def bad_inputs(inputs: dict[str, Any]) -> dict[str, Places]:
    """Return where the tensors of a micro-batch are not finite, by their names for people."""
    rows = len(inputs["completion_ids"])
    floats = {
        name: value
        for name, value in inputs.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.dim() and len(value) == rows
    }
    named = {INPUTS.get(name, name): floats[name] for name in [*INPUTS, *floats] if name in floats}
    return {name: places(value) for name, value in named.items()}


def bad_parameters(model: nn.Module) -> list[str]:
    """Name the parameters that are not finite; of shards, in this rank's part."""
    return [name for name, value in parameters(model).items() if not torch.isfinite(local(value)).all()]


def stop(trainer: Any, part: str, value: float, batches: list[dict[str, Any]], ranks: list[int]) -> NoReturn:
    """Save what replays the step, and raise. All ranks call, for all know.

    Args:
        trainer: a `Guarded` one, before backward ("loss") or before the optimiser's step ("gradient norm").
        part: which of the two is not finite.
        value: what it is here.
        batches: micro-batches of this rank that it was made of.
        ranks: those that met it.
    """
    step, rank = trainer.state.global_step + 1, trainer.accelerator.process_index
    folder = Path(str(trainer.args.output_dir)) / f"nonfinite-step-{step}"
    if trainer.accelerator.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)  # of the same step, met again after a resume
        _unless_full(lambda: folder.mkdir(parents=True))
    trainer.accelerator.wait_for_everyone()
    own: list[tuple[int, str, str | None]] = []
    if rank in ranks:
        found = _blamed(trainer, batches[-1]) if part == "loss" else f"the gradient norm is not finite ({value})"
        lost = _unless_full(lambda: save_batches(trainer, folder, part, value, batches))
        own = [(rank, found, lost)]
    heard: list[tuple[int, str, str | None]] = gather_object(own)
    lost_weights = _unless_full(lambda: save_weights(trainer, folder))
    first, said, _ = heard[0]
    alone = trainer.accelerator.num_processes == 1 or part != "loss"
    saved = next((lost for lost in (*(lost for *_, lost in heard), lost_weights) if lost), None)
    raise NonFiniteError(
        f"step {step}{'' if alone else f', rank {first}'}: {said}.\n"
        f"Training stopped before the weights changed. Saved: {folder} (batch, options, weights)"
        f"{'' if saved is None else f'; NOT ALL OF IT: {saved}'}.\n"
        f"See where it comes from: credit replay {folder}"
    )


def save_batches(trainer: Any, folder: Path, part: str, value: float, batches: list[dict[str, Any]]) -> None:
    """Write `rank-R.safetensors` and `rank-R.json` of this rank."""
    from safetensors.torch import save_file

    rank = trainer.accelerator.process_index
    tensors = {
        f"{number}.{name}": whole.detach().cpu().clone().contiguous()  # slices of one generation batch share memory
        for number, batch in enumerate(batches)
        for name, whole in batch.items()
        if isinstance(whole, Tensor)
    }
    save_file(tensors, folder / f"rank-{rank}.safetensors")
    record = {
        "step": trainer.state.global_step + 1,
        "rank": rank,
        "processes": trainer.accelerator.num_processes,
        "part": part,
        "value": str(value),
        "precision": trainer.accelerator.mixed_precision,
        "attention": trainer._student.config._attn_implementation,
        "texts": [_texts(trainer, batch) for batch in batches],
        "options": _plain(trainer.args.to_dict()),  # which masks tokens of services
        "trainer": {n: v for n, v in _plain(vars(trainer)).items() if not n.endswith("_token")},
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (folder / f"rank-{rank}.json").write_text(text + "\n", encoding="utf-8")


def save_weights(trainer: Any, folder: Path) -> None:
    """Write the student's weights, gathered where they are shards, and the teacher's head; all ranks call."""
    from safetensors.torch import save_file

    parameters(trainer._student)  # as shards again: this step's forward pass has left some gathered
    trainer.save_model(str(folder / "model"), _internal_call=True)
    if not trainer.accelerator.is_main_process:
        return
    (folder / "model" / "training_args.bin").unlink(missing_ok=True)  # a pickle
    head = getattr(trainer, "_teacher_head", None)
    if head is not None:
        tensors = {name: t.cpu().clone().contiguous() for name, t in _tensors(head).items()}
        save_file(tensors, folder / HEAD)


def read_head(path: Path, like: Head, share: float) -> Head | None:
    """Read a teacher's head as `save_weights` wrote it; None where there was no teacher.

    Args:
        path: of the file.
        like: the student's head, for what no tensor says.
        share: of the student in a trust region.
    """
    from safetensors.torch import load_file

    if not path.exists():
        return None
    saved = {name: t.to(like.weight) for name, t in load_file(path).items()}
    own = replace(like, weight=saved["weight"], bias=saved.get("bias"))
    if "student.weight" not in saved:
        return own
    student = replace(like, weight=saved["student.weight"], bias=saved.get("student.bias"))
    return LerpHead(**vars(own), student=student, share=share)


def _tensors(head: Head) -> dict[str, Tensor]:
    found = {"weight": head.weight, "bias": head.bias}
    if isinstance(head, LerpHead):
        found |= {f"student.{name}": t for name, t in _tensors(head.student).items()}
    return {name: t.detach() for name, t in found.items() if t is not None}


def _blamed(trainer: Any, batch: dict[str, Any]) -> str:
    """Say which part of the loss is not finite, and what was first, in the order in which things are computed."""
    seen = {name: places(value) if value.dim() else [] for name, value in trainer.parts.items()}
    parts = [n for n, value in trainer.parts.items() if n.endswith("loss") and not torch.isfinite(value).all()]
    said = f"the {' and the '.join(parts) or 'loss'} {'are' if len(parts) > 1 else 'is'} not finite"
    found = {**bad_inputs(batch), **seen}
    name, at = next(((n, p[0]) for n, p in found.items() if p), (None, (0, None)))
    return said if name is None else f"{said}; the first to be so: {name}, {place(at, batch, trainer._text)}"


def place(at: tuple[int, int | None], batch: dict[str, Any], tokenizer: Any) -> str:
    """Say a row, and a token of its answer, in words; both count from 1."""
    row, token = at
    if token is None:
        return f"row {row + 1}"
    text = tokenizer.decode(batch["completion_ids"][row, token].item())
    return f"row {row + 1}, token {token + 1} ({text!r})"


def _texts(trainer: Any, batch: dict[str, Any]) -> list[dict[str, str]]:
    def decoded(kind: str, row: int) -> str:
        return trainer._text.decode(batch[f"{kind}_ids"][row][batch[f"{kind}_mask"][row].bool()])

    rows = range(len(batch["completion_ids"]))
    return [{kind: decoded(kind, row) for kind in ("prompt", "completion")} for row in rows]


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """Keep what JSON can say: numbers, texts, truths, and lists and mappings of them."""

    def plain(value: Any) -> bool:
        if isinstance(value, list | tuple | set):
            return all(plain(v) for v in value)
        if isinstance(value, dict):
            return all(isinstance(k, str) and plain(v) for k, v in value.items())
        return value is None or isinstance(value, str | int | float)

    return {n: sorted(v) if isinstance(v, set) else v for n, v in found.items() if plain(v)}


def _unless_full(write: Callable[[], None]) -> str | None:
    """Write; return what went wrong with the disk, which must not hide why training stopped."""
    try:
        write()
    except (OSError, SafetensorError) as error:
        return str(error)
    return None
