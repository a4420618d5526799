"""Self-distillation (SDPO): match the feedback-conditioned self, token by token. CREDIT at lambda 0."""

from credit.methods.base import Method, plain_teacher

SDPO = Method(
    name="sdpo",
    summary="self-distillation from the feedback-conditioned teacher, no contrast",
    source="arXiv 2601.20802",
    target=plain_teacher,
)
