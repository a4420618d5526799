"""Started by torchrun: trains a tiny model on stored completions and writes what rank 0 saw. See test_ranks.py.

torchrun --nproc_per_node 2 tests/ranks.py OUT.json '{"teacher": "ema", ...}'
"""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, broadcast_object_list
from peft import LoraConfig
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, TrainerCallback

from credit import CreditTrainer
from credit.errors import NonFiniteError
from credit.shards import partitioned
from local_models import history, make_config, make_dataset, make_model, make_tokenizer
from vllm_server import VLLMServer, use_server

ROLLOUTS, GROUP = 24, 4
ZERO = {
    "train_micro_batch_size_per_gpu": "auto", "train_batch_size": "auto", "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto", "zero_allow_untested_optimizer": True,
}  # fmt: skip
# Tiny parameters would all be left whole, or fetched at once.
UNBUFFERED = {
    "stage3_gather_16bit_weights_on_model_save": True,
    "stage3_param_persistence_threshold": 40,
    "stage3_prefetch_bucket_size": 2000,
}


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


class FirstTeacher(TrainerCallback):
    """Takes the teacher's checksum before the first step; all ranks, because shards are gathered."""

    def __init__(self, trainer, loaded=None):
        self.trainer, self.loaded, self.digest = trainer, loaded, None

    def on_step_begin(self, args, state, control, **kwargs):
        if self.digest is None:
            if self.loaded:
                self.trainer.teacher.load(self.loaded)
            with tempfile.TemporaryDirectory() as folder:
                self.trainer.teacher.save(folder)
                self.digest = "live" if self.trainer.teacher.kind == "live" else checksum(folder)


class Spoils(TrainerCallback):
    """Puts a NaN into what one rank trains on in the second step."""

    def __init__(self, trainer, rank):
        self.trainer, self.here = trainer, trainer.accelerator.process_index == rank

    def on_step_begin(self, args, state, control, **kwargs):
        if self.here and state.global_step == 1:
            self.trainer._buffered_inputs[0]["teacher_hidden"][3, 1] = torch.nan


def stopped(trainer) -> NonFiniteError:
    try:
        trainer.train()
    except NonFiniteError as error:
        return error
    raise AssertionError("trained on")


def checksum(folder) -> str:
    """Of the teacher's weights in a checkpoint."""
    weights = load_file(Path(folder) / "credit_teacher.safetensors")
    return hashlib.sha256(b"".join(weights[n].numpy().tobytes() for n in sorted(weights))).hexdigest()


def main(out: str, options: dict) -> None:
    pad, stage, born = options.pop("pad", "left"), options.pop("zero", 0), options.pop("born", None)
    teacher = options.pop("teacher_from", None)
    shard_on_cpu()
    resume, lora = options.pop("resume", None), options.pop("lora", False)
    adapter = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False) if lora else None
    folder = Path(out).with_suffix("")
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    accumulation, served = options.pop("accumulation", 1), options.pop("served", False)
    spoiled = options.pop("spoiled", None)
    torch.manual_seed(0)
    # Before the options: they would have ZeRO-3 partition what is made after them.
    model = make_model("qwen3", **options.pop("model", {}))
    if stage:
        options["deepspeed"] = {
            **ZERO,
            "zero_optimization": {"stage": stage, **UNBUFFERED, **options.pop("zero_options", {})},
        }
    args = make_config(
        folder, per_device_train_batch_size=ROLLOUTS // ranks // accumulation, num_generations=GROUP,
        gradient_accumulation_steps=accumulation, shuffle_dataset=False, **options,
    )  # fmt: skip
    server: VLLMServer
    if served:  # every rank has one, and all speak to that of rank 0
        server = VLLMServer(make_model("qwen3", initializer_range=0.1)).__enter__()
        use_server(server)
        args.vllm_server_base_url = broadcast_object_list([server.url])[0]
    tokenizer = make_tokenizer()
    tokenizer.padding_side = pad
    torch.manual_seed(0)
    if born:  # ZeRO-3 partitions it as it is loaded
        import deepspeed

        deepspeed.init_distributed("gloo")
        model = AutoModelForCausalLM.from_pretrained(born)
    trainer = CreditTrainer(
        model, score, args, train_dataset=make_dataset(), processing_class=tokenizer, peft_config=adapter
    )

    ask = trainer._generate_single_turn

    def generate(prompt_ids, *unused, **more):
        own = len(prompt_ids)
        if served:  # for the way there: weights out, answers back to their ranks; stored ones take their place
            assert len(ask(prompt_ids, *unused, **more)[0]) == own
        first = trainer.accelerator.process_index * own
        answers = stored(trainer.state.global_step)[first : first + own]
        return answers, None

    trainer._generate_single_turn = generate
    first = FirstTeacher(trainer, teacher)
    trainer.add_callback(first)
    if spoiled is not None:
        trainer.add_callback(Spoils(trainer, spoiled))
        said = str(stopped(trainer))
        sharded = any(isinstance(p, DTensor) for p in trainer.model.parameters())
        found = {"said": said, "sharded": sharded}
        Path(f"{out}.{trainer.accelerator.process_index}").write_text(json.dumps(found))
        trainer.accelerator.end_training()
        return
    trainer.train(resume_from_checkpoint=resume)
    sharded = any(isinstance(p, DTensor) or partitioned(p) for p in trainer.model.parameters())
    weights = trainer.accelerator.get_state_dict(
        trainer.model_wrapped if trainer.is_deepspeed_enabled else trainer.model
    )
    if trainer.accelerator.is_main_process:
        flat = torch.cat([weights[name].float().flatten() for name in sorted(weights)])
        logs = [{k: v for k, v in log.items() if isinstance(v, float)} for log in history(trainer, "num_tokens")]
        digest = hashlib.sha256(flat.numpy().tobytes()).hexdigest()
        found = {
            "logs": logs, "weights": flat[::97].tolist(), "digest": digest, "sharded": sharded, "teacher": first.digest,
            "scored": len(server.scored) if served else 0, "clients": server.asked.count("/health") if served else 0,
        }  # fmt: skip
        Path(out).write_text(json.dumps(found))
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
    # All is written and the group is destroyed; threads of gloo sometimes abort the interpreter on its way out.
    sys.stdout.flush()
    os._exit(0)
