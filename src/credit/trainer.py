"""`CreditTrainer(GRPOTrainer)`: hooks only. Rollouts, rewards, logging, checkpoints and engines are TRL's.

What one generation batch goes through, on top of TRL:
rewards (+ feedback) -> z and x' for each rollout (`views`) -> teacher views scored once, without gradient (`scoring`)
-> hidden states travel with the completions -> the loss projects them, token chunk by token chunk (`kernel`).

Deviations from the paper, as far as it is known second-hand:
* x' is drawn by cyclic shifts over the unique prompts of the generation batch (the paper's rule is unknown);
* G is clamped from below at `contrast_floor`; the clamped share is logged;
* how lambda enters the JSD, whose support is used, and what happens to the tail are options with defaults of ours;
* the loss is the mean over those response tokens of the generation batch that have a teacher;
* the EMA teacher moves once per generation batch;
* student and teachers share the sampling temperature;
* what tools answer is part of every view, and earns nothing (`docs/multiturn.md`).

Evaluation inside the trainer (`eval_strategy`) draws no teacher: `eval_loss` is GRPO's, read `eval_reward` instead.
The `advantage` column of TRL's completion table stays the group advantage; token credit is in `credit/`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object, is_peft_model
from torch import Tensor

from credit import _trl
from credit.config import CreditConfig
from credit.context import DEFAULT_TEMPLATE, TeacherTemplate, strip_thinking, transcript
from credit.feedback import AsyncFeedbackReward, FeedbackReward, Graded, environment_feedback, merge_feedback
from credit.health import COUNTED, IdleWatch, by_teacher, counts
from credit.kernel import Views, corrected, token_logps, vocabulary_loss
from credit.methods import get_method
from credit.passes import read_rollouts, response_hidden
from credit.phases import StepClock
from credit.scoring import Head, head_of
from credit.server import TOLD, Scorer, vllm_explained
from credit.shards import parameters, release
from credit.startup import refuse_data
from credit.teacher import Teacher
from credit.token_level import score_tokens
from credit.trainer_callbacks import SecondsOfStep, TeacherFollows
from credit.trainer_checkpoints import KeepsCheckpoints
from credit.trainer_passes import ReadsTrees
from credit.trainer_sharing import SharesModel
from credit.views import Batch, Plan, Planner

logger = get_logger(__name__)


class CreditTrainer(SharesModel, ReadsTrees, KeepsCheckpoints):
    """GRPOTrainer with token credit from a self-teacher. Same arguments, plus `teacher_template`.

    Reward functions may return `(score, feedback)` per completion; environments may carry a `feedback` attribute.

    Raises:
        ValueError: a setting that would silently change meaning or do nothing; the text says what to change.
    """

    _tag_names = ("trl", "credit")
    _name = "CREDIT"

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: CreditConfig | None = None,
        *positional: Any,
        teacher_template: TeacherTemplate = DEFAULT_TEMPLATE,
        **kwargs: Any,
    ):
        _trl.check_version()
        args = CreditConfig("credit-run") if args is None else args
        if not isinstance(args, CreditConfig):
            raise TypeError(
                f"args is a {type(args).__name__}; CreditTrainer needs a CreditConfig (it takes the same options)."
            )
        self.method = get_method(args.method)
        self._sources: list[FeedbackReward] = []
        with vllm_explained(args, model):
            super().__init__(model, self._listen(reward_funcs), args, *positional, **kwargs)
        self.args: CreditConfig
        self._graded: Graded | None = None
        self._scored: dict[str, Tensor] = {}
        self._scoring_inputs: dict[str, Any] | None = None  # set while TRL's loss asks for log-probabilities
        self._draws = (-1, 0)
        self.idle_warnings: list[str] = []
        self._watch = IdleWatch(args.idle_warning_steps, self._warn, self.method.contrast)
        self._clock = StepClock("rollouts", "grading", "teachers")
        self.add_callback(SecondsOfStep(self._clock, lambda name, s: self._metrics["train"][name].append(s)))
        self.teacher: Teacher | None = None
        self._teacher_head: Head | None = None
        refuse_data(args, self.train_dataset, self.environment_factories is not None)
        self._scorer: Scorer | None = None
        self._prepare_model()
        if not self.method.needs_teacher:
            return
        self._scorer = Scorer(self) if args.teacher_scored_by == "server" else None
        model = self.accelerator.unwrap_model(self.model)
        adapter = model if is_peft_model(model) else None
        worn, free = self.is_fsdp_enabled or self.is_deepspeed_enabled, lambda: release(self.model_wrapped)
        self.teacher = Teacher(self._student, args.teacher, args.ema_rate, adapter, worn, free)
        self.add_callback(TeacherFollows(self.teacher, args.steps_per_buffer))
        self._planner = Planner(
            tokenize=self._tokenize_views,
            tokenizer=self._text,
            template=teacher_template,
            feedback_when=args.feedback_when,
            num_negatives=args.drawn_negatives,
            without_feedback=args.form == "feedback_contrast",
            contrast=self.method.contrast,
            same_family=args.negatives_from == "same_family",
        )

    # -- start-up

    def _listen(self, reward_funcs: Any) -> Any:
        """Wrap reward functions so that what they say is heard; reward models pass through."""
        if reward_funcs is None:
            return None
        listening = []
        for function in reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]:
            if isinstance(function, str | torch.nn.Module):
                listening.append(function)
                continue
            wrapper = AsyncFeedbackReward if _trl.is_async_callable(function) else FeedbackReward
            listening.append(wrapper(function, _trl.get_callable_name(function)))
            self._sources.append(listening[-1])
        return listening

    # TRL and transformers declare these as optional; in a running trainer they are not.
    @property
    def group_size(self) -> int:
        """Rollouts per prompt (TRL's `num_generations`)."""
        assert self.num_generations is not None
        return self.num_generations

    @property
    def _text(self) -> Any:
        return self._tokenizer

    @property
    def _folder(self) -> Path:
        return Path(str(self.args.output_dir))

    @property
    def _student(self) -> Any:
        model: Any = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if is_peft_model(model) else model

    # -- rollouts: z, x' and what the teachers think

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        with self._clock("grading"):
            rewards_per_func = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.method.needs_teacher:
            scores = (rewards_per_func * self.reward_weights.to(rewards_per_func.device)).nansum(dim=1)
            scores[rewards_per_func.isnan().all(dim=1)] = -torch.inf  # unscorable is never a success
            said = [source.feedback for source in self._sources]
            if self.environments:
                said.append([environment_feedback(e) for e in self.environments])
            families = [None if row.get("family") is None else str(row["family"]) for row in inputs]
            feedback = merge_feedback(said, len(prompts))
            shown = [row.get(self.args.demonstration_column) or None for row in inputs]
            self._graded = Graded(prompts, completions, feedback, families, shown, scores.tolist())
        return rewards_per_func

    def _generate_and_score_completions(self, inputs):
        with self._clock("rollouts"):
            output = super()._generate_and_score_completions(inputs)
        if self.method.needs_teacher and self._student.training:
            with self._clock("teachers"):
                self._add_teachers(output)
        return output

    def _add_teachers(self, output: dict[str, Any]) -> None:
        """Score the teachers' views and add batch-first tensors that TRL shuffles and splits with the completions."""
        args, graded, teacher = self.args, self._graded, self.teacher
        assert graded is not None
        assert teacher is not None
        batch = self._gather(graded)
        first = self.accelerator.process_index * len(graded.prompts)
        rows = range(first, first + len(graded.prompts))
        contexts = self._demonstrated(graded) if self.method.demonstrations else None
        plan = self._planner.plan(batch, rows, self._prompt_limit(output), self._next_seed(), contexts)

        self._add_views(output, plan)
        output["distilled"] = output["has_teacher"]
        if self.method.routes is not None:
            succeeded = torch.tensor([batch.succeeded[row] for row in rows], device=output["has_teacher"].device)
            output["distilled"] = ~self.method.routes(succeeded, output["has_teacher"])
        active = self._response_mask(output) & output["has_teacher"].unsqueeze(1)
        everywhere: Any = self.accelerator.gather((active & output["distilled"].unsqueeze(1)).sum())
        output["num_credit_tokens"] = everywhere.sum()
        self._teacher_head = teacher.head(self._head, moves=args.steps_per_buffer > 1)
        shares = self._shares(plan, batch)
        group_B1 = output["advantages"].unsqueeze(1)
        written = bool(args.credit_log_steps) and self.state.global_step % args.credit_log_steps == 0
        if args.level == "token" or written:
            score_tokens(self, output, plan, batch, rows, active, written)
        heard_BT = by_teacher(self.method, group_B1, output, active)
        if heard_BT is not None:
            shares["by_teacher"] = self._log_mean("credit/by_teacher", heard_BT.float(), self._response_mask(output))
        self._watch.look(shares, batch, args.feedback_when != "never")

    def _demonstrated(self, graded: Graded) -> list[tuple[str | None, str | None]]:
        """Return z from the data: a right solution, and feedback if that is wanted beside one."""
        beside = self.args.feedback_when == "always"
        pairs = zip(graded.demonstrations, graded.feedback, strict=True)
        return [(shown, (said or None) if beside else None) for shown, said in pairs]

    def _add_views(self, output: dict[str, Any], plan: Plan) -> None:
        """Score what the teachers read: hidden states at the response, (B, T, D), and (B, C, T, D) under each x'."""
        device = output["completion_ids"].device
        taught_B = torch.tensor([any(z) for z in plan.contexts], device=device)
        output["has_teacher"] = taught_B
        wanted, others = [taught_B], len(plan.contrast)
        if plan.negatives is not None:
            output["contrast_available"] = (plan.negatives >= 0).to(device)
            wanted += list((output["contrast_available"] & taught_B.unsqueeze(1)).T)
            wanted += wanted[1 : 1 + len(plan.nofeedback)]
        hidden_WBTD = self._taught([plan.own, *plan.contrast, *plan.nofeedback], output, torch.stack(wanted))
        output["teacher_hidden"] = hidden_WBTD[0]
        if plan.negatives is not None:
            output["contrast_hidden"] = hidden_WBTD[1 : 1 + others].transpose(0, 1)
        if plan.nofeedback:
            output["nofeedback_hidden"] = hidden_WBTD[1 + others :].transpose(0, 1)

    def _gather(self, graded: Graded) -> Batch:
        texts = [transcript(c) for c in graded.completions]
        if self.args.strip_solution_thinking:
            texts = [strip_thinking(text) for text in texts]
        return Batch(
            prompts=gather_object(list(graded.prompts)),
            texts=gather_object(texts),
            feedback=gather_object(graded.feedback),
            succeeded=[score >= self.args.success_threshold for score in graded.all_scores],
            groups=[row // self.group_size for row in range(len(graded.all_scores))],
            families=gather_object(list(graded.families)),
        )

    def _tokenize_views(self, prompts: list[Any]) -> list[list[int]]:
        """Tokenize with the student's chat template, tools and options."""
        if self.environment_factories is None:
            return self._tokenize_prompts(prompts)[0]
        # With environments TRL pairs prompts with this batch's tool schemas by position: feed it whole batches.
        size, ids = len(self._batch_environments), []
        for start in range(0, len(prompts), size):
            block = prompts[start : start + size]
            ids += self._tokenize_prompts(block + block[-1:] * (size - len(block)))[0][: len(block)]
        return ids

    def _prompt_limit(self, output: dict[str, Any]) -> int:
        positions = getattr(self._student.config.get_text_config(), "max_position_embeddings", None)
        longest = self.args.max_teacher_prompt_length
        return longest if positions is None else min(longest, positions - output["completion_ids"].shape[1])

    def _next_seed(self) -> int:
        """Seed of this generation batch, without saved state: a resumed run draws what it would have drawn."""
        step, draw = self._draws
        self._draws = (self.state.global_step, draw + 1 if step == self.state.global_step else 0)
        return (self.args.seed * 1_000_003 + self.state.global_step) * 1_009 + self._draws[1]

    def _hidden(self, model: Any, views: list[list[list[int]]], output: dict[str, Any], wanted_WB: Tensor) -> Tensor:
        if self._scorer is not None:  # its weights are the student's, and so the live teacher's
            return self._scorer.logps(views, output["completion_ids"], output["completion_mask"], wanted_WB)
        return response_hidden(
            model,
            views,
            output["completion_ids"],
            output["completion_mask"],
            self.args.per_device_train_batch_size,
            wanted_WB,
            self._as_trees,
            lambda: self.accelerator.autocast(),
            self._most_of_ranks,
            self._waiting,
        )

    @property
    def _waiting(self) -> torch.dtype | None:
        """Type in which hidden states wait for the loss: the one that products under autocast read them in."""
        half = self.accelerator.mixed_precision == "bf16" and not self.args.cast_lm_head_to_fp32
        return torch.bfloat16 if half else None

    def _most_of_ranks(self, count: int) -> int:
        counts: Any = self.accelerator.gather(torch.tensor([count], device=self.accelerator.device))
        return int(counts.max())

    def _taught(self, views: list[list[list[int]]], output: dict[str, Any], wanted_WB: Tensor) -> Tensor:
        """Return what the teacher's head reads, (W, B, T, D); zero for rows of `wanted_WB` that are not asked for."""
        assert self.teacher is not None
        return self.teacher.hidden(self.model, lambda model: self._hidden(model, views, output, wanted_WB))

    def _head(self, model: Any) -> Head:
        return head_of(model, self.temperature, self.args.cast_lm_head_to_fp32) if self._scorer is None else TOLD

    def _student_head(self) -> Head:
        """Return the student's head outside a forward pass: whole, without gradient."""
        parameters(self._student)
        return self._head(self._student).frozen(copy=False)

    def _target(self, logp_teacher, generic, generic0, lam):
        assert self.method.target is not None
        return self.method.target(logp_teacher, generic, generic0, lam, self.args.form)

    @staticmethod
    def _response_mask(inputs: dict[str, Any]) -> Tensor:
        mask = inputs["completion_mask"]
        return (mask * inputs["tool_mask"] if "tool_mask" in inputs else mask).bool()

    def _views(self, inputs: dict[str, Any], where: Tensor) -> Views:
        def tokens(name: str) -> Tensor | None:
            return inputs[name].transpose(1, 2)[where] if name in inputs else None

        available = inputs.get("contrast_available")
        return Views(
            teacher_ND=inputs["teacher_hidden"][where],
            contrast_NCD=tokens("contrast_hidden"),
            available_NC=None if available is None else available.unsqueeze(1).expand(*where.shape, -1)[where],
            nofeedback_NCD=tokens("nofeedback_hidden"),
            lam=self.args.effective_lam,
        )

    # -- loss

    def _compute_loss(self, model, inputs):
        if "teacher_hidden" not in inputs:  # evaluation, methods without a teacher, token level
            return super()._compute_loss(model, inputs)
        args = self.args
        # TRL's loss is always computed: with zero advantages it is zero, and still carries KL, entropy and metrics.
        advantages = inputs["advantages"] if args.blend == "loss" else torch.zeros_like(inputs["advantages"])
        if self.method.routes is not None:
            advantages = inputs["advantages"].masked_fill(inputs["distilled"], 0.0)
        self._scoring_inputs = inputs
        try:
            policy_loss = super()._compute_loss(model, {**inputs, "advantages": advantages})
            scored = self._scored
        finally:
            self._scoring_inputs, self._scored = None, {}
        active = self._response_mask(inputs) & inputs["distilled"].unsqueeze(1)
        loss_BT = scored["loss"]
        if self.method.weight is not None:
            loss_BT = loss_BT * self.method.weight(scored["teacher_entropy"], args)
        old, sampled = inputs.get("old_per_token_logps"), inputs.get("importance_sampling_ratio")
        loss_BT = corrected(loss_BT, scored["logp"], old, args.importance_cap, sampled)
        # The mean over the whole generation batch, whatever the micro-batches: as TRL normalises `dapo`.
        tokens = inputs["num_credit_tokens"].clamp(min=1) / self.accelerator.num_processes
        tokens = tokens * self.current_gradient_accumulation_steps / args.steps_per_generation
        for name in ("loss", "support_mass", "clamped"):
            self._log_mean(f"credit/{name}", scored[name].detach(), active)
        self.parts |= {"log-probabilities": scored["logp"].detach(), "policy loss": policy_loss.detach()}
        self.parts["credit loss"] = (loss_BT * active).detach()
        weight = args.blend_weight if args.blend == "loss" else 1.0
        return policy_loss + weight * (loss_BT * active).sum() / tokens

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        inputs = self._scoring_inputs
        if inputs is None:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        where = self._response_mask(inputs)
        taught = where & inputs["distilled"].unsqueeze(1)
        other, ids, views = where & ~taught, inputs["completion_ids"], self._views(inputs, taught)
        teacher_head, options = self._teacher_head, self.args.loss_options()
        assert teacher_head is not None

        def lose(at: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
            head = self._head(self._student)
            scores = vocabulary_loss(
                at(taught), ids[taught], head, views, teacher_head, self._target, options,
                self.method.needs_entropy, self.args.policy_gradient,
            )  # fmt: skip
            found = {n: s.new_zeros(where.shape).masked_scatter(taught, s) for n, s in scores.items()}
            # Tokens without a teacher still have a policy loss, and count in TRL's entropy.
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.args.policy_gradient):
                rest = token_logps(at(other), ids[other], head, options.chunk_tokens)
            return found | {n: found[n].masked_scatter(other, s) for n, s in rest.items()}

        with self.accelerator.autocast():
            self._scored = read_rollouts(model, input_ids, attention_mask, logits_to_keep, self._as_trees, lose)
        logp, old = self._scored["logp"], inputs.get("old_per_token_logps")
        # Tool tokens are not scored: a ratio of 1 there, or their overflow would meet the mask as inf * 0.
        return logp if old is None else torch.where(where, logp, old), self._scored["entropy"], None

    # -- metrics

    def _global_ratio(self, part: Tensor, whole: Tensor) -> Tensor:
        totals: Any = self.accelerator.reduce(torch.stack([part, whole.to(part.dtype)]), reduction="sum")
        return totals[0] / totals[1]

    def _global_mean(self, values: Tensor, where: Tensor) -> Tensor:
        return self._global_ratio(values[where].sum(), where.sum())

    def _log_mean(self, name: str, values: Tensor, where: Tensor) -> float:
        """Mean over `where` on all ranks; NaN, which TRL leaves out of its averages, when there is nothing."""
        self._metrics["train"][name].append(self._global_mean(values, where).item())
        return self._metrics["train"][name][-1]

    def _shares(self, plan: Plan, batch: Batch) -> dict[str, float]:
        """Log and return the shares of rollouts that lack something."""
        total: Any = self.accelerator.reduce(counts(plan).to(self.accelerator.device), reduction="sum")
        shares: dict[str, float] = dict(zip(COUNTED, (total / len(batch.prompts)).tolist(), strict=True))
        if plan.negatives is None:
            del shares["no_negative"]
        shares["success"] = sum(batch.succeeded) / len(batch.prompts)
        for name, share in shares.items():
            self._metrics["train"][f"credit/{name}"].append(share)
        return shares

    def anywhere(self, here: bool) -> bool:
        """Return whether something is so on any rank; all of them ask together."""
        return self._most_of_ranks(int(here)) > 0

    def _warn(self, text: str) -> None:
        logger.warning(text)
        self.idle_warnings.append(f"Step {self.state.global_step}: {text}")
