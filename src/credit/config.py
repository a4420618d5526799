"""Every option of the method, its default, and where that default comes from. The one source of truth.

"paper" in a help text always means *second-hand*: an account of arXiv 2605.11613 by someone who read it. "ours" means
no source fixes it. Degenerate settings are refused here, with the reason and the fix.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from transformers.trainer_utils import HubStrategy

from credit._trl import GRPOConfig
from credit.allowed import BASELINES, BLENDS, FEEDBACK_WHEN, LEVELS, SCORED_BY, TOKEN_CREDIT, check_values
from credit.contrast import NEGATIVES_FROM
from credit.divergences import DIVERGENCES, INSERTIONS, TAILS
from credit.kernel import LossOptions
from credit.methods import METHODS, Method, get_method
from credit.presets import preset_fields
from credit.rewards import FORMS, GENERIC_MEANS
from credit.server import refuse_unknown_to_a_server
from credit.teacher import KINDS


def _option(default: Any, help_text: str, choices: tuple[str, ...] | None = None) -> Any:
    metadata: dict[str, Any] = {"help": help_text}
    if choices:
        metadata["choices"] = list(choices)
    return field(default=default, metadata=metadata)


@dataclass
class CreditConfig(GRPOConfig):
    """`GRPOConfig` plus the options of credit. All of TRL's options keep their meaning, or are refused.

    Without an accelerator, and with `bf16` not given, it trains on the CPU in float32; TRL would refuse.

    See `docs/options.md` for the table; it is generated from the `help` of the fields below.
    """

    method: str = _option(
        "credit",
        "What a token is compared with, or what it earns: grpo, sdpo, credit, rlsd, rlcsd, antisd, srpo, opsd, sdft "
        "(docs/methods.md), or your own as `package.module:NAME`. Default: ours.",
    )
    form: str = _option(
        "paper",
        "Form of the credit: `paper` r - lam*G (paper); `guided` r + lam*S (ours); `feedback_contrast` "
        "r - lam*(G - G without feedback) (ours). Default: paper.",
        FORMS,
    )
    lam: float = _option(
        0.1,
        "Coefficient lambda of the input-generic part, >= 0. 0 is plain self-distillation. Default: paper.",
    )
    num_negatives: int = _option(1, "C, unrelated inputs each rollout is contrasted with. Default: paper.")
    negatives_from: str = _option(
        "any",
        "Where unrelated inputs come from: `any` prompt of the batch, or the `same_family` of tasks (rows need a "
        "column `family`). Default: ours; the paper's rule is not known.",
        NEGATIVES_FROM,
    )
    generic_mean: str = _option(
        "logs",
        "G of several unrelated inputs: mean of `logs` (paper), or log of the mean of `probabilities` (ours). "
        "Default: paper.",
        GENERIC_MEANS,
    )
    contrast_floor: float = _option(
        -20.0, "Lower clamp of G in nats; must be negative. Default: ours; the clamped share is logged."
    )
    level: str = _option(
        "vocabulary",
        "`vocabulary`: a divergence over the support at every token (paper). `token`: advantages of the sampled "
        "tokens through TRL's policy loss (derived). Default: paper.",
        LEVELS,
    )
    divergence: str = _option(
        "reverse_kl",
        "Vocabulary level: distance from student to target. Default: paper (coding); `jsd` in science.",
        DIVERGENCES,
    )
    jsd_alpha: float = _option(
        0.5, "Mixture weight of the generalised JSD; 0 is forward KL, 1 reverse KL. Default: paper."
    )
    jsd_lambda: str = _option(
        "target",
        "How lambda enters the JSD: `target`, `kernel` or `penalty`. Open in every source. Default: ours.",
        INSERTIONS,
    )
    support_size: int = _option(
        20, "K, the student's most likely tokens compared at each position; 0 is the full vocabulary. Default: paper "
        "(coding); 100 in science."
    )  # fmt: skip
    tail: str = _option(
        "renormalise",
        "What happens outside the support: `renormalise`, `bucket` or `exact`. Default: ours (SDPO in TRL does it).",
        TAILS,
    )
    token_credit: str = _option(
        "immediate", "Token level: `immediate` credit or the sum `to_go`. Default: ours.", TOKEN_CREDIT
    )
    gamma: float = _option(1.0, "Token level, `to_go`: discount of later credit, in (0, 1]. Default: ours.")
    baseline: str = _option(
        "expected",
        "Token level: `expected` reward over the vocabulary (immediate only), `batch_mean` or `none`. Default: ours.",
        BASELINES,
    )
    blend: str = _option(
        "none",
        "Mix with GRPO: `loss` adds blend_weight times the vocabulary-level loss to GRPO's; `advantage` is "
        "blend_weight * GRPO + (1 - blend_weight) * credit at token level. Default: paper (none).",
        BLENDS,
    )
    blend_weight: float = _option(
        0.3, "w of the blend. Default: ours (0.3 for `loss`); SDPO's paper reports 0.9 for `advantage`."
    )
    importance_cap: float = _option(
        0.0,
        "Vocabulary level: multiply by min(p / p_old, cap), detached, when the student has moved since it answered; 0 "
        "is off (SDPO uses 2). What vLLM samples differently is for TRL's vllm_importance_sampling_*. Default: ours.",
    )
    teacher: str = _option(
        "ema",
        "Weights of the self-teacher: `live`, `frozen` or `ema` of the student; `trust_region` interpolates logits of "
        "frozen and live ones (SDPO). Default: paper.",
        KINDS,
    )
    ema_rate: float = _option(
        0.01,
        "Share of the student mixed into the EMA teacher after the last optimiser step of each generation batch; with "
        "`trust_region`, its weight in the logits (SDPO: 0.01). Default: paper (value); ours (moment, as SDPO).",
    )
    teacher_scored_by: str = _option(
        "trainer",
        "Who computes the teacher's log-probabilities: the `trainer`, or the vLLM `server` that the rollouts come from "
        "(token level, live teacher, temperature 1). Default: ours.",
        SCORED_BY,
    )
    success_threshold: float = _option(
        1.0, "A rollout whose weighted reward reaches this may serve others as the solution. Default: ours."
    )
    feedback_when: str = _option(
        "without_solution",
        "When the teacher sees the environment's feedback: `without_solution`, `always` or `never`. Default: as SDPO.",
        FEEDBACK_WHEN,
    )
    strip_solution_thinking: bool = _option(True, "Drop <think> blocks from sibling solutions. Default: as SDPO.")
    max_teacher_prompt_length: int = _option(
        10240, "Longest teacher prompt in tokens; z is cut in the middle to fit. Default: as SDPO."
    )
    chunk_tokens: int = _option(
        0,
        "Tokens projected to the vocabulary at once; bounds memory, changes nothing else. 0 takes as many as hold "
        "2**24 logits (64 MiB). Default: ours.",
    )
    share_prefixes: bool = _option(
        True,
        "Student and teachers read a batch as a tree: common beginnings of prompts, views and answers once, nothing "
        "padded. Changes cost, not numbers. A model that cannot be read so is named, and its rows padded. Default: "
        "ours.",
    )
    credit_log_steps: int = _option(
        10,
        "Write token credit of a few rollouts to credit/*.parquet every n steps; 0 is never. Default: ours.",
    )
    credit_log_rollouts: int = _option(16, "Rollouts per such file. Default: ours.")
    credit_log_watched: int = _option(
        4, "Rollouts of the first such file that all later ones score again, same z and x'; 0 is none. Default: ours."
    )
    credit_log_alternatives: int = _option(
        5, "Likeliest tokens of student and target described at each place of such a file; 0 is none. Default: ours."
    )
    rlsd_weight: float = _option(0.5, "rlsd: m, how much the teacher decides at first. Default: its paper.")
    rlsd_decay_steps: int = _option(50, "rlsd: optimiser steps until m is 0. Default: its paper.")
    rlsd_clip: float = _option(0.2, "rlsd: e, how far a token may leave the group advantage. Default: its paper.")
    rlcsd_scale: float = _option(1.0, "rlcsd: beta. Default: its paper.")
    rlcsd_weight: float = _option(0.5, "rlcsd: m. Default: its paper.")
    rlcsd_temperature: float = _option(0.02, "rlcsd: tau, nats of evidence that count as much. Default: its paper.")
    antisd_gate: float = _option(
        0.01, "antisd: tokens whose teacher has less entropy than this, in nats, are left alone; 0 is no gate. "
        "Default: ours."
    )  # fmt: skip
    srpo_beta: float = _option(1.0, "srpo: how fast an unsure teacher loses weight. Default: its paper.")
    demonstration_column: str | None = _option(
        None, "opsd, sdft: column of the data that holds a right solution, which the teacher is shown. Default: ours "
        "(none: it must be named)."
    )  # fmt: skip
    vllm_server_timeout: float = _option(
        10.0,
        "use_vllm with a server: seconds to wait for it to be up. Default: ours (TRL waits 240 for one that nobody "
        "may have started).",
    )
    idle_warning_steps: int = _option(
        5, "Warn after this many generation batches without any teacher, negative or feedback. Default: ours."
    )
    gradient_accumulation_steps: int = _option(
        4, "Micro-batches per optimiser step. Default: ours; with TRL's 1 (and its 8 rollouts of 8) a batch would hold "
        "a single prompt, and nothing to contrast it with."
    )  # fmt: skip

    hub_strategy: str = _option(
        "end", "With push_to_hub: `end` sends the final model with its card. Those of transformers (every_save is its "
        "default) would send the run's folder, completions and all, and are refused. Default: ours."
    )  # fmt: skip

    @classmethod
    def from_preset(cls, preset: str, **options: Any) -> CreditConfig:
        """Start from one of `PRESETS`; `options` win."""
        return cls(**{**preset_fields(preset), **options})

    @property
    def effective_lam(self) -> float:
        """Lambda as used: 0 for methods that contrast no inputs, so that no negative is drawn or scored."""
        return self.lam if self.rule.contrast == "inputs" else 0.0

    @property
    def drawn_negatives(self) -> int:
        """Negatives each rollout is scored under: unrelated inputs, or wrong answers; 0 where nothing is contrasted."""
        return self.num_negatives if self.effective_lam > 0 or self.rule.contrast == "answers" else 0

    @property
    def rule(self) -> Method:
        """The method."""
        return get_method(self.method)

    @property
    def uses_teacher(self) -> bool:
        """Whether rollouts are scored by a self-teacher."""
        return self.rule.needs_teacher

    @property
    def policy_gradient(self) -> bool:
        """Whether a vocabulary-level loss is trained together with TRL's: GRPO, KL to a reference, or entropy."""
        beside = self.blend == "loss" or self.rule.routes is not None
        return beside or self.beta != 0 or self.entropy_coef != 0 or self.use_adaptive_entropy

    @property
    def saves(self) -> str:
        """When checkpoints are saved: TRL's `save_strategy` as a word."""
        return str(getattr(self.save_strategy, "value", self.save_strategy))

    @property
    def steps_per_buffer(self) -> float:
        """Optimiser steps taken on one generation batch; below 1 when several batches make one step."""
        assert self.steps_per_generation is not None
        return self.steps_per_generation * self.num_iterations / self.gradient_accumulation_steps

    @property
    def sparse_head(self) -> bool:
        """Whether the loss projects with gradient at K tokens only (`credit.sparse`)."""
        sparse = self.level == "vocabulary" and self.uses_teacher and self.loss_options().sparse
        return sparse and not (self.policy_gradient or self.rule.needs_entropy)

    def loss_options(self) -> LossOptions:
        """Return the fields that turn a target into a loss."""
        return LossOptions(
            divergence=self.divergence,
            jsd_alpha=self.jsd_alpha,
            jsd_lambda=self.jsd_lambda,
            support_size=self.support_size or None,
            tail=self.tail,
            contrast_floor=self.contrast_floor,
            chunk_tokens=self.chunk_tokens,
            generic_mean=self.generic_mean,
        )

    def __post_init__(self):
        check_values(vars(self))
        if not torch.accelerator.is_available() and self.bf16 is None and not self.fp16:
            # TRL asks for bfloat16 unless told otherwise, and then refuses a machine without accelerator.
            self.bf16, self.use_cpu = False, True
        super().__post_init__()
        self._refuse_idle_combinations()
        if self.teacher_scored_by == "server":
            refuse_unknown_to_a_server(self)
        if self.uses_teacher:
            self._refuse_changed_meanings()
        self._refuse_unresumable_saves()
        if self.push_to_hub and self.hub_strategy != HubStrategy.END:
            raise ValueError(
                f"hub_strategy={HubStrategy(self.hub_strategy).value!r} would send the run's folder at every save: "
                "completions and grades, and a checkpoint before its teacher is written. Use hub_strategy='end'."
            )
        if self.n_gpu > 1:
            raise ValueError(
                f"this process sees {self.n_gpu} GPUs, and would wrap the model in DataParallel, which hands every "
                "method a part of the batch. Set CUDA_VISIBLE_DEVICES=0, or start one process per GPU."
            )

    def _refuse_idle_combinations(self) -> None:
        assert self.generation_batch_size is not None
        assert self.num_generations is not None
        groups = self.generation_batch_size // self.num_generations
        if self.effective_lam > 0 and groups < self.num_negatives + 1:
            raise ValueError(
                f"num_negatives={self.num_negatives} needs at least {self.num_negatives + 1} different prompts in a "
                f"generation batch, but it holds {groups} (generation_batch_size={self.generation_batch_size} / "
                f"num_generations={self.num_generations}). Raise per_device_train_batch_size or "
                "gradient_accumulation_steps, lower num_generations or num_negatives, or set lam=0."
            )
        self._refuse_idle_options()
        if self.generic_mean != "logs" and self.num_negatives == 1:
            raise ValueError(
                f"generic_mean={self.generic_mean!r} changes nothing with one unrelated input. Raise num_negatives, or "
                "drop it."
            )
        if self.blend == "loss" and self.level != "vocabulary":
            raise ValueError("blend='loss' adds a vocabulary-level loss. Set level='vocabulary' or blend='advantage'.")
        if self.blend == "advantage" and self.level != "token":
            raise ValueError("blend='advantage' mixes token advantages. Set level='token' or blend='loss'.")
        if self.blend == "advantage" and self.blend_weight > 1:
            raise ValueError(f"blend_weight={self.blend_weight} with blend='advantage' must lie in [0, 1].")
        if self.blend != "none" and not self.uses_teacher:
            raise ValueError(f"method={self.method!r} has no teacher, so there is nothing to blend. Set blend='none'.")
        if self.token_credit == "to_go" and self.baseline == "expected":
            raise ValueError(
                "baseline='expected' centres every step, and the sum of centred steps collapses to the immediate "
                "gradient. With token_credit='to_go' use baseline='batch_mean' or 'none'."
            )
        if self.level == "token" and (self.divergence != "reverse_kl" or self.importance_cap):
            raise ValueError(
                "level='token' compares sampled tokens only: a divergence or importance_cap would be idle. Set "
                "divergence='reverse_kl' and importance_cap=0, or level='vocabulary'."
            )
        if self.level == "vocabulary" and (self.token_credit, self.gamma, self.baseline) != _TOKEN_DEFAULTS:
            raise ValueError("token_credit, gamma and baseline are idle at level='vocabulary'. Set level='token'.")
        if self.jsd_lambda != "target" and self.divergence != "jsd":
            raise ValueError(f"jsd_lambda={self.jsd_lambda!r} is idle with divergence={self.divergence!r}. Use 'jsd'.")
        if self.jsd_lambda == "kernel" and self.jsd_alpha in (0, 1):
            raise ValueError("jsd_lambda='kernel' has no gradient at jsd_alpha 0 or 1. Use a value between them.")
        if self.form == "feedback_contrast" and self.method == "credit" and self.feedback_when == "never":
            raise ValueError(
                "form='feedback_contrast' with feedback_when='never' would contrast solutions only. "
                "Use form='guided', or let feedback reach the teacher."
            )

    def _refuse_idle_options(self) -> None:
        """Refuse options that belong to another method, and settings that the method itself replaces."""
        rule, defaults = self.rule, {f.name: f.default for f in fields(self)}
        for name in SPECIFIC - set(rule.reads):
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} changes nothing with method={self.method!r}, which does not read "
                    "it. Drop it."
                )
        if rule.demonstrations and self.demonstration_column is None:
            raise ValueError(
                f"method={self.method!r} shows the teacher a right solution of the data. Set demonstration_column to "
                "the column that holds it."
            )
        if rule.advantage is not None and self.level != "token":
            raise ValueError(f"method={self.method!r} gives advantages to sampled tokens. Set level='token'.")
        if (rule.weight or rule.routes) and self.level != "vocabulary":
            raise ValueError(f"method={self.method!r} weighs divergences. Set level='vocabulary'.")
        if rule.uses_group and rule.needs_teacher and self.blend != "none":
            raise ValueError(f"method={self.method!r} holds the group advantage already. Set blend='none'.")
        if rule.advantage is not None and (self.token_credit, self.gamma, self.baseline) != _TOKEN_DEFAULTS:
            raise ValueError(
                f"token_credit, gamma and baseline are idle: method={self.method!r} has a rule of its own."
            )
        if rule.contrast == "answers" and self.feedback_when != "never":
            raise ValueError(
                f"method={self.method!r} contrasts right and wrong answers; feedback is neither. Set "
                "feedback_when='never'."
            )
        if rule.contrast == "answers" and self.num_negatives > (self.num_generations or 0) - 1:
            raise ValueError(
                f"num_negatives={self.num_negatives} wrong answers of the same prompt cannot be had from "
                f"num_generations={self.num_generations}. Lower it, or raise num_generations."
            )

    def _refuse_changed_meanings(self) -> None:
        """Refuse TRL options that would silently do nothing, or something else, beside credit."""
        pure = self.blend == "none" and not self.rule.uses_group
        rules = [
            (
                pure and self.scale_rewards != "group",
                f"scale_rewards={self.scale_rewards!r} scales GRPO's advantages, which method={self.method!r} "
                "replaces. Remove it, or blend with GRPO (blend='loss' or 'advantage').",
            ),
            (
                self.top_entropy_quantile < 1.0,
                "top_entropy_quantile < 1 would mask GRPO's term but not credit's. Remove it.",
            ),
            (
                self.level == "token" and self.loss_type not in ("grpo", "bnpo", "dr_grpo", "dapo"),
                f"loss_type={self.loss_type!r} does not treat (B, T) advantages as token credit. "
                "Use one of grpo, bnpo, dr_grpo, dapo.",
            ),
            (
                self.level == "token" and self.importance_sampling_level != "token",
                "importance_sampling_level='sequence' would weigh token credit by whole answers. Use 'token'.",
            ),
            (
                self.loss_type == "cispo" and self.epsilon_high is None,
                "loss_type='cispo' with the default epsilon clamps ratios to 0.2. Set epsilon_high, for example 5.",
            ),
            (
                self.off_policy_mask_threshold is not None and (pure or self.level == "token"),
                "off_policy_mask_threshold looks at the sign of GRPO's advantage, not at what is trained. Remove it.",
            ),
            (
                self.use_liger_kernel,
                "use_liger_kernel replaces the forward pass that credit extends. Remove it.",
            ),
        ]
        for broken, reason in rules:
            if broken:
                raise ValueError(reason)

    def _refuse_unresumable_saves(self) -> None:
        buffer = self.steps_per_buffer
        if not buffer.is_integer() and not (1 / buffer).is_integer():
            raise ValueError(
                f"a generation batch would last {buffer:g} optimiser steps (steps_per_generation * num_iterations / "
                "gradient_accumulation_steps): the teacher would move inside it. Make one a multiple of the other."
            )
        if self.saves == "no":
            return
        if self.save_only_model or self.ignore_data_skip:
            raise ValueError(
                "save_only_model and ignore_data_skip make a resumed run another run. Remove them, or set "
                "save_strategy='no'."
            )
        if self.enable_jit_checkpoint:
            raise ValueError(
                "enable_jit_checkpoint saves inside a generation batch, each process at a moment of its own; such a "
                "checkpoint resumes to another run. Remove it: credit train stops in order at SIGTERM by itself, and "
                "in a script `credit.faults.preemption.StopsInOrder` does."
            )
        if self.save_total_limit == 1:
            raise ValueError(
                "save_total_limit=1 deletes the last good checkpoint before the next one is complete; a kill between "
                "the two loses the run. Use save_total_limit=2 or more."
            )
        if buffer <= 1:
            return
        if self.saves != "steps" or self.save_steps < 1 or self.save_steps % buffer:
            raise ValueError(
                f"save_steps={self.save_steps} ({self.saves}) can fall inside a generation batch of "
                f"{buffer:g} optimiser steps; resuming there would draw other rollouts. Use save_strategy='steps' and "
                f"a multiple of {buffer:g}."
            )


SPECIFIC = frozenset(name for method in METHODS.values() for name in method.reads)
"""Options that only some methods read."""
_TOKEN_DEFAULTS = ("immediate", 1.0, "expected")
