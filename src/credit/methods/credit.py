"""CREDIT: self-distillation minus what the teacher would say under unrelated inputs of the same batch."""

from credit.methods.base import Method
from credit.rewards import raw_target

CREDIT = Method(
    name="credit",
    summary="self-distillation with input-specific credit",
    source="arXiv 2605.11613 (formula second-hand); forms guided and feedback_contrast are ours",
    target=lambda logp_teacher, generic, generic0, lam, form: raw_target(logp_teacher, generic, lam, form, generic0),
    contrast="inputs",
)
