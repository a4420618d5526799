"""Forward passes over views: planned or not, shared or not, they give what one row alone gives."""

import random

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, LlamaConfig, MambaConfig, MixtralConfig

from credit import passes
from credit.passes import CALL, plan_passes, response_hidden, shares_beginnings
from credit.scoring import with_response_head
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
@pytest.mark.parametrize("share", [True, False])
def test_hidden_states_are_those_of_each_row_alone(name, share, monkeypatch):
    monkeypatch.setattr(passes, "CALL", 0)  # so that short beginnings are shared too
    model = tiny(name).eval()
    with_response_head(model)
    assert shares_beginnings(model)
    for seed, size in enumerate((1, 3, 14)):
        views, ids, mask = views_of(seed)
        with torch.no_grad():
            expected = alone(model, views, ids, mask)
        found = response_hidden(model, views, ids, mask, size, share=share)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_layers_with_a_state_are_not_shared():
    assert not shares_beginnings(tiny("mamba"))


def test_sharing_is_exercised(monkeypatch):
    monkeypatch.setattr(passes, "CALL", 0)
    views, _, mask = views_of(2)
    plan = plan_passes([*views[0], *views[1]], mask.sum(1).tolist() * 2, 14)
    assert any(p.shared > 0 and len(p.rows) > 1 for p in plan)


def cost_by_length(prompts, lengths, size):
    total = sorted(len(p) + n for p, n in zip(prompts, lengths, strict=True))
    for start in range(0, len(total), size):
        part = total[start : start + size]
        yield len(part) * part[-1] + CALL


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_holds_every_row_once_and_counts_what_it_computes(seed):
    views, _, mask = views_of(seed, rows=9)
    prompts, lengths = [*views[0], *views[1]], mask.sum(1).tolist() * 2
    for size in (1, 2, 5, 18):
        plan = plan_passes(prompts, lengths, size)
        assert sorted(i for p in plan for i in p.rows) == list(range(18))
        assert all(len(p.rows) <= size for p in plan)
        unshared = plan_passes(prompts, lengths, size, share=False)
        assert sum(p.cost for p in plan) <= sum(p.cost for p in unshared) <= sum(cost_by_length(prompts, lengths, size))
        for p in plan:
            texts = [prompts[i] + [0] * lengths[i] for i in p.rows]
            width = max(len(text) for text in texts)
            beginnings = {tuple(text[: p.shared]) for text in texts} if p.shared else set()
            assert p.tokens == len(beginnings) * p.shared + len(texts) * (width - p.shared)
            assert all(p.shared < len(prompts[i]) for i in p.rows)


def test_the_shared_beginning_is_the_one_that_computes_least():
    prompts = [[*range(600), i] for i in range(4)]
    (found,) = plan_passes(prompts, [2] * 4, 4)
    assert (found.shared, found.tokens, found.calls) == (600, 600 + 4 * 3, 2)
    two = [[1] * 600 + [7], [1] * 600 + [8], [2] * 600 + [7], [2] * 600 + [8]]
    (found,) = plan_passes(two, [2] * 4, 4)
    assert (found.shared, found.tokens) == (600, 2 * 600 + 4 * 3)
    (found,) = plan_passes([[1, 2], [1, 3]], [5, 5], 4)
    assert (found.shared, found.calls) == (0, 1)  # two tokens are not worth a call


def test_rows_of_like_length_go_together_where_padding_costs_more_than_a_call():
    plan = plan_passes([[i] for i in range(4)], [1, 500, 2, 600], 4)
    assert [p.rows for p in plan] == [[0, 2], [1, 3]]
    plan = plan_passes([[i] for i in range(4)], [1, 50, 2, 60], 4)
    assert [p.rows for p in plan] == [[0, 2, 1, 3]]


def test_equal_rows_are_read_once():
    model = make_model("qwen3").eval()
    with_response_head(model)
    read = []
    model.base_model.register_forward_pre_hook(lambda m, a, k: read.append(k["input_ids"]), with_kwargs=True)
    ids = torch.tensor([[5, 6, 7], [5, 6, 7], [5, 6, 8]])
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
    found = response_hidden(model, views, ids, mask, 1, wanted, share=False)
    hook.remove()
    assert len(read) == int((wanted & mask.any(1)).sum())
    everything = response_hidden(model, views, ids, mask, 1, share=False)
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
