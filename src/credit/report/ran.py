"""What was run, in a few lines that a person reads before any number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit.report.text import number, setting, visible

# form -> (formula of the credit, what to keep in mind when reading its values)
FORMS = {
    "paper": (
        "R = r − λG",
        "G is a log-probability, so −λG lifts every token: compare tokens of one place, not signs.",
    ),
    "guided": ("R = r + λS", ""),
    "feedback_contrast": ("R = r − λ(G − G without feedback)", "The last part is not recorded."),
}
FEEDBACK = {
    "without_solution": "shown feedback where there is no solution",
    "always": "always shown feedback",
    "never": "never shown feedback",
}


def reading(config: Mapping[str, Any]) -> str:
    """Say how the credit of a run is made, and how to read it; "" for other methods and unknown forms."""
    form = str(config.get("form"))
    if config.get("method", "credit") != "credit" or form not in FORMS:
        return ""
    formula, remark = FORMS[form]
    return f"{formula}. {remark}".strip()


def what_was_run(config: dict[str, Any], run: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (label, text) pairs from `config.yaml` and `run.json`; what is not recorded is left out."""
    if not config:
        return [(label, visible(run[name])) for label, name in _SOURCES if run.get(name) is not None]

    def value(name: str) -> str:
        return setting(name, config[name]) if name in config else "not recorded"

    method = config.get("method")
    teaches = method != "grpo"
    lines = [
        ("method", f"credit, form {value('form')}" if method == "credit" else value("method")),
        ("preset", value("preset")),
    ]
    if method == "credit":
        formula, _ = FORMS.get(str(config.get("form")), ("form not recorded", ""))
        lines.append(("credit", f"{formula}, λ = {value('lam')}, contrasted with {value('num_negatives')} x'"))
    if teaches and config.get("level") == "token":
        credit, base = value("token_credit").replace("_", " "), value("baseline").replace("_", " ")
        lines.append(("loss", f"advantages of the sampled tokens: {credit} credit, baseline {base}"))
    elif teaches:
        size = number(config.get("support_size"))
        support = "the full vocabulary" if size == 0 else f"the {value('support_size')} likeliest tokens"
        lines.append(("loss", f"{value('divergence').replace('_', ' ')} over {support}"))
    if teaches:
        rate = f" (rate {value('ema_rate')})" if config.get("teacher") == "ema" else ""
        shown = FEEDBACK.get(str(config.get("feedback_when")), "feedback not recorded")
        lines.append(("teacher", f"{value('teacher')}{rate}; {shown}"))
        if config.get("blend") not in (None, "none"):
            lines.append(("blend with GRPO", f"at the {value('blend')}, weight {value('blend_weight')}"))
    lines += [(label, visible(run[name])) for label, name in _SOURCES if run.get(name) is not None]
    lines.append(("training", _training(config)))
    bad = number(run.get("bad_rows"))
    if bad:
        lines.append(("bad rows", f"{bad:g} left out"))
    return lines


_SOURCES = (("model", "model"), ("data", "dataset"), ("seed", "seed"))


def _training(config: dict[str, Any]) -> str:
    steps, epochs = number(config.get("max_steps")), number(config.get("num_train_epochs"))
    said = [f"{steps:g} steps" if steps and steps > 0 else f"{epochs:g} epochs" if epochs else "length not recorded"]
    micro, times = number(config.get("per_device_train_batch_size")), number(config.get("gradient_accumulation_steps"))
    group, rate = number(config.get("num_generations")), number(config.get("learning_rate"))
    if micro and times:
        said.append(f"{micro * times:g} answers a step" + (f", {group:g} to a prompt" if group else ""))
    if rate is not None:
        said.append(f"learning rate {rate:g}")
    return "; ".join(said)
