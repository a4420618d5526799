"""OPSD and SDFT: self-distillation on own rollouts, from a teacher shown a right solution of the data.

OPSD: KL_beta(p_T(. | x, y*) || p) with a frozen teacher. SDFT: the same with an expert demonstration as y*, K = 100,
JSD 0.5. The formula is SDPO's; what differs is where z comes from (`demonstration_column`), and settings:
`--preset opsd`, `--preset sdft`.

Deviations: OPSD's beta is not known here; its preset takes KL(p_T || p) over the full vocabulary. SDFT's teacher is not
known either; its preset takes an EMA teacher.
"""

from credit.methods.base import Method, plain_teacher

OPSD = Method(
    name="opsd",
    summary="self-distillation from a teacher shown the data's right solution",
    source="arXiv 2601.18734",
    target=plain_teacher,
    demonstrations=True,
    reads=("demonstration_column",),
)

SDFT = Method(
    name="sdft",
    summary="self-distillation from a teacher shown an expert demonstration",
    source="arXiv 2601.19897",
    target=plain_teacher,
    demonstrations=True,
    reads=("demonstration_column",),
)
