"""Settings of whole methods as their papers report them (second-hand), by name.

A preset sets the method's own fields and nothing else: learning rate, batch sizes and sampling stay the user's.
"""

from __future__ import annotations

from typing import Any

_VOCABULARY: dict[str, Any] = {"level": "vocabulary", "blend": "none", "teacher": "ema", "divergence": "reverse_kl"}
_TOKEN: dict[str, Any] = {**_VOCABULARY, "level": "token"}
_PAPER: dict[str, Any] = {
    **_VOCABULARY,
    "method": "credit",
    "form": "paper",
    "lam": 0.1,
    "num_negatives": 1,
    "ema_rate": 0.01,
}
_JSD: dict[str, Any] = {"divergence": "jsd", "jsd_alpha": 0.5, "support_size": 100}

PRESETS: dict[str, dict[str, Any]] = {
    "paper-code": {**_PAPER, "support_size": 20},
    "paper-science": {**_PAPER, **_JSD},
    "grpo": {"method": "grpo", "level": "vocabulary", "blend": "none"},
    # Dr.GRPO is GRPO without two normalisations, both options of TRL: no method of its own.
    "dr-grpo": {
        "method": "grpo",
        "level": "vocabulary",
        "blend": "none",
        "loss_type": "dr_grpo",
        "scale_rewards": "none",
    },
    "sdpo-code": {**_VOCABULARY, "method": "sdpo", "support_size": 20, "ema_rate": 0.01},
    "sdpo-science": {**_VOCABULARY, **_JSD, "method": "sdpo", "ema_rate": 0.05},
    "rlsd": {**_TOKEN, "method": "rlsd"},
    "rlcsd": {**_TOKEN, "method": "rlcsd", "feedback_when": "never", "num_negatives": 4},
    "antisd": {**_TOKEN, "method": "antisd"},
    "srpo": {**_VOCABULARY, "method": "srpo"},
    "opsd": {
        **_VOCABULARY,
        "method": "opsd",
        "teacher": "frozen",
        "divergence": "forward_kl",
        "support_size": 0,
        "feedback_when": "never",
    },
    "sdft": {**_VOCABULARY, **_JSD, "method": "sdft", "feedback_when": "never"},
}


def preset_fields(name: str) -> dict[str, Any]:
    """Return the fields of a preset, or raise with the known names."""
    if name not in PRESETS:
        raise ValueError(f"preset={name!r} is unknown. Use one of {', '.join(PRESETS)}.")
    return dict(PRESETS[name])
