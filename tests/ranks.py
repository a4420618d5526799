"""Started by torchrun: trains a tiny model on stored completions and writes what rank 0 saw. See test_ranks.py.

torchrun --nproc_per_node 2 tests/ranks.py OUT.json '{"teacher": "ema", ...}'
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from credit import CreditTrainer
from local_models import history, make_config, make_dataset, make_model, make_tokenizer

ROLLOUTS, GROUP = 24, 4


def stored(step: int) -> list[list[int]]:
    """The completions of all ranks at one generation batch."""
    draw = torch.Generator().manual_seed(step)
    lengths = torch.randint(2, 11, (ROLLOUTS,), generator=draw).tolist()
    return [torch.randint(5, 40, (n,), generator=draw).tolist() for n in lengths]


def score(completions, **columns):
    """Half succeed, whatever the model; the others hear something of their own."""
    texts = [c[0]["content"].split() for c in completions]
    return [(1.0, None) if len(t) % 2 == 0 else (0.0, f"missing w{len(t)}") for t in texts]


def shard_on_cpu() -> None:
    """Have accelerate use FSDP on the CPU: it knows it for accelerators only, and goes on with DDP, in silence."""
    begin = AcceleratorState.__init__

    def begin_sharded(self, *args, **options):
        begin(self, *args, **options)
        if options.get("fsdp_plugin") is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, options["fsdp_plugin"]
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = begin_sharded


def main(out: str, options: dict) -> None:
    pad = options.pop("pad", "left")
    shard_on_cpu()
    folder = Path(out).with_suffix("")
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    accumulation = options.pop("accumulation", 1)
    args = make_config(
        folder, per_device_train_batch_size=ROLLOUTS // ranks // accumulation, num_generations=GROUP,
        gradient_accumulation_steps=accumulation, max_steps=2, shuffle_dataset=False, **options,
    )  # fmt: skip
    tokenizer = make_tokenizer()
    tokenizer.padding_side = pad
    trainer = CreditTrainer(make_model("qwen3"), score, args, train_dataset=make_dataset(), processing_class=tokenizer)

    def generate(prompt_ids, *unused, **more):
        own = len(prompt_ids)
        first = trainer.accelerator.process_index * own
        answers = stored(trainer.state.global_step)[first : first + own]
        return answers, None

    trainer._generate_single_turn = generate
    trainer.train()
    sharded = any(isinstance(p, DTensor) for p in trainer.model.parameters())
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.accelerator.is_main_process:
        flat = torch.cat([weights[name].float().flatten() for name in sorted(weights)])
        logs = [{k: v for k, v in log.items() if isinstance(v, float)} for log in history(trainer, "num_tokens")]
        digest = hashlib.sha256(flat.numpy().tobytes()).hexdigest()
        found = {
            "logs": logs,
            "weights": flat[::97].tolist(),
            "sum": flat.double().sum().item(),
            "digest": digest,
            "sharded": sharded,
        }
        Path(out).write_text(json.dumps(found))
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
