"""Which models of transformers are read as a prefix tree, and whether what is read is right.

    python benchmarks/architectures.py                       # all causal language models of the installed version
    python benchmarks/architectures.py qwen3 olmo3 gpt_oss   # some
    python benchmarks/architectures.py --json results.json

Every architecture is built as small as it goes, with random weights and a sliding window of 8 where it has one. If
`credit.tree_attention.why_not` finds nothing, rows of up to 40 tokens that begin alike are read as a tree and one by
one: hidden states, and the gradient of all parameters, must agree. Those that cannot be built from sizes alone are
listed, too.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from credit.prefix_tree import trees
from credit.scoring import with_response_head
from credit.tree_attention import read_tree, why_not, with_tree_attention

# Sizes by every name that some configuration has for them; it takes those it knows.
WIDTH = ("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "attn_hidden_size")
INNER = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "decoder_ffn_dim")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
LENGTH = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
EIGHT = (
    "head_dim", "global_head_dim", "v_head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "hidden_size_per_layer_input",
    "query_pre_attn_scalar", "sliding_window", "local_attention", "window_size", "attention_chunk_size",
    "linear_key_head_dim", "linear_value_head_dim", "state_size", "mamba_d_state",
)  # fmt: skip
SIXTEEN = ("moe_intermediate_size", "shared_expert_intermediate_size", "q_lora_rank", "kv_lora_rank", "mamba_d_head")
SMALL = {
    **dict.fromkeys(WIDTH, 32), **dict.fromkeys(INNER, 48), **dict.fromkeys(HEADS, 4), **dict.fromkeys(LAYERS, 4),
    **dict.fromkeys(LENGTH, 256), **dict.fromkeys(EXPERTS, 4), **dict.fromkeys(EIGHT, 8), **dict.fromkeys(SIXTEEN, 16),
    "num_key_value_heads": 2, "num_global_key_value_heads": 2, "num_experts_per_tok": 2, "n_shared_experts": 1,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_kv_shared_layers": 2, "max_window_layers": 1,
    "use_sliding_window": True, "rotary_dim": 4, "mamba_n_heads": 4, "mamba_expand": 2, "vocab_size": 100,
    "vocab_size_per_layer_input": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "initializer_range": 0.3,
}  # fmt: skip
NO_DROPOUT = ("dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "attention_dropout", "activation_dropout")
OPTIONAL = ("sliding_window", "num_key_value_heads", "head_dim")
"""Taken even where the default is None."""


def build(kind: str) -> Any:
    """Return a small random model of an architecture; raise if its sizes do not fit together."""
    config_type = CONFIG_MAPPING[kind]
    default = config_type()
    known = {**vars(default), **dict.fromkeys(getattr(config_type, "attribute_map", {}), 0)}
    sizes = {n: v for n, v in SMALL.items() if n in known and (known[n] is not None or n in OPTIONAL)}
    sizes |= {name: 0.0 for name in NO_DROPOUT if name in known}
    if kinds := list(dict.fromkeys(getattr(default, "layer_types", None) or ())):
        windowed = kinds == ["full_attention"] and "sliding_window" in sizes
        sizes["layer_types"] = ((["sliding_attention", *kinds] if windowed else kinds) * 4)[:4]
    if kind.startswith("lfm2"):  # by default it has more layers than these, convolutions first
        sizes["layer_types"] = ["conv", "full_attention"] * 2
    # Latent attention has as many heads of keys as of queries, and heads of a size of its own.
    for changed in ({}, {"head_dim": None}, {"layer_types": None}, {"num_key_value_heads": 4, "head_dim": None}):
        try:
            config = config_type(**{n: changed.get(n, v) for n, v in sizes.items() if changed.get(n, v) is not None})
            with torch.device("meta"):
                count = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
            if count > 5e6:
                raise ValueError(f"{count / 1e6:.0f} million parameters, with all sizes set that are known")
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(config).float()
            model(input_ids=torch.tensor([[3, 4, 5]]))
            break
        except Exception as error:
            reason = error
    else:
        raise reason
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and parameter.std() < 0.05:  # where a small one would hide what is wrong
                parameter.normal_(std=0.3)
    return model.eval()


def rows(seed: int, count: int = 14, most: int = 40) -> list[list[int]]:
    """Return rows that begin alike, some equal, some the beginning of others."""
    draw = random.Random(seed)
    beginnings = [[draw.randrange(3, 50) for _ in range(draw.randrange(1, 25))] for _ in range(3)]
    found = []
    for _ in range(count):
        beginning = draw.choice(beginnings)[: draw.randrange(1, 26)]
        found.append(beginning + [draw.randrange(3, 50) for _ in range(draw.randrange(most - len(beginning)))])
    return [*found, found[0], found[1][:3], beginnings[0] + [7] * (most - len(beginnings[0]))]


def gradient(model: Any, loss: torch.Tensor) -> torch.Tensor:
    """Return the gradient of all parameters as one vector, in units of its length."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    whole = torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(grads, parameters, strict=True)]
    )
    return whole / whole.norm()


def apart(model: Any, texts: list[list[int]]) -> tuple[float, float]:
    """Return how far a tree is from its rows alone: hidden states relative to the largest, and the gradient."""
    (tree,) = trees(texts, 10_000)
    found_ND = read_tree(model, tree, lambda hidden_ND: hidden_ND)
    read = [found_ND[torch.from_numpy(tree.paths[i])] for i in range(len(texts))]
    alone = [model(input_ids=torch.tensor([text]), on_hidden=lambda hidden_BLD: hidden_BLD[0]) for text in texts]
    states = max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(read, alone, strict=True))
    weights = torch.randn(found_ND.shape[-1], generator=torch.Generator().manual_seed(1)).to(found_ND)
    losses = [torch.cat([(h @ weights).tanh() for h in hidden]).sum() for hidden in (read, alone)]
    return states, (gradient(model, losses[0]) - gradient(model, losses[1])).norm().item()


def worst(model: Any) -> tuple[float, float]:
    """Return the largest differences of three sets of rows."""
    states, grads = zip(*(apart(model, rows(seed)) for seed in range(3)), strict=True)
    return max(states), max(grads)


def tried(kind: str) -> dict[str, Any]:
    """Return what became of one architecture."""
    try:
        model = build(kind)
    except Exception as error:
        return {"status": "not built", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"}
    try:
        with_response_head(model)
        with_tree_attention(model)
        if why := why_not(model, 50):
            return {"status": "padded", "why": " ".join(why.split())[:160]}
        states, grads = worst(model)
        if states > 1e-3:  # rounding, amplified by many layers? Experts multiply no float64, so others first
            states, grads = worst(model.double())
    except Exception as error:
        return {"status": "failed", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    right = states < 1e-3 and grads < 1e-2
    return {"status": "read as a tree" if right else "WRONG", "hidden_states": states, "gradient": grads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="model types (default: all)")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    if unknown := set(options.kinds) - set(CONFIG_MAPPING):
        parser.error(f"transformers knows no model type {', '.join(sorted(unknown))}")
    found = {}
    for kind in options.kinds or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        found[kind] = tried(kind)
        print(f"{kind:<28} {found[kind]}", flush=True)
    counts = Counter(one["status"] for one in found.values())
    print(", ".join(f"{count} {status}" for status, count in counts.most_common()))
    if options.json:
        result = {"transformers": transformers.__version__, "architectures": found}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if counts["WRONG"] or counts["failed"] else 0)


if __name__ == "__main__":
    main()
