"""What a token of a self-taught answer earns, and how much of it belongs to this input. Pure tensors, torch only.

The self-distillation reward of a token, r = log p_T(y_t|x,z) - log p(y_t|x), is a Bayesian filtering increment; over a
response it sums to the pointwise mutual information of answer and feedback (abstract of arXiv 2605.11613). Part of it
would be paid under any question. Writing G for the mean teacher log-probability under unrelated inputs x', the teacher
splits into log p_T = S + G, and CREDIT's reward subtracts lambda * G.

Everything is elementwise: functions take any shape, and the contrast carries a *leading* axis of C negatives.
All log-probabilities are natural logarithms (nats) and must be finite.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from credit._shapes import Bool, Float

FORMS = ("paper", "guided", "feedback_contrast")
GENERIC_MEANS = ("logs", "probabilities")


def filtering_increment(
    logp_teacher: Float[Tensor, "*shape"], logp_student: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return r = log p_T - log p, in nats (abstract). Detach the teacher before training on it."""
    return logp_teacher - logp_student


def generic_score(
    logp_contrast: Float[Tensor, "C *shape"],
    available: Bool[Tensor, "C *#shape"] | None = None,
    floor: float | None = None,
    mean: str = "logs",
) -> Float[Tensor, "*shape"]:
    """Return G, what a token costs under an unrelated input, in nats.

    The mean *of logs* over negatives (paper, second-hand), or the log of the mean probability (ours: one x' that
    allows a token is enough to call it generic).

    Args:
        logp_contrast: teacher log-probabilities under C unrelated inputs, same response and feedback.
        available: which negatives exist; missing ones leave the mean. Where none exists G is 0, and the caller must
            use lambda = 0.
        floor: lower clamp on G (ours): one token that is impossible under x' must not dominate.
        mean: "logs" or "probabilities"; with one negative they are the same.
    """
    if mean not in GENERIC_MEANS:
        raise ValueError(f"mean={mean!r} is unknown. Use one of {', '.join(GENERIC_MEANS)}.")
    if available is None:
        available = torch.ones((len(logp_contrast), *[1] * (logp_contrast.dim() - 1)), dtype=torch.bool)
        available = available.to(logp_contrast.device)
    count = available.sum(dim=0).clamp(min=1)
    if mean == "logs":
        generic = torch.where(available, logp_contrast, torch.zeros_like(logp_contrast)).sum(dim=0) / count
    else:
        lowest = torch.full_like(logp_contrast, -torch.inf)
        generic = torch.where(available, logp_contrast, lowest).logsumexp(dim=0) - count.to(logp_contrast.dtype).log()
        generic = torch.where(available.any(dim=0), generic, torch.zeros_like(generic))
    return generic if floor is None else generic.clamp(min=floor)


def decompose(
    logp_teacher: Float[Tensor, "*shape"], logp_contrast: Float[Tensor, "C *shape"]
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Split the teacher along the input axis: (specific S, generic G), with S + G = log p_T."""
    _check_contrast(logp_teacher, logp_contrast, "logp_contrast")
    generic = generic_score(logp_contrast)
    return logp_teacher - generic, generic


def decompose_leave_one_out(
    logp_teacher: Float[Tensor, "N *shape"],
) -> tuple[Float[Tensor, "N *shape"], Float[Tensor, "N *shape"]]:
    """Split N teachers that differ only in their input, each against the other N - 1. S sums to 0 over N (derived)."""
    count = logp_teacher.shape[0]
    if count < 2:
        raise ValueError(f"leave-one-out needs at least 2 inputs, got {count}.")
    generic = (logp_teacher.sum(dim=0, keepdim=True) - logp_teacher) / (count - 1)
    return logp_teacher - generic, generic


def raw_target(
    logp_teacher: Float[Tensor, "*shape"],
    generic: Float[Tensor, "*shape"] | None,
    lam: float | Float[Tensor, "*#shape"],
    form: str = "paper",
    generic_nofeedback: Float[Tensor, "*shape"] | None = None,
) -> Float[Tensor, "*shape"]:
    """Return log q before normalisation; R = raw target - log p, and q = softmax of it.

    * `paper`: log p_T - lambda G (second-hand).
    * `guided`: log p_T + lambda (log p_T - G) (ours): unchanged where the input does not matter.
    * `feedback_contrast`: log p_T - lambda (G - G0) (ours): G0 is the same mean without feedback.

    Args:
        generic: G. None is allowed only with `lam` 0, which returns the teacher itself, untouched.
        lam: coefficient, a number or one per token (0 where a sample has no negative).
        generic_nofeedback: G0, needed by `feedback_contrast`.
    """
    if form not in FORMS:
        raise ValueError(f"form={form!r} is unknown. Use one of {', '.join(FORMS)}.")
    if not isinstance(lam, Tensor):
        if not lam >= 0:  # also NaN
            raise ValueError(f"lam={lam} is not allowed: it would pay for generic tokens. Use lam >= 0.")
        if lam == 0:
            return logp_teacher
    if generic is None:
        raise ValueError("lam > 0 needs log-probabilities under unrelated inputs. Pass logp_contrast, or lam=0.")
    if form == "paper":
        return logp_teacher - lam * generic
    if form == "guided":
        return logp_teacher + lam * (logp_teacher - generic)
    if generic_nofeedback is None:
        raise ValueError(
            "form='feedback_contrast' needs the teacher's scores without feedback. Pass logp_contrast_nofeedback."
        )
    return logp_teacher - lam * (generic - generic_nofeedback)


def credit_reward(
    logp_teacher: Float[Tensor, "*shape"],
    logp_student: Float[Tensor, "*shape"],
    logp_contrast: Float[Tensor, "C *shape"] | None,
    lam: float,
    form: str = "paper",
    logp_contrast_nofeedback: Float[Tensor, "C *shape"] | None = None,
) -> Float[Tensor, "*shape"]:
    """Return R, the credit of each token or vocabulary entry, in nats (`paper`: second-hand; other forms: ours).

    Args:
        logp_teacher: log p_T(v | x, y_<t, z).
        logp_student: log p(v | x, y_<t).
        logp_contrast: log p_T(v | x'_k, y_<t, z) for C unrelated inputs; may be None when `lam` is 0.
        lam: coefficient of the generic part, >= 0; 0 is plain self-distillation.
        form: see `raw_target`.
        logp_contrast_nofeedback: log p_T(v | x'_k, y_<t), for `feedback_contrast`.
    """
    generic, nofeedback = _contrast_means(logp_teacher, logp_contrast, lam, logp_contrast_nofeedback)
    return raw_target(logp_teacher, generic, lam, form, nofeedback) - logp_student


def contrastive_teacher(
    logp_teacher_V: Float[Tensor, "*batch V"],
    logp_contrast_CV: Float[Tensor, "C *batch V"] | None,
    lam: float,
    form: str = "paper",
    logp_contrast_nofeedback_CV: Float[Tensor, "C *batch V"] | None = None,
) -> Float[Tensor, "*batch V"]:
    """Return log q, normalised over the last axis; arguments as in `credit_reward`."""
    generic, nofeedback = _contrast_means(logp_teacher_V, logp_contrast_CV, lam, logp_contrast_nofeedback_CV)
    return raw_target(logp_teacher_V, generic, lam, form, nofeedback).log_softmax(dim=-1)


def rewards_to_go(
    reward_BT: Float[Tensor, "B T"], mask_BT: Bool[Tensor, "B T"], gamma: float = 1.0
) -> Float[Tensor, "B T"]:
    """Return sum_{u >= t} gamma^(u-t) R_u over the masked tokens, 0 elsewhere (derived: gradient of E[sum R]).

    Time is counted in masked tokens: a long tool output between two turns discounts nothing.
    """
    reward_BT = reward_BT.masked_fill(~mask_BT, 0.0)
    running = reward_BT.new_zeros(reward_BT.shape[0])
    columns: list[Tensor] = []
    for t in range(reward_BT.shape[1] - 1, -1, -1):
        running = torch.where(mask_BT[:, t], reward_BT[:, t] + gamma * running, running)
        columns.append(running)
    result = torch.stack(columns[::-1], dim=1) if columns else reward_BT
    return result.masked_fill(~mask_BT, 0.0)


def token_advantages(
    reward_BT: Float[Tensor, "B T"],
    expected_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    token_credit: str,
    gamma: float,
    baseline: str,
    mean: Callable[[Tensor, Tensor], Tensor],
) -> Float[Tensor, "B T"]:
    """Advantages of the sampled tokens, 0 outside the mask (derived).

    Args:
        reward_BT: R of the sampled tokens; may be NaN outside the mask.
        expected_BT: E_{v~p} R_t(v), the baseline "expected" of immediate credit.
        mask_BT: response tokens that have a teacher.
        token_credit: "immediate", or "to_go" (the gradient of E[sum R]; with `paper`, -lambda G >= 0 then acts as a
            length bonus).
        gamma: discount of "to_go".
        baseline: "expected", "batch_mean" or "none". One baseline of the state: centring each step of a sum would
            collapse it to the immediate gradient.
        mean: (values, where) -> scalar mean over the batch of all ranks.
    """
    advantage_BT = reward_BT if token_credit == "immediate" else rewards_to_go(reward_BT, mask_BT, gamma)
    if baseline == "expected":
        advantage_BT = advantage_BT - expected_BT
    elif baseline == "batch_mean":
        advantage_BT = advantage_BT - mean(advantage_BT, mask_BT)
    return advantage_BT.masked_fill(~mask_BT, 0.0)


def _contrast_means(
    logp_teacher: Tensor, logp_contrast: Tensor | None, lam: float, logp_nofeedback: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    if logp_contrast is None or lam == 0:
        return None, None
    _check_contrast(logp_teacher, logp_contrast, "logp_contrast")
    if logp_nofeedback is None:
        return generic_score(logp_contrast), None
    _check_contrast(logp_teacher, logp_nofeedback, "logp_contrast_nofeedback")
    return generic_score(logp_contrast), generic_score(logp_nofeedback)


def _check_contrast(logp_teacher: Tensor, logp_contrast: Tensor, name: str) -> None:
    if logp_contrast.shape[1:] != logp_teacher.shape or logp_contrast.shape[0] == 0:
        raise ValueError(
            f"{name} has shape {tuple(logp_contrast.shape)}; expected a leading axis of at least one negative over "
            f"{tuple(logp_teacher.shape)}. For a single negative use unsqueeze(0)."
        )
