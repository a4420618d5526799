"""Methods beside CREDIT: each formula against its transcription, then in the trainer against brute force."""

import logging
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from credit import CreditTrainer
from credit.methods import METHODS, Scored, get_method
from credit.presets import PRESETS, preset_fields
from credit.tasks.rows import RowsTask, load_rows
from local_models import fit, make_config, make_dataset, make_model, make_tokenizer, make_trainer, reward, write_rows
from test_trainer import brute_force_logps, first_batch, record_plans

B, T, C = 4, 5, 3
OPTIONS = {
    "rlsd": {"rlsd_weight": 0.4, "rlsd_decay_steps": 10, "rlsd_clip": 0.3},
    "rlcsd": {"rlcsd_scale": 1.5, "rlcsd_weight": 0.7, "rlcsd_temperature": 0.8},
    "antisd": {"antisd_gate": 0.6},
}


def by_hand(name, A, student, teacher, wrong, entropy, step, o):
    """One token, written from the formulas; `wrong` holds the log-probabilities under wrong hints."""
    delta = teacher - student
    if name == "rlsd":
        m = o["rlsd_weight"] * max(0, 1 - step / o["rlsd_decay_steps"])
        sign = (A > 0) - (A < 0)
        ratio = min(max(math.exp(sign * delta), 1 - o["rlsd_clip"]), 1 + o["rlsd_clip"])
        return A * ((1 - m) + m * ratio)
    if name == "antisd":
        return A if entropy < o["antisd_gate"] else A - 0.5 * (math.log(1 + math.exp(delta)) - math.log(2))
    if not wrong:
        return A
    evidence = teacher - math.log(sum(math.exp(w) for w in wrong) / len(wrong))
    push = o["rlcsd_scale"] * o["rlcsd_weight"] * math.tanh(evidence / o["rlcsd_temperature"])
    moved = A + min(max(push, -2), 2)
    return max(moved, 0) if A > 0 else min(moved, 0) if A < 0 else 0


@pytest.mark.parametrize("step", [0, 4, 99])
@pytest.mark.parametrize("name", ["rlsd", "rlcsd", "antisd"])
def test_advantages_are_their_formulas(name, step):
    student, teacher = -3 * torch.rand(B, T), -3 * torch.rand(B, T)
    wrong, entropy = -3 * torch.rand(B, T, C), torch.rand(B, T)
    wrong[0, :, 1:] = torch.nan  # one wrong hint
    wrong[1] = torch.nan  # none
    group = torch.tensor([[1.2], [-0.7], [0.0], [-3.0]])
    options = SimpleNamespace(**OPTIONS[name])
    found = get_method(name).advantage(Scored(student, teacher, wrong, entropy, group, step), options)
    for b in range(B):
        for t in range(T):
            held = [w for w in wrong[b, t].tolist() if w == w]
            numbers = group[b, 0].item(), student[b, t].item(), teacher[b, t].item(), held, entropy[b, t].item()
            assert found[b, t].item() == pytest.approx(by_hand(name, *numbers, step, OPTIONS[name]), abs=1e-5)


def test_the_sign_of_an_advantage_never_flips():
    group = torch.tensor([[0.3], [-0.3], [0.0]])
    teacher, wrong = torch.zeros(3, 2), torch.tensor([[-9.0], [9.0]]).T.expand(3, 2).unsqueeze(-1)
    scored = Scored(torch.zeros(3, 2), teacher, wrong, torch.ones(3, 2), group, 0)
    found = get_method("rlcsd").advantage(scored, SimpleNamespace(**OPTIONS["rlcsd"]))
    assert (found * group >= 0).all()
    assert found[2].tolist() == [0, 0]


def test_rlsd_ends_as_grpo():
    scored = Scored(torch.zeros(1, 1), torch.ones(1, 1), torch.empty(1, 1, 0), torch.ones(1, 1), torch.ones(1, 1), 50)
    options = SimpleNamespace(rlsd_weight=0.5, rlsd_decay_steps=50, rlsd_clip=0.2)
    assert get_method("rlsd").advantage(scored, options).item() == 1.0


# In the trainer, against full logits


def captured(trainer):
    """Run one generation batch; return its plan, unpadded completions, the group advantages, and what was added."""
    plans, seen = record_plans(trainer), {}
    recording = trainer._add_teachers

    def keep(output):
        seen["group"] = output["advantages"].clone()
        recording(output)
        seen["output"] = dict(output)

    trainer._add_teachers = keep
    torch.manual_seed(1)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    rows = [trainer.train_dataset[i // trainer.num_generations] for i in range(trainer.args.generation_batch_size)]
    batch = trainer._prepare_inputs(rows)
    plan, completions = plans[0]
    return plan, completions, seen["group"], seen["output"], batch


def at(logp_TV, ids):
    return logp_TV[range(len(ids)), ids]


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
@pytest.mark.parametrize("name", ["rlsd", "rlcsd", "antisd"])
def test_the_trainer_gives_these_advantages(tmp_path, family, name):
    options = {**preset_fields(name), **OPTIONS[name], "num_negatives": 2 if name == "rlcsd" else 1}
    trainer = make_trainer(tmp_path, family, **options)
    trainer.teacher.model.load_state_dict(make_model(family, initializer_range=0.2).state_dict())
    plan, completions, group, output, _ = captured(trainer)
    teacher, touched = trainer.teacher.model, 0
    for i, ids in enumerate(completions):
        found, A = output["advantages"][i, : len(ids)], group[i].item()
        if not any(plan.contexts[i]):
            assert found.tolist() == [A] * len(ids)
            continue
        student = at(brute_force_logps(trainer.model, plan.student[i], ids), ids)
        taught = brute_force_logps(teacher, plan.own[i], ids)
        entropy = -(taught.exp() * taught).sum(-1)
        wrong = [
            at(brute_force_logps(teacher, plan.contrast[c][i], ids), ids)
            for c in range(len(plan.contrast))
            if plan.negatives[i, c] >= 0
        ]
        for t in range(len(ids)):
            numbers = student[t].item(), at(taught, ids)[t].item(), [w[t].item() for w in wrong], entropy[t].item()
            assert found[t].item() == pytest.approx(by_hand(name, A, *numbers, 0, OPTIONS[name]), abs=2e-3)
            touched += abs(found[t].item() - A) > 1e-3
    assert touched > 10


def test_wrong_answers_are_of_the_own_group_and_wrong(tmp_path):
    trainer = make_trainer(tmp_path, **{**preset_fields("rlcsd"), "num_negatives": 3})
    plan, completions, *_ = captured(trainer)
    scores, drawn = trainer._graded.all_scores, 0
    for i, row in enumerate(plan.negatives.tolist()):
        chosen = [j for j in row if j >= 0]
        wrong = [j for j in range(len(completions)) if j // 4 == i // 4 and j != i and scores[j] < 1]
        if plan.contexts[i][0] is None:
            assert chosen == []
        else:
            assert len(chosen) == min(3, len(wrong))
            assert set(chosen) <= set(wrong)
            assert len(set(chosen)) == len(chosen)
        assert plan.contexts[i][1] is None
        drawn += len(chosen)
        assert len(plan.said[i]) == len(chosen)
    assert drawn > 5


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
def test_srpo_is_grpo_on_right_answers_and_weighted_distillation_on_wrong_ones(tmp_path, family):
    trainer = make_trainer(tmp_path, family, **preset_fields("srpo"), support_size=0, srpo_beta=0.7)
    trainer.teacher.model.load_state_dict(make_model(family, initializer_range=0.2).state_dict())
    plan, completions, group, _, batch = captured(trainer)
    loss = trainer._compute_loss(trainer.model, batch).item()
    policy, divergence, tokens = 0.0, 0.0, 0
    for i, ids in enumerate(completions):
        if trainer._graded.all_scores[i] >= 1 or not any(plan.contexts[i]):
            policy -= group[i].item() * len(ids)  # the ratio is 1 at the first step
            continue
        student = brute_force_logps(trainer.model, plan.student[i], ids)
        taught = brute_force_logps(trainer.teacher.model, plan.own[i], ids)
        kl = (student.exp() * (student - taught)).sum(-1)
        divergence += ((0.7 * (taught.exp() * taught).sum(-1)).exp() * kl).sum().item()
        tokens += len(ids)
    assert tokens > 20
    assert loss == pytest.approx(policy / sum(map(len, completions)) + divergence / tokens, rel=1e-4)


@pytest.mark.parametrize("name", ["opsd", "sdft"])
def test_demonstrations_are_what_the_teacher_is_shown(tmp_path, name):
    trainer = make_trainer(tmp_path, **preset_fields(name) | {"support_size": 0}, demonstration_column="answer")
    plan, completions, *_ = captured(trainer)
    expected = [trainer.train_dataset[i // 4]["answer"] for i in range(len(completions))]
    assert plan.contexts == [(text, None) for text in expected]
    fit(make_trainer(tmp_path, **preset_fields(name) | {"support_size": 0}, demonstration_column="answer"))


def test_dr_grpo_is_two_options_of_trl(tmp_path):
    config = make_config(tmp_path, **preset_fields("dr-grpo"))
    assert (config.method, config.loss_type, config.scale_rewards) == ("grpo", "dr_grpo", "none")
    trainer = make_trainer(tmp_path, **preset_fields("dr-grpo"))
    inputs = first_batch(trainer)
    loss = trainer._compute_loss(trainer.model, inputs).item()
    lengths, A = inputs["completion_mask"].sum(1), inputs["advantages"]
    assert set(A.abs().tolist()) <= {0, 0.25, 0.5, 0.75}  # r - mean of four 0 or 1 rewards, no deviation
    assert A.any()
    # The ratio is 1 at the first step; answers are not divided by their own length.
    assert loss == pytest.approx(-(A * lengths).sum().item() / (len(A) * config.max_completion_length), rel=1e-5)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_trains(tmp_path, preset):
    options = preset_fields(preset)
    options = {**options, "support_size": min(options.get("support_size", 0), 20)}
    if get_method(options["method"]).demonstrations:
        options["demonstration_column"] = "answer"
    if preset == "rlcsd":
        options["num_negatives"] = 3
    trainer = make_trainer(tmp_path, **options)
    fit(trainer)
    assert all(math.isfinite(log["loss"]) for log in trainer.state.log_history if "loss" in log)


# What is refused, and what is said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "sdpo", "rlsd_clip": 0.1}, "rlsd_clip=0.1 changes nothing with method='sdpo'"),
        ({"method": "credit", "demonstration_column": "answer"}, "demonstration_column='answer' changes nothing"),
        ({"method": "rlsd"}, "method='rlsd' gives advantages to sampled tokens. Set level='token'."),
        ({"method": "srpo", "level": "token"}, "method='srpo' weighs divergences. Set level='vocabulary'."),
        ({"method": "srpo", "blend": "loss"}, "holds the group advantage already. Set blend='none'."),
        ({"method": "rlsd", "level": "token", "baseline": "none"}, "method='rlsd' has a rule of its own"),
        ({"method": "rlcsd", "level": "token"}, "feedback is neither. Set feedback_when='never'."),
        ({**PRESETS["rlcsd"]}, "num_negatives=4 wrong answers of the same prompt cannot be had from num_generations=4"),
        ({"method": "opsd"}, "Set demonstration_column to the column that holds it."),
        ({"method": "antisd", "level": "token", "antisd_gate": -1}, "antisd_gate=-1 is not allowed"),
        ({"method": "nothing"}, "method='nothing' is unknown. Use one of grpo, sdpo, credit, rlsd"),
        ({"method": "nothing:AT"}, "module nothing is not found"),
        ({"method": "credit.methods.rlsd:LIMIT"}, "no such name. Write NAME = Method(...)"),
    ],
)
def test_refusals(tmp_path, options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        make_config(tmp_path, **options)


def test_a_column_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="demonstration_column='nowhere' is no column of the training set"):
        make_trainer(tmp_path, **preset_fields("opsd"), demonstration_column="nowhere")


@pytest.mark.parametrize(
    ("values", "said"),
    [([3] * 40, "holds a int in row 1"), ([""] * 40, "holds no text in any row")],
    ids=["number", "empty"],
)
def test_a_column_of_no_solutions_is_refused(tmp_path, values, said):
    data = make_dataset().add_column("shown", values)
    args = make_config(tmp_path, **preset_fields("opsd"), demonstration_column="shown")
    with pytest.raises(ValueError, match=said):
        CreditTrainer(make_model("qwen3"), reward, args, train_dataset=data, processing_class=make_tokenizer())


def test_rows_of_ones_own_keep_their_demonstration(tmp_path):
    rows = [{"prompt": f"w{i}", "answer": f"w{i}", **({"demonstration": f"so w{i}"} if i else {})} for i in range(2)]
    task = RowsTask(str(write_rows(tmp_path / "r.jsonl", rows)), eval_dataset=str(write_rows(tmp_path / "e.jsonl")))
    assert [row["demonstration"] for row in task.rows("train")] == [None, "so w1"]
    assert "demonstration" not in RowsTask(str(tmp_path / "e.jsonl")).rows("train")[0]
    with pytest.raises(ValueError, match=r"row 1: field 'demonstration' is not text"):
        load_rows(str(write_rows(tmp_path / "r.jsonl", [{**rows[0], "demonstration": 3}])), "train")


IDLE = {
    "rlsd": {"rlsd_weight": 0.0},
    "antisd": {"antisd_gate": 99.0},
    "srpo": {"success_threshold": -1.0, "feedback_when": "always"},
}


@pytest.mark.parametrize("name", IDLE)
def test_a_teacher_without_any_say_is_named_and_one_with_a_say_is_not(tmp_path, name, caplog):
    idle, heard = "the teacher had no say in any token", []
    for options in (IDLE[name], {}):
        trainer = make_trainer(tmp_path, **{**preset_fields(name), **options}, idle_warning_steps=2)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            fit(trainer)
        shares = [log["credit/by_teacher"] for log in trainer.state.log_history if "loss" in log]
        heard.append((idle in caplog.text, set(shares) == {0.0}))
        assert all(0 <= share <= 1 for share in shares)
    assert heard == [(True, True), (False, False)]


def test_the_share_of_the_teacher_is_that_of_the_tokens_it_moved(tmp_path):
    trainer = make_trainer(tmp_path, **preset_fields("rlsd"))
    _, completions, group, output, _ = captured(trainer)
    moved = sum((output["advantages"][i, : len(ids)] != group[i]).sum().item() for i, ids in enumerate(completions))
    assert trainer._metrics["train"]["credit/by_teacher"] == [pytest.approx(moved / sum(map(len, completions)))]
    assert moved > 10


def test_a_contrast_of_answers_that_never_finds_one_says_so(tmp_path, caplog):
    def always_right(completions, **columns):
        return [(1.0, None)] * len(completions)

    options = {**preset_fields("rlcsd"), "num_negatives": 2, "idle_warning_steps": 2}
    trainer = make_trainer(tmp_path, reward_funcs=always_right, **options)
    with caplog.at_level(logging.WARNING):
        fit(trainer)
    assert "no group held both a right answer to show and a wrong one" in caplog.text
    assert trainer.idle_warnings


def test_every_method_states_source_and_reads_options_that_exist(tmp_path):
    config = make_config(tmp_path)
    for method in METHODS.values():
        assert method.source
        assert method.summary
        assert all(hasattr(config, name) for name in method.reads)
        assert f" {method.name}" in type(config).__dataclass_fields__["method"].metadata["help"]


def test_a_method_of_ones_own_by_dotted_path(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "methods.md").read_text()
    source = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    Path("sharpen.py").write_text(source)
    trainer = make_trainer(tmp_path / "out", method="sharpen:SHARPEN", level="token")
    plan, completions, group, output, _ = captured(trainer)
    taught = [i for i in range(len(completions)) if any(plan.contexts[i]) and group[i] != 0]
    assert taught
    for i in taught:
        ratio = output["advantages"][i, : len(completions[i])] / group[i]
        assert set(ratio.round(decimals=4).tolist()) <= {1.0, 2.0}
    fit(make_trainer(tmp_path / "out", method="sharpen:SHARPEN", level="token"))


def test_the_page_has_every_method_and_preset():
    page = (Path(__file__).parents[1] / "docs" / "methods.md").read_text()
    assert [name for name in METHODS if f"| `{name}` (" not in page] == []
    assert [name for name in PRESETS if name not in page] == []
