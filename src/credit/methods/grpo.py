"""GRPO: one advantage per answer, the same for all of its tokens. Loss and advantages are TRL's, untouched."""

from credit.methods.base import Method

GRPO = Method(
    name="grpo",
    summary="group-normalised reward, one advantage for every token",
    source="arXiv 2402.03300, TRL's implementation",
)
