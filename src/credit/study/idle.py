"""Options that a method does not read: listing one promises a difference that is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CONTRAST = ("form", "lam", "num_negatives", "negatives_from", "generic_mean", "contrast_floor")
_OF_CREDIT_BUT_READ_BY_ALL = ("method", "blend", "credit_log_steps", "idle_warning_steps", "success_threshold")


def idle_option(
    named: Mapping[str, Any], config: Mapping[str, Any], own: set[str], needs_teacher: bool, contrast: str | None
) -> str | None:
    """Return why the first idle option of `named` is idle, or None.

    Args:
        named: the options that a study file lists for one method.
        config: all resolved options of its run.
        own: names of the options that `CreditConfig` adds to TRL's.
        needs_teacher: whether the method scores rollouts by a teacher.
        contrast: what it is contrasted with, as in `credit.methods.Method`.
    """
    rules = (
        (not needs_teacher, own - {*_OF_CREDIT_BUT_READ_BY_ALL}, "has no teacher"),
        (contrast is None, set(_CONTRAST), "contrasts nothing"),
        (contrast == "answers", {*_CONTRAST} - {"num_negatives"}, "contrasts answers, not inputs"),
        (contrast == "inputs" and config["lam"] == 0, {*_CONTRAST} - {"lam"}, "contrasts nothing at lam 0"),
        (config["teacher"] != "ema", {"ema_rate"}, f"has a teacher that is {config['teacher']}, not ema"),
        (config["blend"] == "none", {"blend_weight"}, "is not blended"),
        (config["divergence"] != "jsd", {"jsd_alpha"}, f"uses {config['divergence']}"),
        (config["support_size"] == 0, {"tail"}, "compares the full vocabulary (support_size 0), which has no tail"),
        (config["level"] == "token", {"divergence", "support_size", "tail"}, "compares sampled tokens (level token)"),
    )
    preset = config.get("preset")
    for holds, idle, why in rules:
        for name in named:
            if holds and name in idle and not (preset and named.get("preset") == preset):
                return f"sets {name}, but it {why}: the option is idle. Remove it"
    return None
