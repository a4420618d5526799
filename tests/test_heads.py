"""The last projection against its formula, in float64."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, OPTConfig

from credit.scoring import Head, check_steady, with_response_head

N, V, D = 7, 6, 4
CLOSE = {"rtol": 2e-4, "atol": 2e-5}  # float32 against float64

HEADS = {
    "bias": ({"bias": torch.linspace(-1, 1, V)}, lambda logits: logits + np.linspace(-1, 1, V)),
    "scale": ({"scale": 0.25}, lambda logits: 0.25 * logits),
    "softcap": ({"softcap": 2.0}, lambda logits: 2 * np.tanh(logits / 2)),
    "temperature": ({"temperature": 0.7}, lambda logits: logits / 0.7),
    "all": (
        {"bias": torch.linspace(-1, 1, V), "scale": 0.25, "softcap": 2.0, "temperature": 0.7},
        lambda logits: 2 * np.tanh(0.25 * (logits + np.linspace(-1, 1, V)) / 2) / 0.7,
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_head_is_its_formula(name):
    arguments, formula = HEADS[name]
    weight, hidden = torch.randn(V, D), torch.randn(N, D)
    head = Head(weight, **arguments)
    logits = formula(hidden.numpy().astype(np.float64) @ weight.numpy().astype(np.float64).T)
    assert_close(head.logits(hidden).double(), torch.from_numpy(logits), **CLOSE)
    logps = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    assert_close(head.logps(hidden).double(), torch.from_numpy(logps), **CLOSE)


def test_float32_head_projects_bfloat16_weights_in_float32():
    weight, hidden = torch.randn(V, D).bfloat16(), torch.randn(N, D).bfloat16()
    bias = torch.randn(V).bfloat16()
    exact = hidden.double() @ weight.double().T + bias.double()
    assert_close(Head(weight, bias, float32=True).logits(hidden).double(), exact, rtol=1e-5, atol=1e-5)
    rounded = Head(weight, bias).logits(hidden)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() > 1e-3


@pytest.mark.parametrize("copy", [True, False])
def test_frozen_heads_are_detached_and_copies_keep_todays_values(copy):
    head = Head(torch.randn(V, D).requires_grad_(), torch.randn(V).requires_grad_(), softcap=3.0)
    before, frozen = head.weight.detach().clone(), head.frozen(copy)
    assert not frozen.weight.requires_grad
    assert not frozen.bias.requires_grad
    assert frozen.softcap == 3.0
    with torch.no_grad():
        head.weight.add_(1)
    assert torch.equal(frozen.weight, before) is copy


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_outside_of_modules_is_found(dropout):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        OPTConfig(
            vocab_size=50, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, dropout=dropout,
            word_embed_proj_dim=32, init_std=0.3,
        )
    )  # fmt: skip
    assert not any(isinstance(module, torch.nn.Dropout) for module in model.modules())
    model.eval()
    with_response_head(model)
    if dropout:
        with pytest.raises(ValueError, match="OPTForCausalLM draws random numbers while it trains"):
            check_steady(model, 50)
    else:
        check_steady(model, 50)
    assert not model.training
