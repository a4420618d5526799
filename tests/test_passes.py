"""Forward passes: padded or as a tree, they give what one row alone gives, and the same gradient."""

import random

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, LlamaConfig, MambaConfig, MixtralConfig

from credit.passes import CALL, plan_passes, read_rollouts, response_hidden
from credit.scoring import with_response_head
from credit.tree_attention import why_not, with_tree_attention
from local_models import make_model


def views_of(seed: int, count: int = 2, rows: int = 7) -> tuple[list[list[list[int]]], torch.Tensor, torch.Tensor]:
    draw = random.Random(seed)
    beginnings = [[draw.randrange(3, 40) for _ in range(draw.randrange(6, 12))] for _ in range(2)]
    views = [
        [draw.choice(beginnings) + [draw.randrange(3, 40) for _ in range(draw.randrange(6))] for _ in range(rows)]
        for _ in range(count)
    ]
    lengths = torch.tensor([draw.randrange(7) for _ in range(rows)])
    ids = torch.tensor([[draw.randrange(3, 40) for _ in range(6)] for _ in range(rows)])
    return views, ids, (torch.arange(6) < lengths.unsqueeze(1)).long()


def alone(model, views, ids_BT, mask_BT):
    """One row at a time, the whole text, no cache, no padding."""
    out = torch.zeros(len(views), *ids_BT.shape, model.config.hidden_size)
    for w, view in enumerate(views):
        for b, prompt in enumerate(view):
            n = int(mask_BT[b].sum())
            text = torch.tensor([prompt + ids_BT[b, :n].tolist()])
            out[w, b, :n] = model.base_model(input_ids=text, use_cache=False).last_hidden_state[0, len(prompt) - 1 : -1]
    return out


def ready(name: str):
    model = tiny(name).eval()
    with_response_head(model)
    with_tree_attention(model)
    return model


def tiny(name: str):
    torch.manual_seed(0)
    shape = {
        "vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "initializer_range": 0.3,
    }  # fmt: skip
    configs = {
        "llama": lambda: LlamaConfig(**shape),
        "gemma3, window of 4": lambda: Gemma3TextConfig(
            **shape, head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
        ),
        "mixtral": lambda: MixtralConfig(**shape, num_local_experts=4),
        "gpt2": lambda: GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4),
        "mamba": lambda: MambaConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, state_size=4),
    }
    if name in configs:
        return AutoModelForCausalLM.from_config(configs[name]())
    family, _, window = name.partition(", window of ")
    return make_model(family, **({"sliding_window": int(window)} if window else {}))


@pytest.mark.parametrize("name", ["qwen3", "olmo3, window of 4", "llama", "gemma3, window of 4", "mixtral", "gpt2"])
@pytest.mark.parametrize("as_tree", [True, False])
def test_hidden_states_are_those_of_each_row_alone(name, as_tree):
    model = ready(name)
    assert why_not(model, 50) is None
    for seed, size in enumerate((1, 3, 14)):
        views, ids, mask = views_of(seed)
        with torch.no_grad():
            expected = alone(model, views, ids, mask)
        found = response_hidden(model, views, ids, mask, size, as_tree=as_tree)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def rollouts_of(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts padded on the left, two of them shared, and answers of 0 to 6 tokens padded on the right."""
    views, ids, mask = views_of(seed)
    prompts = [view[:5] if i % 2 else views[0][0] for i, view in enumerate(views[0])]
    width = max(map(len, prompts))
    left = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    real = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    return torch.cat([left, ids * mask], dim=1), torch.cat([real, mask], dim=1)


@pytest.mark.parametrize("name", ["qwen3", "olmo3, window of 4", "llama", "gemma3, window of 4", "mixtral"])
@pytest.mark.parametrize("checkpointing", [None, {"use_reentrant": False}, {"use_reentrant": True}])
def test_a_tree_has_the_gradient_of_padded_rows(name, checkpointing):
    model = ready(name).train()
    if checkpointing:
        model.gradient_checkpointing_enable(checkpointing)
        model.enable_input_require_grads()
    ids, mask = rollouts_of(3)
    where = mask[:, -6:].bool()
    weights = torch.randn(int(where.sum()), model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    found = {}
    for as_tree in (True, False):
        model.zero_grad()
        loss = read_rollouts(model, ids, mask, 6, as_tree, lambda at: (at(where) * weights).tanh().sum())
        loss.backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
        found[as_tree] = [loss.detach(), *(g.clone() for g in grads)]
    assert any(g.abs().max() > 0.1 for g in found[True][1:])
    torch.testing.assert_close(found[True], found[False], atol=1e-4, rtol=1e-3)


def test_without_any_answer_there_is_still_a_pass():
    model = ready("qwen3")
    ids, mask = rollouts_of(3)
    mask[:, -6:] = 0
    for as_tree in (True, False):
        states = read_rollouts(model, ids, mask, 6, as_tree, lambda at: at(torch.zeros(7, 6, dtype=torch.bool)))
        assert states.shape == (0, 32)
        assert states.requires_grad


def test_a_tree_reads_every_beginning_once():
    model = ready("qwen3")
    read = []
    model.base_model.register_forward_pre_hook(lambda m, a, k: read.append(k["input_ids"].numel()), with_kwargs=True)
    ids = torch.tensor([[5, 6, 7], [5, 6, 8], [5, 9, 9]])
    response_hidden(model, [[[3, 4]] * 3, [[3, 2]] * 3], ids, torch.ones_like(ids), 6, as_tree=True)
    # 3, then twice (4 or 2, 5, and 6 or 9); the last token of an answer predicts nothing.
    assert read == [1 + 2 * 4]


def test_a_plan_holds_every_row_once_and_costs_least():
    lengths = [1, 500, 2, 600]
    assert plan_passes(lengths, 4) == [[0, 2], [1, 3]]  # two calls cost less than padding
    assert plan_passes([1, 50, 2, 60], 4) == [[0, 2, 1, 3]]
    draw = random.Random(0)
    for size in (1, 2, 5, 18):
        lengths = [draw.randrange(1, 900) for _ in range(18)]
        plan = plan_passes(lengths, size)
        assert sorted(i for part in plan for i in part) == list(range(18))
        assert all(0 < len(part) <= size for part in plan)
        ordered = sorted(lengths)
        at_once = sum(len(ordered[i : i + size]) * ordered[i : i + size][-1] + CALL for i in range(0, 18, size))
        assert sum(len(part) * max(lengths[i] for i in part) + CALL for part in plan) <= at_once


def test_equal_rows_are_read_once():
    model = make_model("qwen3").eval()
    with_response_head(model)
    read = []
    model.base_model.register_forward_pre_hook(lambda m, a, k: read.append(k["input_ids"]), with_kwargs=True)
    ids = torch.tensor([[5, 6, 7], [5, 6, 7], [5, 8, 8]])
    found = response_hidden(model, [[[3, 4]] * 3, [[3, 4]] * 3], ids, torch.ones_like(ids), 6)
    assert [r.shape[0] for r in read] == [2]
    torch.testing.assert_close(found, alone(model, [[[3, 4]] * 3] * 2, ids, torch.ones_like(ids)), atol=2e-5, rtol=1e-4)


def test_unwanted_rows_are_not_computed_and_stay_zero():
    model = make_model("qwen3").eval()
    with_response_head(model)
    views, ids, mask = views_of(5)
    wanted = torch.rand(2, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    read = []
    hook = model.base_model.register_forward_pre_hook(lambda m, a, k: read.append(k["input_ids"]), with_kwargs=True)
    found = response_hidden(model, views, ids, mask, 1, wanted)
    hook.remove()
    assert len(read) == int((wanted & mask.any(1)).sum())
    everything = response_hidden(model, views, ids, mask, 1)
    torch.testing.assert_close(found, everything * wanted[..., None, None])


@pytest.mark.parametrize("most", [0, 9])
def test_ranks_run_as_many_passes_as_the_busiest(most):
    model = make_model("qwen3").eval()
    with_response_head(model)
    views, ids, mask = views_of(5)
    calls, asked = [], []
    model.base_model.register_forward_pre_hook(lambda m, a, k: calls.append(1), with_kwargs=True)

    def agree(count):
        asked.append(count)
        return max(count, most)

    none = torch.zeros(2, 7, dtype=torch.bool)
    empty = response_hidden(model, views, ids, mask, 7, none, most_of_ranks=agree)
    assert empty.shape == (2, 7, 6, 32)
    assert not empty.any()
    assert len(calls) == max(1, most)
    assert asked == [1]


def test_scoring_is_an_evaluation_and_training_goes_on():
    model = make_model("qwen3").train()
    model.gradient_checkpointing_enable()
    with_response_head(model)
    model.base_model.layers[0].eval()  # somebody's choice, kept
    views, ids, mask = views_of(2)
    found = response_hidden(model, views, ids, mask, 14)
    assert model.training
    assert not model.base_model.layers[0].training
    torch.testing.assert_close(found, alone(model.eval(), views, ids, mask), atol=2e-5, rtol=1e-4)
