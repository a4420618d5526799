"""Prefix trees: what is laid out, which models can read it, and that training on it changes cost and nothing else."""

import copy
import random

import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig
from torch import nn
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, Llama4TextConfig, MambaConfig, Qwen2MoeConfig

from credit import CreditTrainer
from credit.prefix_tree import common, trees
from credit.scoring import with_response_head
from credit.tree_attention import read_tree, why_not, with_tree_attention
from local_models import make_config, make_dataset, make_model, make_tokenizer, reward
from test_trainer import fit, history, make_trainer


def some_rows(seed: int, count: int = 40) -> list[list[int]]:
    """Rows that branch everywhere; some begin others, some are equal."""
    draw = random.Random(seed)
    rows = [[draw.randrange(3) for _ in range(draw.randrange(1, 12))] for _ in range(count - 2)]
    return [*rows, rows[0], rows[1][:1]]


def visible(tree, window=None) -> dict[int, list[int]]:
    """Return the places that each place of a tree attends to, read from the blocks as attention does."""
    found, at = {}, 0
    for block in tree.blocks:
        sees = block.sees(window)
        sees = sees if sees is None else sees.expand(len(block.key_RK), -1, -1, -1)
        _, queries = block.query_RQ.shape
        for flat in block.own_N.tolist():
            r, q = divmod(flat, queries)
            keys = block.key_RK[r, : q + 1] if sees is None else block.key_RK[r][sees[r, 0, q]]
            assert block.query_RQ[r, q] == at
            found[at] = keys.tolist()
            at += 1
    return found


@pytest.mark.parametrize("seed", range(10))
def test_every_beginning_is_laid_out_once_and_sees_what_comes_before_it(seed):
    rows = some_rows(seed)
    (tree,) = trees(rows, 10_000)
    beginnings = {tuple(row[: n + 1]) for row in rows for n in range(len(row))}
    assert tree.ids_1N.shape == tree.positions_1N.shape == (1, len(beginnings))
    seen = visible(tree)
    assert sorted(seen) == list(range(len(beginnings)))
    for i, row in enumerate(rows):
        path = tree.paths[i].tolist()
        assert tree.ids_1N[0, path].tolist() == row
        assert tree.positions_1N[0, path].tolist() == list(range(len(row)))
        for n, place in enumerate(path):
            assert seen[place] == path[: n + 1]
            assert visible(tree, window=3)[place] == path[max(0, n - 2) : n + 1]


@pytest.mark.parametrize("most", [1, 12, 30, 100])
def test_no_pass_is_larger_than_asked_for(most):
    rows = some_rows(0)
    found = trees(rows, most)
    longest = max(map(len, rows))
    assert sorted(i for tree in found for i in tree.paths) == list(range(len(rows)))
    for tree in found:
        assert tree.ids_1N.numel() <= max(most, longest)
        assert all(block.key_RK.numel() <= max(most, longest) for block in tree.blocks)
        for i, path in tree.paths.items():
            assert tree.ids_1N[0, path].tolist() == rows[i]


def test_a_row_whose_mask_would_be_large_is_read_whole(monkeypatch):
    monkeypatch.setattr("credit.prefix_tree._MASK", 30)
    rows = [[1, 2, 3, *range(9)], [1, 2, 3, 9], [1, 2, 3, 9, 9], [1, 2, 4, *range(9, 16)]]
    (tree,) = trees(rows, 100)
    assert tree.ids_1N.numel() == 12 + 1 + 1 + 10
    assert all(tree.ids_1N[0, tree.paths[i]].tolist() == row for i, row in enumerate(rows))
    seen = visible(tree)
    assert all(seen[place] == path[: n + 1] for path in map(list, tree.paths.values()) for n, place in enumerate(path))


def test_common_beginnings():
    assert [common(a, b) for a, b in (("abc", "abd"), ("", "a"), ("ab", "abc"), ("x", "y"), ("ab", "ab"))] == [
        2, 0, 2, 0, 2,
    ]  # fmt: skip


def test_nothing_to_read_is_no_tree():
    assert trees([], 10) == []


# -- models


def ready(model: nn.Module) -> nn.Module:
    model.eval()
    with_response_head(model)
    with_tree_attention(model)
    return model


def shape(**more) -> dict:
    sizes = {
        "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3, "pad_token_id": 0,
    }  # fmt: skip
    return {**sizes, **more}


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_attention_is_replaced_for_trees_only(implementation):
    model = ready(make_model("qwen3"))
    model.config._attn_implementation = implementation
    ids = torch.tensor([[3, 4, 5, 6]])
    before = model(input_ids=ids).logits
    assert why_not(model, 50) is None
    assert model.config._attn_implementation == implementation
    torch.testing.assert_close(model(input_ids=ids).logits, before, atol=0, rtol=0)


def test_models_that_carry_a_state_are_named():
    model = AutoModelForCausalLM.from_config(MambaConfig(**shape(state_size=4)))
    assert "MambaForCausalLM carries a state" in why_not(ready(model), 50)


def test_layers_of_an_unknown_kind_are_named():
    config = Llama4TextConfig(**shape(num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_local_experts=2))
    model = AutoModelForCausalLM.from_config(config)
    assert "chunked_attention are neither full nor sliding" in why_not(ready(model), 50)


def test_a_window_that_attention_is_not_told_of_is_found_out():
    config = Qwen2MoeConfig(
        **shape(num_attention_heads=4, num_key_value_heads=2, num_experts=4, layer_types=["sliding_attention"] * 2),
        use_sliding_window=True, sliding_window=64,
    )  # fmt: skip
    model = ready(AutoModelForCausalLM.from_config(config))
    assert "off by" in why_not(model, 50)  # though no row that is tried has 64 tokens
    assert model.config.sliding_window == model.base_model.layers[0].self_attn.sliding_window == 64


def test_attention_with_a_soft_cap_is_named():
    config = Gemma2Config(
        **shape(intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=8), sliding_window=64
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    assert "softcap" in why_not(ready(model), 50)
    assert model.config._attn_implementation == "eager"


def test_a_model_that_does_not_hear_of_trees_is_found_out():
    model = make_model("qwen3").eval()
    with_response_head(model)
    assert "off by" in why_not(model, 50)  # `with_tree_attention` was left out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dimensions_larger_than_all_others_hide_no_error(dtype):
    config = GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        model.base_model.ln_f.bias[3] = 60
    with_response_head(model)
    assert "off by" in why_not(model, 50)
    with_tree_attention(model)
    assert why_not(model, 50) is None


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_call_that_was_interrupted_leaves_nothing_behind(kind):
    def interrupt(*args):
        raise kind

    model = ready(make_model("qwen3"))
    ids = torch.tensor([[3, 4, 5, 6]])
    before, implementation = model(input_ids=ids).logits, model.config._attn_implementation
    (tree,) = trees([[3, 4, 5], [3, 4, 6]], 10)
    hook = model.base_model.layers[1].self_attn.o_proj.register_forward_pre_hook(interrupt)
    with pytest.raises(kind):
        read_tree(model, tree, lambda hidden_ND: hidden_ND)
    hook.remove()
    assert model.config._attn_implementation == implementation
    torch.testing.assert_close(model(input_ids=ids).logits, before, atol=0, rtol=0)
    assert why_not(model, 50) is None
    assert all(m.config is model.config for m in model.modules() if hasattr(m, "config"))


def test_a_copy_reads_trees_with_its_own_weights():
    model = ready(make_model("qwen3"))
    other = copy.deepcopy(model)
    other.__dict__.pop("forward")
    with_response_head(other)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    (tree,) = trees([[3, 4, 5], [3, 4, 6]], 10)
    with torch.no_grad():
        found = read_tree(other, tree, lambda hidden_ND: hidden_ND)
        plain = other(input_ids=torch.tensor([[3, 4, 5]]), on_hidden=lambda hidden: hidden[0])
    assert plain.abs().max() > 0.1
    torch.testing.assert_close(found[tree.paths[0]], plain, atol=1e-5, rtol=1e-4)


# -- training


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "sdpo", "support_size": 0, "teacher": "trust_region"},
        {"blend": "loss", "num_iterations": 2},
        {"level": "token", "num_iterations": 2, "gradient_checkpointing": True},
        {"method": "grpo", "num_iterations": 2, "gradient_checkpointing": False},
    ],
    ids=lambda options: " ".join(map(str, options.values())) or "credit",
)
def test_training_on_trees_changes_no_number(tmp_path, options):
    shared, padded = (make_trainer(tmp_path, share_prefixes=on, **options) for on in (True, False))
    fit(shared, padded)
    assert (shared._as_trees, padded._as_trees) == (True, False)
    for ours, theirs in zip(history(shared), history(padded), strict=True):
        for name in ("loss", "entropy", "grad_norm"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-4, rel=1e-3), name
    for a, b in zip(shared.model.parameters(), padded.model.parameters(), strict=True):
        assert (a - b).norm() <= 1e-3 * b.norm()  # by element Adam turns a gradient of nothing into a step of any sign


@pytest.mark.parametrize("method", ["credit", "grpo"])
def test_what_cannot_be_read_as_a_tree_is_said(tmp_path, monkeypatch, caplog, method):
    monkeypatch.setattr("credit.trainer_passes.why_not", lambda *a: "its attention has horns")
    trainer = make_trainer(tmp_path, method=method, max_steps=1)
    fit(trainer)
    assert not trainer._as_trees
    assert "Rows are padded, and common beginnings read again and again: its attention has horns" in caplog.text


def test_grpo_takes_a_model_that_credit_refuses_and_says_that_it_pads(tmp_path, monkeypatch, caplog):
    def refuse(*args):
        raise ValueError("an adapter on the output layer is not supported")

    monkeypatch.setattr("credit.trainer_passes.refuse_unsupported", refuse)
    trainer = make_trainer(tmp_path, method="grpo", max_steps=1)
    fit(trainer)
    assert "an adapter on the output layer" in caplog.text
    with pytest.raises(ValueError, match="an adapter on the output layer"):
        make_trainer(tmp_path)


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
def test_tokens_that_an_adapter_puts_before_each_row_are_grpos_alone(tmp_path, caplog):
    adapter = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    with pytest.raises(ValueError, match="tokens of its own before each row"):
        make_peft_trainer(tmp_path, adapter, "credit")
    fit(make_peft_trainer(tmp_path, adapter, "grpo"))
    assert "tokens of its own before each row" in caplog.text


@pytest.mark.filterwarnings("ignore:.*past_key_values:FutureWarning")  # PEFT and transformers 5.24
@pytest.mark.parametrize("method", ["credit", "grpo"])
def test_an_adapter_that_does_not_hear_of_trees_is_found_out(tmp_path, caplog, method):
    trainer = make_peft_trainer(tmp_path, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), method)
    fit(trainer)
    assert not trainer._as_trees
    assert "the model fails on a tree" in caplog.text


def make_peft_trainer(folder, adapter, method: str) -> CreditTrainer:
    return CreditTrainer(
        make_model("qwen3"),
        reward,
        make_config(folder, method=method, max_steps=1),
        train_dataset=make_dataset(),
        processing_class=make_tokenizer(),
        peft_config=adapter,
    )


def test_attention_that_counts_places_by_itself_is_named():
    model = ready(make_model("qwen3"))
    model.config.attn_temperature_tuning = True
    assert "scales with a token's place" in why_not(model, 50)
