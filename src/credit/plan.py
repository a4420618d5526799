"""Memory and time of a training step on paper: counted bytes and operations, at given rates. Reads no weights.

What is counted is named in `Estimate`; what is not (fragmentation, communication, Python) is why it is an estimate. Its
error against measured steps is in `docs/scale.md`, and a test holds it below 25% of peak memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MIB = 2**20
LOGITS_COPIES = 4
"""Tensors of the size of a chunk's logits that live at once: logits, log-probabilities, and two of their sums. Ours."""


@dataclass(frozen=True)
class Shape:
    """A decoder: all its parameters (`tied`: the head is the embedding), and its widths; `kv` is key heads x theirs."""

    parameters: int
    vocabulary: int
    width: int
    layers: int
    inner: int
    kv: int
    tied: bool = False

    @property
    def body(self) -> int:
        """Parameters that every token passes through, embedding and head left out."""
        return self.parameters - (1 if self.tied else 2) * self.vocabulary * self.width

    def forward(self, context: int) -> float:
        """Operations of one token in the body, attention over half of the context on average."""
        return 2.0 * self.body + 2.0 * self.layers * self.width * context

    @property
    def head(self) -> float:
        """Operations of one token in the head."""
        return 2.0 * self.vocabulary * self.width


@dataclass(frozen=True)
class Job:
    """What one device does in a step, in rollouts and tokens.

    Attributes:
        rollouts: generated and scored by one device.
        micro: rollouts in one forward and backward pass.
        prompt, answer, shown: tokens; `shown` is what the teacher reads besides the prompt.
        views: forward passes of the teacher for each rollout: 1 + C, and C more without feedback; 0 without teacher.
        teacher: live, frozen, ema, trust_region.
        support: K rows of the head are enough (renormalised support, no policy gradient).
        checkpointing: activations of layers are recomputed.
        weight, activation: bytes of one number of a weight (gradient, moment of Adam), and of an activation.
        shards: devices that share weights, gradients, optimiser and teacher.
        chunk: tokens projected at once; 0 as many as hold 2^24 logits.
        taught: share of the rollouts that have a teacher; the others are not read.
        generates: the device generates its rollouts; else vLLM does, and neither its memory nor its time are counted.
        reserved: bytes that vLLM keeps on the same device.
        compared: the student reads the rollouts once more, to compare them with what vLLM says it sampled.
        share, view_share: rows that share the reading of a prompt in a pass of the student, and of the teacher; 1 where
            rows are padded.
    """

    rollouts: int
    micro: int
    prompt: int
    answer: int
    shown: int
    views: int
    teacher: str = "ema"
    support: bool = False
    checkpointing: bool = True
    weight: int = 4
    activation: int = 2
    shards: int = 1
    chunk: int = 0
    taught: float = 1.0
    generates: bool = True
    reserved: float = 0.0
    compared: bool = False
    share: float = 1.0
    view_share: float = 1.0

    @property
    def length(self) -> int:
        """Tokens of a rollout."""
        return self.prompt + self.answer

    @property
    def read(self) -> float:
        """Tokens the student reads of a rollout."""
        return self.prompt / self.share + self.answer

    @property
    def reads(self) -> int:
        """Forward passes of the teacher for each rollout: with a trust region two models read each view."""
        return self.views * (2 if self.teacher == "trust_region" else 1)


@dataclass(frozen=True)
class Rates:
    """What a device reaches: operations and bytes a second, not what its data sheet says."""

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class Estimate:
    """Bytes on one device and seconds of one step, by component; peak is the larger of training and generating."""

    held: dict[str, float]
    training: dict[str, float]
    generating: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def peak(self) -> float:
        """Bytes at the highest point."""
        return sum(self.held.values()) + max(sum(self.training.values()), sum(self.generating.values()))


def shape_of(config: Any) -> Shape:
    """Return the shape of a causal language model from its configuration alone; no weights are made or read."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    heads = text.num_attention_heads
    each = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        vocabulary=text.vocab_size,
        width=text.hidden_size,
        layers=text.num_hidden_layers,
        inner=text.intermediate_size,
        kv=(getattr(text, "num_key_value_heads", None) or heads) * each,
        tied=bool(text.tie_word_embeddings),
    )


def estimate(shape: Shape, job: Job, rates: Rates) -> Estimate:
    """Count one optimiser step of one device (ours, derived; see the module)."""
    return Estimate(_held(shape, job), _training(shape, job), _generating(shape, job), _seconds(shape, job, rates))


def _held(shape: Shape, job: Job) -> dict[str, float]:
    each = shape.parameters / job.shards
    # A float32 copy is its own average; shards are kept in float32, and worn.
    average = 4 + (job.weight if job.weight < 4 and job.shards == 1 else 0)
    copies = {"live": 0, "ema": average}.get(job.teacher, job.weight if job.shards == 1 else 4)
    return {
        "weights": each * job.weight,
        "gradients": each * job.weight,
        "optimiser": 2 * each * job.weight,
        "teacher": each * copies if job.views else 0.0,
        "hidden-state cache": float(job.rollouts * job.reads * job.answer * shape.width * job.activation),
        "vLLM": job.reserved,
    }


def _training(shape: Shape, job: Job) -> dict[str, float]:
    tokens = job.micro * job.read
    layer = tokens * (6 * shape.width + 2 * shape.kv + 4 * shape.inner) * job.activation
    kept = tokens * shape.width * job.activation * shape.layers
    chunk = job.chunk or max(16, 2**24 // shape.vocabulary)
    logits = min(chunk, job.micro * job.answer) * shape.vocabulary * 4
    # One gathered layer and the head where weights are shards.
    gathered = (shape.body / shape.layers + shape.vocabulary * shape.width) * job.weight if job.shards > 1 else 0.0
    return {
        "activations": float(kept + 3 * layer if job.checkpointing else shape.layers * layer),
        "logits": float(logits * LOGITS_COPIES),
        "gathered shards": float(gathered),
    }


def _generating(shape: Shape, job: Job) -> dict[str, float]:
    if not job.generates:
        return {}
    cache = job.rollouts * job.length * 2 * shape.kv * shape.layers * job.activation
    return {"keys and values": float(cache), "gathered weights": shape.parameters * job.weight * (job.shards > 1)}


def _seconds(shape: Shape, job: Job, rates: Rates) -> dict[str, float]:
    whole = job.prompt + job.shown + job.answer
    student = (4 if job.checkpointing else 3) * shape.forward(job.length) * job.rollouts * job.read
    view = shape.forward(whole) * job.rollouts * job.taught * (job.prompt / job.view_share + job.shown + job.answer)
    each = job.reads / max(1, job.views)
    teacher, contrast = view * each * min(job.views, 1), view * each * max(0, job.views - 1)
    # Renormalised on K: one product to find the support. Else the student's three, and one for every view.
    products = 1 if job.support else 3 + job.reads
    head = products * shape.head * job.rollouts * job.answer
    weights = shape.parameters * job.weight
    cache = job.rollouts * (job.prompt + job.answer / 2) * 2 * shape.kv * shape.layers * job.activation
    prefill = shape.forward(job.prompt) * job.rollouts * job.prompt / rates.flops
    decoding = (shape.forward(job.length) + shape.head) * job.rollouts / rates.flops
    generation = prefill + job.answer * max(decoding, (weights + cache) / rates.bandwidth)
    again = shape.forward(job.length) * job.rollouts * job.read + shape.head * job.rollouts * job.answer
    return {
        "generation": generation * job.generates,
        "student, once more": again * job.compared / rates.flops,
        "student": student / rates.flops,
        "teacher": teacher / rates.flops,
        "contrast": contrast / rates.flops,
        "head": head / rates.flops,
        "optimiser": 7 * weights / job.shards / rates.bandwidth,
    }
