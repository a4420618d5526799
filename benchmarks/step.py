"""Seconds and peak memory of one training step: credit and sdpo beside TRL's GRPO and experimental SDPO.

    python benchmarks/step.py                            # all sizes, three rounds; `large` takes most of the time
    python benchmarks/step.py --sizes small --rounds 1   # a first look
    python benchmarks/step.py --generation               # the embedded world too, rollouts and grading included
    python benchmarks/step.py --json results.json

Every variant runs in a process of its own (so that its peak is its own), one thread, float32, gradient checkpointing
on, on a randomly initialised Qwen3 of a given shape, nothing downloaded. Completions are stored, and the same for all:
generation is replaced, so the seconds are of scoring, loss, backward and optimiser. Order alternates from round to
round; a number is the median over rounds of each process's median step, the first step left out. `beyond_mib` is the
peak without the bare process, weights, gradients, Adam's moments and the EMA teacher (`fixed_mib`, counted).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = {
    # V, D, layers, prompt tokens, response tokens, rollouts, rollouts per prompt
    "small": {"V": 32_000, "D": 256, "L": 4, "P": 32, "T": 128, "N": 10, "G": 2},
    "large": {"V": 152_000, "D": 256, "L": 4, "P": 64, "T": 512, "N": 4, "G": 2},
    "long": {"V": 32_000, "D": 256, "L": 4, "P": 2048, "T": 128, "N": 4, "G": 2},
    "body": {"V": 2_000, "D": 384, "L": 12, "P": 32, "T": 128, "N": 10, "G": 2},
    # Half of the rollouts above are the only right one of their group, and have no teacher; here all have one.
    "body-taught": {"V": 2_000, "D": 384, "L": 12, "P": 32, "T": 128, "N": 10, "G": 5},
}
GROWTH = {
    "T": [{**SIZES["small"], "T": t} for t in (64, 128, 256)],
    "V": [{**SIZES["small"], "V": v} for v in (32_000, 64_000, 152_000)],
    "P": [{**SIZES["small"], "P": p} for p in (32, 512, 1024)],
}
TOP = {"support_size": 100, "tail": "renormalise"}
VARIANTS = {
    "trl-grpo": {"trainer": "grpo"},
    "trl-sdpo-sampled": {"trainer": "sdpo", "distillation_mode": "sampled_token"},
    "trl-sdpo-top100": {"trainer": "sdpo", "distillation_mode": "topk_logits", "distillation_topk": 100},
    "trl-sdpo-full": {"trainer": "sdpo", "distillation_mode": "full_logits"},
    "sdpo-top100": {"method": "sdpo", **TOP},
    "credit-top100": {"num_negatives": 1, **TOP},
    "credit-top100-C2": {"num_negatives": 2, **TOP},
    "credit-top100-C4": {"num_negatives": 4, **TOP},
    "credit-bucket": {**TOP, "tail": "bucket"},
    "credit-exact": {**TOP, "tail": "exact"},
    "credit-full": {"support_size": 0},
    "credit-token": {"level": "token"},
}
MAIN = ("trl-grpo", "trl-sdpo-sampled", "trl-sdpo-top100", "trl-sdpo-full", "sdpo-top100", "credit-top100")


def words(size: dict, seed: int, count: int, length: int) -> list[list[int]]:
    """Return token ids that mean nothing: what is measured does not depend on them."""
    draw = random.Random(seed)
    return [[draw.randrange(10, size["V"]) for _ in range(length)] for _ in range(count)]


def work(size: dict) -> dict[str, float]:
    """Return counted operations of one forward pass a token, body and head (attention scores included)."""
    d, layers, context = size["D"], size["L"], size["P"] + size["T"]
    body = layers * (2 * (4 * d * d + 3 * d * 3 * d) + 4 * d * context / 2)
    return {"body": body, "head": 2.0 * size["V"] * d, "head_over_body": 2.0 * size["V"] * d / body}


def floor(size: dict, variant: dict) -> float | None:
    """Return counted operations of a step, in GFlop, for the variants whose work is plain to count; else None.

    Student: forward, recomputed forward, and a backward of twice that. Head: TRL's SDPO projects student and teacher to
    the vocabulary and back (4 products a token), ours once, to find the support. Teachers read prompt, shown solution
    and answer; TRL's for every rollout, ours for those that have a solution to read. Ours reads a prompt once for its
    group, the student's as the teachers'; keys are counted at full length for every token.
    """
    ours = variant.get("tail") == "renormalise" and "level" not in variant
    theirs = variant.get("distillation_mode") == "topk_logits"
    if not ours and not theirs:
        return None
    each, tokens = work(size), size["N"] * size["T"]
    if theirs:
        student, read = size["N"] * (size["P"] + size["T"]), size["N"] * (size["P"] + 2 * size["T"])
    else:
        prompts, taught = size["N"] // size["G"] * size["P"], 0.5 if size["G"] == 2 else 1.0
        student = prompts + size["N"] * size["T"]
        read = prompts + (1 + variant.get("num_negatives", 0)) * taught * size["N"] * 2 * size["T"]
    return ((4 * student + read) * each["body"] + (4 if theirs else 1) * each["head"] * tokens) / 1e9


def measure(size: dict, variant: dict, steps: int) -> dict:
    """Train a few steps in this process; return seconds a step and the peak of its memory."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, TrainerCallback

    torch.set_num_threads(1)
    torch.manual_seed(0)
    vocabulary = {"<pad>": 0, "<end>": 1, "<unk>": 2, **{f"w{i}": i for i in range(3, size["V"])}}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    config = Qwen3Config(
        vocab_size=size["V"], hidden_size=size["D"], intermediate_size=3 * size["D"], num_hidden_layers=size["L"],
        num_attention_heads=size["D"] // 64, num_key_value_heads=size["D"] // 64, head_dim=64,
        max_position_embeddings=8192, pad_token_id=0, eos_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    bare = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    groups, answers = size["N"] // size["G"], words(size, 1, size["N"], size["T"])
    prompts = [" ".join(f"w{i}" for i in ids) for ids in words(size, 2, groups, size["P"])]
    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            self.start = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            seconds.append(time.perf_counter() - self.start)

    def reward(completions, **columns):
        right = 1 if size["G"] < 4 else 2
        return [float(i % size["G"] < right) for i in range(len(completions))]

    with tempfile.TemporaryDirectory() as folder:
        Qwen3ForCausalLM(config).save_pretrained(folder)  # TRL's EMA teacher reads the weights from a folder
        model = Qwen3ForCausalLM.from_pretrained(folder)
        common = {
            "output_dir": folder, "per_device_train_batch_size": size["N"], "gradient_accumulation_steps": 1,
            "num_generations": size["G"], "max_completion_length": size["T"], "max_steps": steps, "logging_steps": 1,
            "learning_rate": 1e-6, "report_to": "none", "save_strategy": "no", "bf16": False, "use_cpu": True,
            "disable_tqdm": True, "gradient_checkpointing": True,
        }  # fmt: skip
        # The sampler shuffles prompts; answers stay by place, so every variant sees the same rows.
        data = Dataset.from_dict({"prompt": prompts})
        arguments = {"reward_funcs": reward, "train_dataset": data, "processing_class": tokenizer}
        arguments["callbacks"] = [Clock()]
        options = {key: value for key, value in variant.items() if key != "trainer"}
        kind = variant.get("trainer")
        if kind == "sdpo":
            from trl.experimental.sdpo import SDPOConfig, SDPOTrainer

            args = SDPOConfig(**common, max_prompt_length=None, **options)
            trainer = SDPOTrainer(model, args=args, **arguments)
            trainer._generate = lambda prompt_ids: (prompt_ids, answers)
        else:
            if kind == "grpo":
                from trl import GRPOConfig, GRPOTrainer

                trainer = GRPOTrainer(model, args=GRPOConfig(**common), **arguments)
            else:
                from credit import CreditConfig, CreditTrainer

                args = CreditConfig(**common, ema_rate=0.05, credit_log_steps=0, **options)
                trainer = CreditTrainer(model, args=args, **arguments)
            trainer._generate_single_turn = lambda *a, **k: (answers, None)
        built = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    numbers = sum(p.numel() for p in model.parameters())
    copies = 4 if getattr(trainer, "teacher", None) is None else 5  # weights, gradients, Adam's two; the EMA teacher
    fixed = 4 * numbers * copies / 2**20
    logged = [log for log in trainer.state.log_history if "loss" in log]
    return {
        "seconds": statistics.median(seconds[1:]), "peak_mib": peak / 1024, "built_mib": built / 1024,
        "fixed_mib": fixed, "beyond_mib": (peak - bare) / 1024 - fixed,
        "loss": logged[0]["loss"],
    }  # fmt: skip


def run(sizes: dict[str, dict], variants: list[str], rounds: int, steps: int) -> dict[str, dict[str, dict]]:
    """Measure every variant of every size in turn, in a new process each."""
    found: dict[str, dict[str, list]] = {name: {v: [] for v in variants} for name in sizes}
    for number in range(rounds):
        for name, size in sizes.items():
            for variant in variants if number % 2 == 0 else variants[::-1]:
                if size["N"] // size["G"] <= VARIANTS[variant].get("num_negatives", 0):
                    continue
                task = json.dumps([size, VARIANTS[variant], steps])
                command = [sys.executable, __file__, "--measure", task]
                out = subprocess.run(
                    command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
                )
                if out.returncode:
                    sys.exit(f"{variant} at {name} failed:\n{out.stderr[-2000:]}")
                found[name][variant].append(json.loads(out.stdout.splitlines()[-1]))
                print(f"{name:>6} {variant:<18} {found[name][variant][-1]}", file=sys.stderr, flush=True)
    return {
        name: {v: {key: statistics.median(r[key] for r in rows) for key in rows[0]} for v, rows in by.items() if rows}
        for name, by in found.items()
    }


def embedded(rounds: int, steps: int, rate: str | None = None) -> tuple[dict[str, dict[str, float]], list[float]]:
    """Train on the embedded world, all of a step included; return the seconds of a step by method, medians over rounds.

    Methods learn to answer at different lengths. At a learning rate of almost nothing they give the same answers, and
    what differs is what they cost. Also returned: credit over sdpo in each round, where they run one after the other.
    """
    methods = {
        "grpo": ["--method", "grpo", "--blend", "none", "--form", "paper", "--lam", "0.1"],
        "sdpo": ["--method", "sdpo", "--form", "paper", "--lam", "0.1"],
        "credit": [],
        "credit, padded": ["--share_prefixes", "false"],
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for number in range(rounds):
        for name in list(methods) if number % 2 == 0 else list(methods)[::-1]:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", "credit", "train", "--config", "quickstart", "--output_dir", folder]
                command += ["--overwrite", "--max_steps", str(steps), "--skip_eval", "--credit_log_steps", "0"]
                command += ["--learning_rate", rate] if rate else []
                out = subprocess.run(
                    [*command, "--save_strategy", "no", *methods[name]], capture_output=True, text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                )  # fmt: skip
                if out.returncode:
                    sys.exit(f"{name} on the embedded world failed:\n{out.stderr[-2000:]}")
                lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            logged = [json.loads(line) for line in lines][1:]
            keys = [key for key in logged[-1] if key.startswith("step_time")]
            found[name].append({key: statistics.median(row[key] for row in logged if key in row) for key in keys})
            print(f"embedded {name:<14} {found[name][-1]}", file=sys.stderr, flush=True)
    medians = {name: {k: statistics.median(r[k] for r in rows) for k in rows[0]} for name, rows in found.items()}
    pairs = zip(found["credit"], found["sdpo"], strict=True)
    return medians, [ours["step_time"] / theirs["step_time"] for ours, theirs in pairs]


def table(name: str, size: dict, found: dict[str, dict]) -> str:
    """Return one size as text."""
    counted = work(size)
    lines = [f"\n{name}: {size}, head work over body work {counted['head_over_body']:.2f}"]
    peer = found.get("trl-sdpo-top100")
    for variant, row in found.items():
        beside = ""
        if peer:
            beside = f"  time x{row['seconds'] / peer['seconds']:.2f}  memory x{row['peak_mib'] / peer['peak_mib']:.2f}"
        counted_work = floor(size, VARIANTS[variant])
        speed = f"  {counted_work / row['seconds']:5.0f} of {counted_work:.0f} GFlop a second" if counted_work else ""
        lines.append(f"  {variant:<18} {row['seconds']:7.2f} s  {row['peak_mib']:7.0f} MiB{beside}{speed}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES), help="default: all")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(MAIN), help="default: the main ones")
    parser.add_argument("--all", action="store_true", help="all variants")
    parser.add_argument("--growth", action="store_true", help="also how a step grows with T, V and context")
    parser.add_argument("--generation", action="store_true", help="also the embedded world, rollouts included")
    parser.add_argument("--rounds", type=int, default=3, help="processes per variant (default: 3)")
    parser.add_argument("--steps", type=int, default=4, help="steps per process; the first does not count (default: 4)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        size, variant, steps = json.loads(options.measure)
        print(json.dumps(measure(size, variant, steps)))
        return
    variants = list(VARIANTS) if options.all else options.variants
    sizes = {name: SIZES[name] for name in options.sizes}
    found = run(sizes, variants, options.rounds, options.steps)
    result: dict = {"sizes": {}, "growth": {}}
    for name, size in sizes.items():
        print(table(name, size, found[name]))
        counted = {v: floor(size, VARIANTS[v]) for v in found[name]}
        entry = {"shape": size, "work": work(size), "counted_gflop": counted, "variants": found[name]}
        ours, peer = found[name].get("credit-top100"), found[name].get("trl-sdpo-top100")
        if ours and peer:
            entry["credit_over_trl_sdpo_time"] = ours["seconds"] / peer["seconds"]
            entry["credit_over_trl_sdpo_memory"] = ours["peak_mib"] / peer["peak_mib"]
        result["sizes"][name] = entry
    if options.growth:
        for axis, shapes in GROWTH.items():
            grown = run({str(s[axis]): s for s in shapes}, ["credit-top100"], options.rounds, options.steps)
            result["growth"][axis] = {at: row["credit-top100"] for at, row in grown.items()}
        by_number = {"0": "sdpo-top100", "1": "credit-top100", "2": "credit-top100-C2", "4": "credit-top100-C4"}
        grown = run({"small": SIZES["small"]}, list(by_number.values()), options.rounds, options.steps)["small"]
        result["growth"]["C"] = {at: grown[variant] for at, variant in by_number.items()}
        for axis, rows in result["growth"].items():
            print(f"\ngrowth with {axis}, the rest as in small")
            for at, row in rows.items():
                print(f"  {axis} = {at:<7} {row['seconds']:6.2f} s  {row['beyond_mib']:6.0f} MiB beyond what is fixed")
    if options.generation:
        for name, rate in (("same_answers", "1e-12"), ("while_training", None)):
            result[f"embedded_{name}"], ratios = embedded(options.rounds, 30, rate)
            ratio = result[f"credit_over_own_sdpo_with_generation_{name}"] = statistics.median(ratios)
            result[f"rounds_{name}"] = ratios
            between = f"{min(ratios):.3f} to {max(ratios):.3f} in {options.rounds} rounds"
            print(f"\nembedded world, rollouts included, {name}: {result[f'embedded_{name}']}")
            print(f"credit over sdpo: x{ratio:.3f}, {between}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
