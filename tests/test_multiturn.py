"""Rollouts with tool calls, through TRL's own loop: what is masked, what the teachers read, what files say."""

import math

import pyarrow.parquet as pq
import pytest
import torch

from credit.context import transcript
from credit.credit_log import TOKEN_COLUMNS
from credit.diagnostics import OddRollout, diagnose, measure, read_rollouts
from credit.diagnostics.marks import Marks
from credit.diagnostics.scoring import ScoreOptions, score_rollouts
from credit.report.tokens import heat_map
from local_models import fit, history, make_model
from multi_turn import Lookup, make_tool_trainer, tool_tokenizer
from test_trainer import brute_force_logps, first_batch, record_plans

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'environment_factory':UserWarning")

FAMILIES = ["qwen3", "olmo3"]


def by_hand(prompt, row):
    """Rollout 0 of each group asks twice, all others answer at once."""
    replies = prompt.count("<tool>") // 2
    if row % 4 and not replies:
        return "w8 <end>"
    return ["w2 <tool> w5 <end>", "<tool> w6 <end>", "w4 w4 <end>"][replies]


def own_of(inputs):
    return inputs["completion_mask"].bool() & inputs["tool_mask"].bool()


def columns_of(tmp_path, step=0):
    return pq.read_table(tmp_path / "credit" / f"step_{step:06d}.parquet").to_pylist()


def other_teacher(trainer, family):
    trainer.teacher.model.load_state_dict(make_model(family, initializer_range=0.2).state_dict())


# -- what a rollout is


def test_a_rollout_written_by_hand_token_by_token(tmp_path):
    trainer = make_tool_trainer(tmp_path, script=by_hand)
    first_batch(trainer)
    rows = {row["row"]: row for row in columns_of(tmp_path)}
    said = "w2 <tool> w5 <end> | <tool> w5 w6 <end> <assistant> | <tool> w6 <end> | <tool> w6 w7 <end> <assistant> |"
    turns = [part.split() for part in f"{said} w4 w4 <end>".split("|")]
    assert rows[0]["tokens"] == [token for turn in turns for token in turn]
    assert rows[0]["own"] == [place % 2 == 0 for place, turn in enumerate(turns) for _ in turn]
    assert rows[0]["completion"] == "w2 w5 w5 w6 w6 w6 w7 w4 w4"
    assert rows[0]["ends"][-1] == len(rows[0]["completion"])
    assert (rows[1]["tokens"], rows[1]["own"]) == (["w8", "<end>"], [True, True])


def test_a_sibling_is_the_whole_conversation(tmp_path):
    trainer = make_tool_trainer(tmp_path, script=lambda prompt, row: by_hand(prompt, 0))
    plans = record_plans(trainer)
    first_batch(trainer)
    (plan, _), contexts = plans[0], plans[0][0].contexts
    expected = (
        'w2\n\n[call] look {"word": "w5"}\n\n[result of look] w5 w6\n\n'
        '[call] look {"word": "w6"}\n\n[result of look] w6 w7\n\nw4 w4'
    )
    assert {solution for solution, _ in contexts} == {expected}
    tokenizer = tool_tokenizer()
    assert all("w7 w4 w4 Correctly solve" in tokenizer.decode(ids) for ids in [*plan.own, *plan.contrast[0]])


def test_transcripts():
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "ü"}}}
    talk = [
        {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "name": "add", "content": "2"},
        {"role": "assistant", "content": " 2 "},
    ]
    assert transcript(talk) == '<think>hm</think>\n\n[call] add {"a": 1, "b": "ü"}\n\n[result of add] 2\n\n2'
    assert transcript([{"role": "assistant", "content": " plain "}]) == "plain"
    assert transcript("text ") == "text "
    # A call that ran into the length limit has no result; one that could not be read is text.
    assert transcript([{"role": "assistant", "content": None, "tool_calls": [call]}]).startswith("[call] add")


# -- exact numbers


@pytest.mark.parametrize("family", FAMILIES)
def test_token_credit_equals_full_logits_of_the_whole_conversation(tmp_path, family):
    trainer = make_tool_trainer(tmp_path, family, num_negatives=2, lam=0.3, form="feedback_contrast")
    plans = record_plans(trainer)
    other_teacher(trainer, family)
    first_batch(trainer)
    (plan, completions), teacher = plans[0], trainer.teacher.model
    rows, looked = {row["row"]: row for row in columns_of(tmp_path)}, 0
    for i, ids in enumerate(completions):
        row = rows[i]
        assert row["token_ids"] == ids
        if not any(plan.contexts[i]):
            continue
        own = torch.tensor(row["own"])
        looked += int((~own).sum())
        chosen = torch.tensor(ids)[:, None]
        scored = {
            "logp_student": brute_force_logps(trainer.model, plan.student[i], ids),
            "logp_teacher": brute_force_logps(teacher, plan.own[i], ids),
            "logp_teacher_nofeedback": brute_force_logps(teacher, plan.student[i], ids),
            "G": torch.stack([brute_force_logps(teacher, plan.contrast[c][i], ids) for c in range(2)]).mean(0),
        }
        for name, logps in scored.items():
            exact = logps.gather(-1, chosen).squeeze(-1)
            torch.testing.assert_close(torch.tensor(row[name]).double()[own], exact[own], atol=2e-4, rtol=1e-4)
    assert looked > 50


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_brute_force_over_own_tokens(tmp_path, family):
    trainer = make_tool_trainer(tmp_path, family, lam=0.4, support_size=0, tail="exact")
    plans = record_plans(trainer)
    other_teacher(trainer, family)
    inputs = first_batch(trainer)
    loss = trainer._compute_loss(trainer.model, inputs)
    (plan, completions), total, tokens = plans[0], 0.0, 0
    rows = {row["row"]: row for row in columns_of(tmp_path)}
    for i, ids in enumerate(completions):
        if not any(plan.contexts[i]):
            continue
        own = torch.tensor(rows[i]["own"])
        student = brute_force_logps(trainer.model, plan.student[i], ids)
        generic = brute_force_logps(trainer.teacher.model, plan.contrast[0][i], ids).clamp(min=-20)
        target = (brute_force_logps(trainer.teacher.model, plan.own[i], ids) - 0.4 * generic).log_softmax(-1)
        total += (student.exp() * (student - target)).sum(-1)[own].sum().item()
        tokens += int(own.sum())
    assert loss.item() == pytest.approx(total / tokens, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"blend": "loss", "divergence": "jsd"}, {"beta": 0.1, "blend": "loss"}])
def test_what_teachers_say_about_tool_tokens_changes_nothing(tmp_path, options):
    model = make_model("qwen3")
    if "beta" in options:  # TRL loads the reference model again from the path of the model
        model.save_pretrained(tmp_path / "model")
        model.config._name_or_path = str(tmp_path / "model")
        model.name_or_path = str(tmp_path / "model")
    trainer = make_tool_trainer(tmp_path, model=model, **options)
    other_teacher(trainer, "qwen3")
    inputs = first_batch(trainer)
    own = own_of(inputs)
    foreign = inputs["completion_mask"].bool() & ~own
    assert foreign.sum() > 50
    spoilt = {**inputs}
    for name in ("teacher_hidden", "contrast_hidden"):
        spoilt[name] = inputs[name].clone()
        (spoilt[name] if name == "teacher_hidden" else spoilt[name].transpose(1, 2))[foreign] = torch.nan
    losses = [trainer._compute_loss(trainer.model, batch) for batch in (inputs, spoilt)]
    gradients = [torch.autograd.grad(loss, list(trainer.model.parameters())) for loss in losses]
    assert torch.equal(*losses)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    "options",
    [{}, {"blend": "loss"}, {"level": "token"}, {"level": "token", "token_credit": "to_go", "baseline": "none"}],
)
def test_no_gradient_enters_where_a_tool_token_is_predicted(tmp_path, options):
    trainer = make_tool_trainer(tmp_path, share_prefixes=False, **options)  # so that states have rows
    other_teacher(trainer, "qwen3")
    inputs = first_batch(trainer)
    own = own_of(inputs)
    kept = []

    def keep(module, args, out):
        out.last_hidden_state.retain_grad()
        kept.append(out.last_hidden_state)

    handle = trainer._student.base_model.register_forward_hook(keep)
    trainer._compute_loss(trainer.model, inputs).backward()
    handle.remove()
    (hidden,) = kept
    moved = hidden.grad[:, -own.shape[1] - 1 : -1].abs().sum(-1)  # the states that predict the response tokens
    assert not moved[~own].any()
    taught = own & inputs["has_teacher"].unsqueeze(1)
    assert (moved[taught] > 0).float().mean() > 0.9


def test_token_advantages_skip_tool_tokens(tmp_path):
    trainer = make_tool_trainer(tmp_path, level="token", token_credit="to_go", gamma=0.5, baseline="none")
    other_teacher(trainer, "qwen3")
    inputs = first_batch(trainer)
    assert not inputs["advantages"][~own_of(inputs)].any()
    taught = [row for row in columns_of(tmp_path) if row["solution"] or row["feedback"]]
    assert len(taught) > 8
    for row in taught:
        credit = [value for value, own in zip(row["R"], row["own"], strict=True) if own]
        # TRL shuffles the batch: find the rollout by its tokens.
        width = len(row["token_ids"])
        for ids, mask, advantage in zip(
            inputs["completion_ids"], inputs["completion_mask"], inputs["advantages"], strict=True
        ):
            if ids[mask.bool()].tolist() == row["token_ids"]:
                first = sum(value * 0.5**k for k, value in enumerate(credit))
                assert advantage[0].item() == pytest.approx(first, rel=1e-4)
                assert advantage[:width].count_nonzero() == len(credit)
                break
        else:
            raise AssertionError("a logged rollout is not in the batch")


@pytest.mark.parametrize(
    "options",
    [
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
        {"pad_to_multiple_of": 16},
        {"chunk_tokens": 3},
    ],
    ids=lambda o: next(iter(o)),
)
@pytest.mark.parametrize("level", [{}, {"level": "token"}, {"blend": "loss", "divergence": "jsd"}])
def test_updates_do_not_depend_on_batching_padding_or_chunks(tmp_path, options, level):
    plain = make_tool_trainer(tmp_path, learning_rate=1e-3, credit_log_steps=0, **level)
    fit(plain)
    other = make_tool_trainer(tmp_path, learning_rate=1e-3, credit_log_steps=0, **{**level, **options})
    fit(other)
    for a, b in zip(plain.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)


# -- files and diagnostics


def test_files_tell_a_tool_token_from_a_missing_number(tmp_path):
    trainer = make_tool_trainer(tmp_path, feedback_when="never")  # successes without a sibling have no teacher
    first_batch(trainer)
    rows = columns_of(tmp_path)
    for row in rows:
        assert {len(row[name]) for name in (*TOKEN_COLUMNS, "own", "tokens", "ends")} == {len(row["token_ids"])}
        taught = bool(row["solution"])
        for name in ("r", "S", "G", "R", "logp_student", "logp_teacher", "logp_teacher_nofeedback"):
            assert [not math.isnan(value) for value in row[name]] == [own and taught for own in row["own"]]
    assert any(not row["solution"] for row in rows)
    assert any(not all(row["own"]) for row in rows)


def test_diagnostics_and_metrics_sum_over_own_tokens(tmp_path):
    trainer = make_tool_trainer(tmp_path)
    first_batch(trainer)
    path = next((tmp_path / "credit").glob("*.parquet"))
    found = diagnose(read_rollouts(path))
    rows = [row for row in columns_of(tmp_path) if row["solution"] or row["feedback"]]
    assert found["counts"]["measured"] == len(rows) > 8
    assert "odd" not in found["counts"]
    sums = [sum(v for v, own in zip(row["r"], row["own"], strict=True) if own) for row in rows]
    assert [r["pmi"] for r in found["responses"]] == pytest.approx(sums)
    assert [r["tokens"] for r in found["responses"]] == [sum(row["own"]) for row in rows]
    logged = trainer._metrics["train"]
    assert logged["credit/pmi"] == [pytest.approx(sum(sums) / len(rows), rel=1e-4)]
    own_tokens = sum(sum(row["own"]) for row in rows)
    assert logged["credit/r"] == [pytest.approx(sum(sums) / own_tokens, rel=1e-4)]


def test_measures_by_hand():
    nan = math.nan
    rollout = {
        "token_ids": [5, 6, 7, 8, 9],
        "own": [True, False, False, True, True],
        "r": [1.0, nan, nan, -0.5, 2.0],
        "S": [0.1, nan, nan, 3.0, -2.0],
        "G": [-1.0, nan, nan, -2.0, -3.0],
        "R": [2.0, nan, nan, -1.0, 4.0],
        "logp_student": [-2.0, nan, nan, -1.0, -4.0],
        "logp_teacher": [-1.0, nan, nan, -1.5, -2.0],
        "logp_teacher_nofeedback": [-2.5, nan, nan, -1.0, -3.0],
    }
    found = measure(rollout, Marks(bearing=[False, True, False, False, True], first_error=3))
    assert (found.tokens, found.pmi, found.G, found.R, found.credit) == (3, 2.5, -6.0, 5.0, 7.0)
    assert (found.S, found.weight_gap) == (pytest.approx(1.1), pytest.approx(-0.5))
    assert (found.generic_credit, found.generic_tokens) == (2.0, 1)
    assert (found.bearing_credit, found.bearing_tokens) == (4.0, 1)
    assert found.auroc_bearing["r"] == 1.0
    assert found.auroc_error["r"] == 1.0
    with pytest.raises(OddRollout, match="r is not a finite number at 1 of 5 tokens"):
        measure({**rollout, "own": [True, True, False, True, True]})
    with pytest.raises(OddRollout, match="own has 1 values for 5 tokens"):
        measure({**rollout, "own": [True]})
    with pytest.raises(OddRollout, match="none of its tokens"):
        measure({**rollout, "own": [False] * 5})


def test_a_file_with_tool_outputs_is_scored_again_as_it_was(tmp_path):
    trainer = make_tool_trainer(tmp_path)
    first_batch(trainer)
    rollouts = read_rollouts(next((tmp_path / "credit").glob("*.parquet")))
    options = ScoreOptions.of(vars(trainer.args))
    again = score_rollouts(trainer._student, tool_tokenizer(), rollouts, options)
    assert any("no tools are described" in problem for problem in again.problems)
    told = score_rollouts(trainer._student, tool_tokenizer(), rollouts, options, template_options={"tools": []})
    assert not any("no tools are described" in problem for problem in told.problems)
    for before, after in zip(rollouts.rows, again.rows, strict=True):
        assert before["own"] == after["own"]
        for name in ("logp_student", "logp_teacher", "r"):
            assert after[name] == pytest.approx(before[name], abs=1e-4, nan_ok=True)
    with pytest.raises(ValueError, match="row 1: field 'own' has 1 values for"):
        score_rollouts(
            trainer._student, tool_tokenizer(), type(rollouts)("f", [{**rollouts.rows[0], "own": [True]}]), options
        )


def test_the_report_marks_tool_tokens_and_sums_the_rest(tmp_path):
    trainer = make_tool_trainer(tmp_path, script=by_hand)
    first_batch(trainer)
    rows = columns_of(tmp_path)
    shown = heat_map("step_000000.parquet", rows).responses[0]
    assert [token.tone == "tool" for token in shown.tokens] == [not own for own in rows[0]["own"]]
    assert (shown.foreign, shown.valued, shown.total) == (10, 10, 20)
    assert "sum of r" in shown.sums


# -- end to end, and refused


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"level": "token", "form": "guided", "lam": 1.0}], ids=["loss", "token"])
def test_two_steps_with_tool_calls(tmp_path, family, options):
    trainer = make_tool_trainer(tmp_path, family, **options)
    start = [p.detach().clone() for p in trainer.model.parameters()]
    fit(trainer)
    logs = history(trainer)
    assert len(logs) == 2
    for log in logs:
        assert log["tools/call_frequency"] > 0.75
        assert log["tools/failure_frequency"] < 0.2  # the model's own attempts are no words of the tool
        assert math.isfinite(log["grad_norm"])
        assert log["grad_norm"] > 0
        assert 0 < log["credit/success"] < 1
        assert log["credit/with_solution"] > 0
    assert not all(torch.equal(a, b) for a, b in zip(start, trainer.model.parameters(), strict=True))


def test_overlong_replies_are_rolled_back_by_trl_and_stay_consistent(tmp_path):
    trainer = make_tool_trainer(tmp_path, script=by_hand, max_completion_length=6)
    first_batch(trainer)
    row = next(row for row in columns_of(tmp_path) if row["row"] == 0)
    assert row["tokens"] == ["w2", "<tool>", "w5", "<end>"]
    assert all(row["own"])


class Talkative(Lookup):
    def feedback(self):
        """Say something."""
        return "w1"

    def __init__(self):
        self.number, self.asked = 1, []

    def reset(self, **row):
        self.asked = []

    def get_reward(self):
        return 0.0


def test_what_would_be_rendered_or_heard_wrongly_is_refused(tmp_path):
    with pytest.raises(ValueError, match="several environments in one run"):
        make_tool_trainer(tmp_path, environment={"a": Lookup, "b": Talkative})
    with pytest.raises(ValueError, match=r"Talkative\.feedback is a method"):
        first_batch(make_tool_trainer(tmp_path, environment=Talkative))


def test_plain_tools_work_like_those_of_environments(tmp_path):
    def look(word: str) -> str:
        """Look a word up.

        Args:
            word: The word.
        """
        return f"{word} w9"

    def grade(completions, **columns):
        return [(float(c[-1]["role"] == "assistant" and i % 2), "missing w1") for i, c in enumerate(completions)]

    trainer = make_tool_trainer(tmp_path, environment=None, tools=[look], reward_funcs=grade, script=by_hand)
    fit(trainer)
    assert history(trainer)[0]["credit/no_teacher"] == 0
    row = next(row for row in columns_of(tmp_path) if row["row"] == 0)
    assert row["completion"] == "w2 w5 w5 w9 w6 w6 w9 w4 w4"
    assert row["own"].count(False) == 10
    assert row["feedback"] is None
    assert row["solution"] == "w8"
