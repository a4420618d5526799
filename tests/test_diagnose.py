"""Diagnostics with models: columns against full logits by hand, the mixture gap, and `credit diagnose` as typed."""

import copy
import json
import math

import pytest
import torch

from credit import CreditConfig
from credit.cli import main
from credit.context import DEFAULT_TEMPLATE, teacher_messages
from credit.credit_log import TOKEN_COLUMNS
from credit.diagnostics import Rollouts, diagnose, read_credit_of_run, read_rollouts
from credit.diagnostics.choices import compatibility
from credit.diagnostics.scoring import ScoreOptions, score_rollouts
from local_models import fit, history, make_model, make_tokenizer, make_trainer, save_model

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SYSTEM = {"role": "system", "content": "w50 w51"}
ROWS = [
    {"prompt": [SYSTEM, {"role": "user", "content": "w1 w2"}], "completion": "w3 w4 w5", "score": 1.0},
    {"prompt": [SYSTEM, {"role": "user", "content": "w1 w2"}], "completion": "w6", "score": 0.0, "feedback": "w7 w8"},
    {"prompt": "w9 w10 w11", "completion": "w12 w13", "score": 0.0, "feedback": "w14"},
]


def options(**changes) -> ScoreOptions:
    return ScoreOptions.of({"temperature": 1.0, "seed": 3, **changes})


def model_logps(model, prompt, response_ids) -> torch.Tensor:
    """Log-probabilities over the vocabulary at each response token, straight from the model's own logits."""
    tokenizer = make_tokenizer()
    if isinstance(prompt, str):
        ids = tokenizer(prompt)["input_ids"]
    else:
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*ids, *response_ids]])).logits[0].double()
    return logits[len(ids) - 1 : -1].log_softmax(dim=-1)


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
@pytest.mark.parametrize("form", ["paper", "guided", "feedback_contrast"])
def test_columns_are_those_of_full_logits(family, form):
    student, teacher = make_model(family).eval(), make_model(family)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.05)
    plain_student, plain_teacher = copy.deepcopy(student), copy.deepcopy(teacher).eval()
    scored = score_rollouts(student, make_tokenizer(), Rollouts("rows", ROWS), options(form=form, lam=0.5), teacher)
    for row in scored.rows:
        ids = make_tokenizer()(row["completion"])["input_ids"]
        assert row["token_ids"] == ids
        shown = row["solution"], row["feedback"]
        if row["completion"] == "w3 w4 w5":  # a success without a successful sibling and without feedback
            assert shown == (None, None)
            assert all(math.isnan(v) for name in TOKEN_COLUMNS for v in row[name])
            continue
        assert shown == (("w3 w4 w5", None) if row["completion"] == "w6" else (None, "w14"))
        (other,) = row["negatives"]
        other = json.loads(other) if other.startswith("[") else other
        assert other != row["prompt"]

        def at(model, prompt, ids=ids):
            return model_logps(model, prompt, ids).gather(-1, torch.tensor(ids)[:, None]).squeeze(-1)

        p = at(plain_student, row["prompt"])
        p_teacher = at(plain_teacher, teacher_messages(row["prompt"], *shown, DEFAULT_TEMPLATE))
        p_prior = at(plain_teacher, row["prompt"])
        generic = at(plain_teacher, teacher_messages(other, *shown, DEFAULT_TEMPLATE))
        generic0 = at(plain_teacher, teacher_messages(other, None, None, DEFAULT_TEMPLATE))
        expected = {
            "logp_student": p, "logp_teacher": p_teacher, "logp_teacher_nofeedback": p_prior, "r": p_teacher - p,
            "G": generic, "S": p_teacher - generic,
            "R": p_teacher - p + 0.5 * {"paper": -generic, "guided": p_teacher - generic,
                                        "feedback_contrast": generic0 - generic}[form],
        }  # fmt: skip
        for name, value in expected.items():
            assert row[name] == pytest.approx(value.tolist(), abs=2e-4), name
        assert row["ends"][-1] == len(row["completion"])


def test_without_weights_of_its_own_there_is_no_weight_gap():
    scored = score_rollouts(make_model("qwen3"), make_tokenizer(), Rollouts("rows", ROWS), options())
    assert all(math.isnan(v) for row in scored.rows for v in row["logp_teacher_nofeedback"])
    assert diagnose(scored)["summary"]["weight_gap_per_token"] is None
    assert scored.problems == ["rows has no token_ids: completions were tokenised again, without an end token."]


def test_recorded_solutions_are_used_and_empty_responses_named():
    rows = [{**ROWS[2], "solution": "w20 w21", "token_ids": [30, 31]}, {**ROWS[0], "completion": "", "token_ids": []}]
    scored = score_rollouts(make_model("qwen3"), make_tokenizer(), Rollouts("rows", rows), options(lam=0.0))
    assert scored.rows[0]["solution"] == "w20 w21"
    assert scored.rows[0]["token_ids"] == [30, 31]
    result = diagnose(scored)
    assert result["problems"] == [
        "rows names solutions: they are shown as they are, whatever feedback_when says.",
        "rows, row 2: the response is empty; left out.",
    ]
    assert result["counts"]["without_negative"] == 1


def test_a_method_without_a_teacher_cannot_be_scored():
    with pytest.raises(ValueError, match=r"method='grpo' has no teacher.*Use method='credit'"):
        options(method="grpo")


# Posterior compatibility


def items(completion="w3 w21", choices=(("w20", "w21", "w22"), None), **more):
    row = {"prompt": "w1 w2", "completion": completion, "token_ids": make_tokenizer()(completion)["input_ids"], **more}
    return compatibility(make_model("qwen3").eval(), make_tokenizer(), Rollouts("rows", [row]), lambda _: choices)


def test_gap_is_that_of_full_logits():
    found = items()
    model, ids = make_model("qwen3").eval(), make_tokenizer()("w3 w21")["input_ids"]
    letters = make_tokenizer().convert_tokens_to_ids(["w20", "w21", "w22"])
    p = model_logps(model, "w1 w2", ids)[1].exp()
    teachers = torch.stack(
        [
            model_logps(model, teacher_messages("w1 w2", f"w3 {o}", None, DEFAULT_TEMPLATE), ids)[1].exp()
            for o in ("w20", "w21", "w22")
        ]
    )
    weights = p[letters] / p[letters].sum()
    mixture = (weights[:, None] * teachers).sum(dim=0)
    (item,) = found["items"]
    assert item["gap"] == pytest.approx((p * (p / mixture).log()).sum().item(), abs=1e-5)
    assert item["options_mass"] == pytest.approx(p[letters].sum().item(), abs=1e-6)
    assert item["copies"] == pytest.approx(teachers[range(3), letters].mean().item(), abs=1e-6)
    assert 0 <= item["smallest_gap"] <= item["gap"]
    assert found["problems"] == []


def test_the_task_may_say_where_the_answer_is_decided():
    late, early = items("w21 w3 w21")["items"][0], items("w21 w3 w21", (("w20", "w21"), 0))["items"][0]
    assert late["options_mass"] != early["options_mass"]


@pytest.mark.parametrize(
    ("completion", "choices", "why"),
    [
        ("w3 w4", (("w20", "w21"), None), "the response names no option"),
        ("w3 w21", (("w2", "w1"), None), "the response names no option"),
        ("w3 w21", (("w21", "w21"), None), "fewer than two different options"),
        ("w3 w21", (("w21", "unknown1", "unknown2"), None), "two options begin with the same token"),
        ("w3 w21", (("w20", "w21"), 1), "the response names no option where the task says it is chosen"),
        ("", (("w20", "w21"), None), "the response names no option"),
    ],
)
def test_what_is_no_item_is_said(completion, choices, why):
    found = items(completion, choices)
    assert found["items"] == []
    assert found["problems"] == [f"1 responses are no multiple-choice items here: {why} (first: rows, row 1)."]
    assert set(found["summary"].values()) == {None}


@pytest.mark.parametrize(
    ("text", "options", "answer"),
    [
        ("the answer is 1.5", ["5", "1.5", "2"], 14),
        ("The answer is B. A nice day.", ["A", "B"], 14),
        ("A or B? <answer>A</answer> not B", ["A", "B"], 16),
        ("first A, then B", ["A", "B"], 14),
    ],
)
def test_the_answer_is_the_option_stated_as_it(text, options, answer):
    from credit.diagnostics.choices import _answer

    found = _answer(text, options, None)
    assert found is not None
    assert found.start() == answer


def test_one_long_response_does_not_silence_the_others():
    """Of 256 positions; the long response leaves no room for a teacher, the short one does."""
    rows = [{**ROWS[2], "completion": " ".join(["w12"] * 240)}, {**ROWS[2], "prompt": "w5 w6"}]
    scored = score_rollouts(make_model("qwen3"), make_tokenizer(), Rollouts("rows", rows), options())
    result = diagnose(scored)
    assert result["counts"]["measured"] == result["counts"]["without_teacher"] == 1
    assert "Nothing of it fitted for 1 responses (first: rows, row 1): they have no teacher." in scored.problems


def test_ids_of_another_tokenizer_are_refused():
    rows = Rollouts("rows", [{**ROWS[2], "token_ids": [9999]}])
    with pytest.raises(ValueError, match=r"rows, row 1: token id 9999 is outside the model's vocabulary"):
        score_rollouts(make_model("qwen3"), make_tokenizer(), rows, options())


def test_other_tokens_than_the_text_are_no_item():
    found = items(token_ids=[5, 6])
    assert "the tokens before the answer are not those the tokenizer writes" in found["problems"][0]


def test_rollouts_without_options_say_so():
    assert "No rollout has options" in items(choices=None)["problems"][0]


# What training logs


def test_training_logs_the_same_numbers_as_the_files_give(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=3, credit_log_steps=1, credit_log_rollouts=99, ema_rate=0.5, lam=0.5)
    fit(trainer)
    logs = history(trainer)
    files = read_credit_of_run(tmp_path)
    assert len(files) == len(logs) == 3
    for file, log in zip(files, logs, strict=True):
        responses = diagnose(file)["responses"]
        tokens = sum(r["tokens"] for r in responses)
        assert responses
        expected = {
            "pmi": sum(r["pmi"] for r in responses) / len(responses),
            "r": sum(r["pmi"] for r in responses) / tokens,
            "R": sum(r["R"] for r in responses) / tokens,
            "on_generic_tokens": sum(r["generic_credit"] for r in responses) / sum(r["credit"] for r in responses),
            "generic_tokens": sum(r["generic_tokens"] for r in responses) / tokens,
            "weight_gap": sum(r["weight_gap"] for r in responses) / tokens,
        }
        for name, value in expected.items():
            assert log[f"credit/{name}"] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    gaps = [log["credit/weight_gap"] for log in logs]
    assert gaps[0] == pytest.approx(0.0, abs=1e-6)  # the teacher starts as the student
    assert abs(gaps[2]) > 1e-3


@pytest.mark.parametrize("changes", [{"teacher": "live"}, {"lam": 0.0}], ids=["live", "no_contrast"])
def test_what_does_not_exist_is_never_a_number(tmp_path, changes):
    trainer = make_trainer(tmp_path, max_steps=1, credit_log_steps=1, **changes)
    fit(trainer)
    (log,) = history(trainer)
    absent = {"credit/weight_gap"} if "teacher" in changes else {"credit/on_generic_tokens", "credit/generic_tokens"}
    assert math.isfinite(log["credit/pmi"])
    assert all(log.get(name) is None for name in absent)


def test_diagnostics_do_not_disturb_training(tmp_path):
    logged, silent = (make_trainer(tmp_path / str(n), max_steps=2, credit_log_steps=n) for n in (1, 0))
    fit(logged, silent)
    for a, b in zip(logged.model.parameters(), silent.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_defaults_of_scoring_are_those_of_training():
    chosen = ScoreOptions.of({})
    for name, value in vars(chosen).items():
        assert value == CreditConfig.__dataclass_fields__[name].default


# Through the command line


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnose")
    short = [
        "--max_steps",
        "3",
        "--credit_log_steps",
        "1",
        "--eval_limit",
        "8",
        "--save_steps",
        "3",
        "--eval_samples",
        "1",
    ]
    assert main(["train", "--config", "quickstart", "--output_dir", str(folder / "run"), *short]) == 0
    return folder / "run"


def diagnosed(capsys, *argv: str) -> dict:
    capsys.readouterr()
    assert main(["diagnose", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_is_diagnosed_with_its_own_models(run, capsys, tmp_path):
    result = diagnosed(capsys, str(run), "--out", str(tmp_path / "page"))
    assert [file["file"] for file in result["files"]] == [f"step_{n:06d}.parquet" for n in range(3)]
    assert result["all"]["counts"]["responses"] == 48
    assert result["all"]["summary"]["auroc_answer_r"]["mean"] > 0.6
    assert result["compatibility"]["summary"]["gap"]["mean"] > 0
    assert result["notes"] == [f"Student: {run / 'model'}; teacher weights of checkpoint-3."]
    page = (tmp_path / "page" / "diagnostics.html").read_text()
    assert "48 of 48 responses measured" in page
    assert json.loads((tmp_path / "page" / "diagnostics.json").read_text()) == result


def test_files_alone_are_enough(run, capsys):
    result = diagnosed(capsys, str(run), "--recorded")
    assert result["compatibility"] is None
    assert result["notes"] == []
    whole = diagnosed(capsys, str(run / "credit" / "step_000002.parquet"))
    assert whole["all"]["counts"]["responses"] == 16


def test_scoring_again_with_the_recorded_weights_gives_the_recorded_reward(run, capsys, tmp_path):
    """Step 0: student and teacher are the base model, and solutions were recorded; other negatives may be drawn."""
    file = run / "credit" / "step_000000.parquet"
    argv = [str(file), "--model", "tiny", "--form", "guided", "--out", str(tmp_path)]
    diagnosed(capsys, *argv)
    recorded, again = read_rollouts(file), read_rollouts(tmp_path / "tokens.parquet")
    compared = 0
    for old, new in zip(recorded.rows, again.rows, strict=True):
        assert old["token_ids"] == new["token_ids"]
        if (old["solution"], old["feedback"]) == (new["solution"], new["feedback"]) and old["solution"]:
            assert new["r"] == pytest.approx(old["r"], abs=1e-4)
            compared += 1
    assert compared


def test_rollouts_of_ones_own_with_a_local_model(tmp_path, capsys):
    save_model("olmo3", tmp_path / "model")
    rows = [*({**row, "options": ["w3", "w5"]} for row in ROWS), {**ROWS[2], "completion": ""}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = diagnosed(capsys, str(tmp_path / "rows.jsonl"), "--model", str(tmp_path / "model"), "--lam", "0.3")
    assert result["all"]["counts"]["measured"] == 2
    assert result["files"][0]["problems"] == [
        "rows.jsonl has no token_ids: completions were tokenised again, without an end token.",
        "rows.jsonl, row 4: the response is empty; left out.",
    ]
    assert len(result["compatibility"]["items"]) == 1
    assert main(["diagnose", str(tmp_path / "rows.jsonl"), "--model", str(tmp_path / "model")]) == 0
    shown = capsys.readouterr().out
    assert "the response is empty" in shown
    assert "1 responses without a teacher" in shown


def test_a_task_that_needs_options_grades_rollouts(tmp_path, capsys):
    save_model("qwen3", tmp_path / "model")
    rows = [{"prompt": f"w{n} w{n + 1}\n\nA: w1\nB: w2", "answer": "B"} for n in range(4)]
    written = [*map(json.dumps, rows), '{"prompt": "w1"}']
    for split, part in (("train", written), ("test", written[:1])):
        (tmp_path / f"physics-{split}.jsonl").write_text("\n".join(part) + "\n")
    prompts = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    said = [{"prompt": prompt, "completion": answer} for prompt in prompts for answer in ("B", "w9 w8")]
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    argv = [str(tmp_path / "rollouts.jsonl"), "--model", str(tmp_path / "model"), "--task", "science"]
    argv += ["--task_options", json.dumps({"path": str(tmp_path), "subject": "physics"})]
    assert main(["diagnose", *argv]) == 2
    assert "physics-train.jsonl, row 5: field 'answer' is missing" in capsys.readouterr().err
    result = diagnosed(capsys, *argv, "--skip_bad_rows")
    assert "8 of 8 rollouts were graded by the task, for scores and feedback." in result["notes"]
    assert result["all"]["summary"]["pmi_of_failures"] is not None


def test_options_of_a_runs_task_can_be_changed(run, capsys):
    """With another seed the task has other train rows: it no longer knows which words of the run's answers count."""
    own = diagnosed(capsys, str(run), "--recorded")
    other = diagnosed(capsys, str(run), "--recorded", "--task_options", '{"seed": 5}')
    assert other["all"]["counts"]["without_task_knowledge"] > own["all"]["counts"]["without_task_knowledge"] == 0
    assert main(["diagnose", str(run), "--task_options", '{"sed": 5}']) == 2
    assert "task 'tiny' has no option 'sed'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["none"], "none is neither a run nor a file of rollouts. Check the path."),
        (["--model", "tiny"], "name a run or a file of rollouts first"),
        (["{rows}"], "rows.jsonl holds no token credit (columns r and R). Name a model to score its rollouts"),
        (["{rows}", "--model", "tiny", "--recorded"], "--recorded loads no model, --model asks for one."),
        (["{rows}", "--model", "./none"], "model folder ./none does not exist. Check --model."),
        (["{rows}", "--model", "tiny", "--method", "grpo"], "method='grpo' has no teacher"),
        (["{rows}", "--modle", "tiny"], "unknown option --modle; did you mean 'model'?"),
        (["{rows}", "--model", "tiny", "--temperature", "0"], "temperature=0.0 is not allowed"),
        (
            ["{rows}", "--model", "tiny", "--lam", "-1"],
            "lam=-1.0 is not allowed: a negative one pays",
        ),
        (["{rows}", "--lam", "1"], "--lam changes nothing about recorded credit. Add --model M to score it again."),
        (["{rows}", "--teacher_model", "tiny"], "--teacher_model needs --model"),
        (["{rows}", "--model", "tiny", "--limit", "0"], "--limit 0 leaves nothing. Use at least 1."),
        (["{rows}", "--model", "tiny", "--task_options", "{{}}"], "--task_options is idle: no task reads it."),
        (["{rows}", "--model", "tiny", "--skip_bad_rows"], "--skip_bad_rows is idle: no task reads it."),
        (["{folder}"], "is a folder without a run (no config.yaml). Name a run, or a file of rollouts."),
    ],
)
def test_complaints_are_one_line(tmp_path, capsys, argv, said):
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    assert main(["diagnose", *(a.format(rows=tmp_path / "rows.jsonl", folder=tmp_path) for a in argv)]) == 2
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1
    assert said in err


@pytest.mark.parametrize(("model", "offline"), [("tiny", True), ("somebody/model", False)])
def test_only_the_embedded_model_keeps_the_hub_client_offline(tmp_path, monkeypatch, capsys, model, offline):
    asked = []
    monkeypatch.setattr("credit.cli.diagnose.go_offline_if_embedded", asked.append)
    assert main(["diagnose", str(tmp_path / "none.jsonl"), "--model", model]) == 2
    assert bool(asked) is offline
