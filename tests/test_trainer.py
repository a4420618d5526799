"""The trainer against brute force, and the invariants every number rests on."""

import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from credit import CreditTrainer, _trl
from credit.rewards import FORMS
from credit.teacher import Teacher
from local_models import fit, history, make_config, make_dataset, make_model, make_tokenizer, make_trainer, reward

FAMILIES = ["qwen3", "olmo3"]


def first_batch(trainer):
    """One generation batch, scored, as `_compute_loss` gets it."""
    torch.manual_seed(1)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    rows = [trainer.train_dataset[i // trainer.num_generations] for i in range(trainer.args.generation_batch_size)]
    return trainer._prepare_inputs(rows)


def brute_force_logps(model, prompt_ids, completion_ids):
    """Log-probabilities (T, V) of one response after one prompt, from full logits, without any padding."""
    ids = torch.tensor([[*prompt_ids, *completion_ids]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0].double()
    return logits[len(prompt_ids) - 1 : -1].log_softmax(-1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", FORMS)
def test_loss_equals_brute_force_on_full_logits(tmp_path, family, form):
    size, lam = 7, 0.6
    trainer = make_trainer(tmp_path, family, form=form, lam=lam, num_negatives=2, support_size=size)
    plans = record_plans(trainer)
    trainer.teacher.model.load_state_dict(make_model(family, initializer_range=0.2).state_dict())
    shuffled = first_batch(trainer)
    loss = trainer._compute_loss(trainer.model, shuffled)

    plan, completions = plans[0]
    teacher, total, tokens = trainer.teacher.model, 0.0, 0
    for i, completion in enumerate(completions):
        if not any(plan.contexts[i]):
            continue
        student = brute_force_logps(trainer.model, plan.student[i], completion)
        p_teacher = brute_force_logps(teacher, plan.own[i], completion)
        held = torch.stack([brute_force_logps(teacher, plan.contrast[c][i], completion) for c in range(2)])
        index = student.topk(size, dim=-1).indices
        p = student.gather(-1, index).log_softmax(-1)
        q = p_teacher.gather(-1, index).log_softmax(-1)
        generic = torch.stack([h.gather(-1, index).log_softmax(-1) for h in held]).mean(0)
        if form == "paper":
            raw = q - lam * generic
        elif form == "guided":
            raw = q + lam * (q - generic)
        else:
            bare = torch.stack([brute_force_logps(teacher, plan.nofeedback[c][i], completion) for c in range(2)])
            raw = q - lam * (generic - torch.stack([b.gather(-1, index).log_softmax(-1) for b in bare]).mean(0))
        target = raw.log_softmax(-1)
        total += (p.exp() * (p - target)).sum().item()
        tokens += len(completion)
    assert tokens > 50
    assert loss.item() == pytest.approx(total / tokens, rel=1e-5)


def record_plans(trainer):
    """Keep every plan with the student's own prompt ids and the unpadded completions."""
    plans = []
    add = trainer._add_teachers

    def recording(output):
        planner_plan = trainer._planner.plan
        trainer._planner = _Spy(trainer._planner, seen := [])
        add(output)
        trainer._planner = trainer._planner.planner
        (plan,) = seen
        plan.student = [i[m.bool()].tolist() for i, m in zip(output["prompt_ids"], output["prompt_mask"], strict=True)]
        completions = [
            i[m.bool()].tolist() for i, m in zip(output["completion_ids"], output["completion_mask"], strict=True)
        ]
        plans.append((plan, completions))
        assert planner_plan is not None

    trainer._add_teachers = recording
    return plans


class _Spy:
    def __init__(self, planner, seen):
        self.planner, self.seen = planner, seen

    def plan(self, *args):
        self.seen.append(self.planner.plan(*args))
        return self.seen[-1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", ["vocabulary", "token"])
def test_lambda_zero_is_plain_self_distillation_bit_for_bit(tmp_path, family, level):
    plain = make_trainer(tmp_path, family, method="sdpo", level=level)
    zero = make_trainer(tmp_path, family, method="credit", lam=0.0, form="guided", level=level)
    fit(plain, zero)
    assert history(plain) == history(zero)
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), zero.model.parameters(), strict=True))


@pytest.mark.parametrize("divergence", ["reverse_kl", "jsd"])
def test_tiny_lambda_is_continuous(tmp_path, divergence):
    zero, tiny = (make_trainer(tmp_path, lam=lam, divergence=divergence) for lam in (0.0, 1e-6))
    losses = [t._compute_loss(t.model, first_batch(t)).item() for t in (zero, tiny)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    "options",
    [
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
        {"pad_to_multiple_of": 16},
        {"chunk_tokens": 3},
        {"gradient_checkpointing": True},
    ],
    ids=lambda o: next(iter(o)),
)
@pytest.mark.parametrize("level", [{}, {"level": "token"}, {"blend": "loss", "divergence": "jsd", "tail": "exact"}])
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_updates_do_not_depend_on_batching_padding_or_chunks(tmp_path, options, level):
    plain = make_trainer(tmp_path, learning_rate=1e-3, **level)
    other = make_trainer(tmp_path, learning_rate=1e-3, **{**level, **options})
    fit(plain, other)
    for a, b in zip(plain.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)


def test_adam_would_hide_a_wrong_scale_so_gradients_are_compared_too(tmp_path):
    norms = []
    for options in ({}, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}):
        trainer = make_trainer(tmp_path, max_steps=1, blend="loss", **options)
        fit(trainer)
        norms.append(history(trainer)[0]["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_the_batch_target_stays_frozen_over_several_optimiser_steps(tmp_path):
    for kind in ("live", "ema"):
        trainer = make_trainer(tmp_path, teacher=kind, num_iterations=2, ema_rate=1.0)
        inputs = first_batch(trainer)
        with torch.no_grad():
            before = trainer._teacher_head.logps(inputs["teacher_hidden"])
            for parameter in trainer.model.parameters():
                parameter.mul_(1.5)
            after = trainer._teacher_head.logps(inputs["teacher_hidden"])
        assert torch.equal(before, after)


def test_zero_advantages_leave_nothing_of_grpo_in_a_pure_loss(tmp_path):
    pure = make_trainer(tmp_path)
    inputs = first_batch(pure)
    doubled = {**inputs, "advantages": inputs["advantages"] * 2 + 1}
    assert pure._compute_loss(pure.model, inputs) == pure._compute_loss(pure.model, doubled)


def test_loss_blend_is_grpo_plus_weight_times_credit(tmp_path):
    losses = {}
    for name, options in {
        "grpo": {"method": "grpo"},
        "credit": {},
        "blend": {"blend": "loss", "blend_weight": 0.7},
    }.items():
        trainer = make_trainer(tmp_path, **options)
        losses[name] = trainer._compute_loss(trainer.model, first_batch(trainer)).item()
    assert losses["blend"] == pytest.approx(losses["grpo"] + 0.7 * losses["credit"], abs=1e-6)


def test_advantage_blend_mixes_group_and_token_advantages(tmp_path):
    advantages = {}
    for name, options in {
        "grpo": {"method": "grpo"},
        "credit": {"level": "token"},
        "blend": {"level": "token", "blend": "advantage", "blend_weight": 0.9},
    }.items():
        advantages[name] = first_batch(make_trainer(tmp_path, **options))["advantages"]
    group = advantages["grpo"].unsqueeze(1)
    torch.testing.assert_close(advantages["blend"], 0.9 * group + 0.1 * advantages["credit"])


def test_masked_tokens_and_samples_without_teacher_earn_nothing(tmp_path):
    trainer = make_trainer(tmp_path, feedback_when="never", level="token")
    inputs = first_batch(trainer)
    outside = ~(inputs["completion_mask"].bool() & inputs["has_teacher"].unsqueeze(1))
    assert outside.any()
    assert not inputs["advantages"][outside].any()
    assert inputs["advantages"][~outside].any()


# -- teacher


def test_ema_teacher_is_the_average_of_the_students_after_each_batch(tmp_path):
    trainer = make_trainer(tmp_path, ema_rate=0.3, max_steps=3)
    name, weight = next(iter(trainer._student.named_parameters()))
    expected = weight.detach().clone()
    follow = trainer.teacher.follow

    def following():
        nonlocal expected
        expected = 0.7 * expected + 0.3 * weight.detach()
        follow()

    trainer.teacher.follow = following
    fit(trainer)
    assert trainer.teacher.updates == 3
    torch.testing.assert_close(dict(trainer.teacher.model.named_parameters())[name], expected)
    assert not torch.equal(weight, expected)


def test_ema_teacher_moves_once_per_generation_batch(tmp_path):
    trainer = make_trainer(tmp_path, num_iterations=2, max_steps=6)
    fit(trainer)
    assert trainer.teacher.updates == 3


def test_frozen_teacher_does_not_move_and_live_teacher_is_the_student(tmp_path):
    frozen, live = (make_trainer(tmp_path, teacher=kind) for kind in ("frozen", "live"))
    start = [p.detach().clone() for p in frozen._student.parameters()]
    fit(frozen)
    assert all(torch.equal(a, b) for a, b in zip(start, frozen.teacher.model.parameters(), strict=True))
    assert not torch.equal(start[0], next(frozen._student.parameters()))
    assert live.teacher.model is live._student


def test_a_copied_teacher_computes_with_its_own_weights(tmp_path):
    trainer = make_trainer(tmp_path)  # TRL has patched the student's forward by now
    ids = torch.arange(10, 16).unsqueeze(0)
    teacher = trainer.teacher.model
    hidden = teacher(input_ids=ids, on_hidden=lambda h: h)
    logits = teacher(input_ids=ids).logits
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.zero_()
    assert torch.equal(hidden, teacher(input_ids=ids, on_hidden=lambda h: h))
    assert torch.equal(logits, teacher(input_ids=ids).logits)


def test_low_precision_average_keeps_small_updates():
    student = make_model("qwen3").bfloat16()
    teacher = Teacher(student, "ema", 0.01)
    start = next(student.parameters()).detach().clone()
    with torch.no_grad():
        next(student.parameters()).mul_(1.01)
    for _ in range(400):
        teacher.follow()
    # A bfloat16 average would not move at all: each step is below half a unit in the last place.
    assert not torch.equal(next(teacher.model.parameters()), start)
    torch.testing.assert_close(next(teacher.model.parameters()), next(student.parameters()), rtol=1e-2, atol=1e-3)


# -- feedback, views, chat options


def test_feedback_of_synchronous_and_asynchronous_rewards_is_joined(tmp_path):
    def first(completions, **columns):
        return [(0.0, "w1") for _ in completions]

    async def second(completions, **columns):
        return [(0.0, "w2") if i % 2 else 0.0 for i in range(len(completions))]

    trainer = make_trainer(tmp_path, reward_funcs=[first, second])
    plans = record_plans(trainer)
    first_batch(trainer)
    assert set(plans[0][0].contexts) == {(None, "w1"), (None, "w1\nw2")}
    assert trainer.reward_func_names == ["first", "second"]


def test_a_reward_of_the_wrong_shape_names_function_and_completion(tmp_path):
    def broken(completions, **columns):
        return [(0.0, 3) for _ in completions]

    with pytest.raises(ValueError, match=r"'broken' returned \(0.0, 3\) for completion 0"):
        first_batch(make_trainer(tmp_path, reward_funcs=broken))


def test_teacher_prompts_take_the_students_chat_options(tmp_path):
    marker = make_tokenizer().convert_tokens_to_ids("<think>")
    trainer = make_trainer(tmp_path, chat_template_kwargs={"enable_thinking": False}, num_negatives=2)
    plans = record_plans(trainer)
    first_batch(trainer)
    plan = plans[0][0]
    assert all(ids[-1] == marker for view in [plan.student, plan.own, *plan.contrast] for ids in view)


def test_a_successful_rollout_never_reads_itself_and_failures_read_a_success(tmp_path):
    def only_first(completions, **columns):
        return [(float(i % 4 == 0), None) for i in range(len(completions))]

    trainer = make_trainer(tmp_path, reward_funcs=only_first)
    plans = record_plans(trainer)
    first_batch(trainer)
    for i, (solution, feedback) in enumerate(plans[0][0].contexts):
        assert (solution is None) == (i % 4 == 0)
        assert feedback is None


def test_views_too_long_for_the_model_are_cut_and_counted(tmp_path):
    def wordy(completions, **columns):
        return [(0.0, "w1 " * 400) for _ in completions]

    trainer = make_trainer(tmp_path, reward_funcs=wordy)
    plans = record_plans(trainer)
    batch = first_batch(trainer)
    plan = plans[0][0]
    width = batch["completion_ids"].shape[1]
    assert max(len(ids) for view in [plan.own, *plan.contrast] for ids in view) + width <= 256
    assert trainer._metrics["train"]["credit/context_cut"] == [1.0]


# -- loud


def test_idle_batches_are_counted_and_warned_about_once(tmp_path, caplog):
    def silent(completions, **columns):
        return [0.0 for _ in completions]

    trainer = make_trainer(tmp_path, reward_funcs=silent, idle_warning_steps=2, max_steps=4)
    with caplog.at_level(logging.WARNING):
        fit(trainer)
    warned = [r.getMessage() for r in caplog.records if "generation batches" in r.getMessage()]
    assert len(warned) == 2
    assert "no rollout had a teacher" in warned[0]
    assert "returned no feedback" in warned[1]
    assert [log["credit/no_teacher"] for log in history(trainer)] == [1.0] * 4
    assert [log["loss"] for log in history(trainer)] == [0.0] * 4


def test_private_surface_of_trl_is_the_one_we_rely_on(tmp_path):
    assert _trl.broken_contract() == []
    trainer = make_trainer(tmp_path)
    trainer.current_gradient_accumulation_steps = 1  # set by the training loop
    assert [name for name in _trl.ATTRIBUTES if not hasattr(trainer, name)] == []


def test_a_moved_private_name_is_noticed(monkeypatch):
    monkeypatch.delattr(_trl.GRPOTrainer, "_calculate_rewards")
    assert "_calculate_rewards" in _trl.broken_contract()[0]


@pytest.mark.parametrize("options", [{}, {"support_size": 0}, {"cast_lm_head_to_fp32": True}])
def test_with_bfloat16_hidden_states_wait_in_it_unless_the_head_is_float32(tmp_path, monkeypatch, options):
    losses = {}
    for waiting in ("as it is", "float32"):
        if waiting == "float32":
            monkeypatch.setattr(CreditTrainer, "_waiting", None)
        trainer = make_trainer(tmp_path, bf16=True, **options)
        inputs = first_batch(trainer)
        half = waiting == "as it is" and "cast_lm_head_to_fp32" not in options
        for name in ("teacher_hidden", "contrast_hidden"):
            assert inputs[name].dtype == (torch.bfloat16 if half else torch.float32)
        losses[waiting] = trainer._compute_loss(trainer.model, inputs).item()
    assert losses["as it is"] == pytest.approx(losses["float32"], rel=2e-2)


def test_grpo_is_trl_untouched(tmp_path):
    from trl import GRPOTrainer

    ours = make_trainer(tmp_path, method="grpo", share_prefixes=False)
    theirs = GRPOTrainer(
        make_model("qwen3"),
        lambda completions, answer, **c: [r[0] for r in reward(completions, answer)],
        make_config(tmp_path, method="grpo"),
        train_dataset=make_dataset(),
        processing_class=make_tokenizer(),
    )
    fit(ours, theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True))


# -- cost


class LargestTensor(TorchDispatchMode):
    """Remembers the size of the largest tensor any operation returned."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize("blend", ["none", "loss"])
def test_the_loss_builds_no_logits_tensor_and_runs_the_student_once(tmp_path, blend):
    vocabulary, chunk = 4096, 8
    model = make_model("qwen3", vocab_size=vocabulary)
    trainer = make_trainer(tmp_path, model=model, chunk_tokens=chunk, blend=blend, num_negatives=2)
    passes = []
    trainer._student.base_model.register_forward_hook(lambda *_: passes.append(1))
    scoring = trainer._add_teachers
    trainer._add_teachers = lambda output: (passes.clear(), scoring(output))
    inputs = first_batch(trainer)
    assert passes == []  # teachers and contrast ran on the EMA weights; the student's support needs no pass
    with LargestTensor() as largest:
        trainer._compute_loss(trainer.model, inputs).backward()
    assert passes == [1]
    tokens = int(inputs["completion_mask"].sum())
    weights = vocabulary * model.config.hidden_size
    assert largest.numel <= max(weights, 2 * chunk * vocabulary) < tokens * vocabulary
