"""Tasks that hold conversations, from the command line: the embedded walk, and environments of people's own."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from byte_models import byte_tokenizer, save_byte_model
from credit.cli import main
from credit.conversations import converse, equip
from credit.evaluate import read_records
from credit.tasks import check_task, get_task, validate
from credit.tiny.walk import WalkTask
from local_models import save_model
from multi_turn import Lookup

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:You are using 'environment_factory':UserWarning"),
]

TASK = WalkTask()


class Killed(Exception):
    pass


def small(folder, *flags, steps=4):
    return [
        "train", "--config", "quickstart", "--task", "tiny-walk", "--max_tool_calling_iterations", "2", "--output_dir",
        str(folder), "--max_steps", str(steps), "--save_steps", "1", "--eval_limit", "6", "--eval_samples", "2",
        "--per_device_train_batch_size", "16", "--credit_log_steps", "1", *flags,
    ]  # fmt: skip


def complaint(capsys, *argv):
    capsys.readouterr()
    assert main(list(argv)) == 2
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1, err
    return err


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("step_time")} for line in lines]


def test_a_run_of_conversations_leaves_everything_and_resumes_to_the_same_numbers(tmp_path, monkeypatch, capsys):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(small(whole)) == 0
    before = [json.loads(line) for line in (whole / "eval" / "before.jsonl").read_text().splitlines()]
    assert all("[result of answer]" in record["greedy"] for record in before)
    result = json.loads((whole / "eval.json").read_text())
    assert result["settings"]["max_tool_calling_iterations"] == 2
    assert 0 < result["before"]["extras"]["first_try"] < 1
    assert "[result of answer]" in (whole / "report.html").read_text()
    assert metrics(whole)[0]["tools/call_frequency"] > 1

    from credit.trainer import CreditTrainer

    step = CreditTrainer.training_step

    def dying(self, *args, **kwargs):
        if self.state.global_step == 2:
            raise Killed
        return step(self, *args, **kwargs)

    monkeypatch.setattr(CreditTrainer, "training_step", dying)
    with pytest.raises(Killed):
        main(small(killed))
    monkeypatch.setattr(CreditTrainer, "training_step", step)
    calls = []

    def dying_later(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return converse(*args, **kwargs)

    monkeypatch.setattr("credit.conversations.converse", dying_later)
    with pytest.raises(Killed):
        main(small(killed, "--resume"))
    assert (killed / "eval" / "after-sampled" / "sampled.pt").exists()
    assert main(small(killed, "--resume")) == 0
    assert metrics(killed) == metrics(whole)
    assert json.loads((killed / "eval.json").read_text()) == result

    argv = ["eval", "--model", str(killed / "model"), "--task", "tiny-walk", "--eval_limit", "6", "--eval_samples", "2"]
    argv += ["--max_new_tokens", "64", "--max_tool_calling_iterations", "2", "--out", str(tmp_path / "scores")]
    assert main(argv) == 0
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert scores["sampled"] == result["after"]["sampled"]
    assert "[call] answer" in (tmp_path / "scores" / "answers.jsonl").read_text()

    capsys.readouterr()
    assert main(["diagnose", str(whole), "--model", "tiny", "--limit", "4", "--json"]) == 0
    diagnosis = json.loads(capsys.readouterr().out)
    assert diagnosis["all"]["counts"]["measured"] > 0
    assert not [p for file in diagnosis["files"] for p in file["problems"] if "no tools are described" in p]


OWN = """
from multi_turn import RESPONSE_TEMPLATE, TOOL_TEMPLATE, Lookup

class Look:
    "Look a word up."
    name = "look"
    environment = Lookup
    def rows(self, split, limit=None):
        at = {"train": 0, "test": 24}[split]
        rows = [{"prompt": [{"role": "system", "content": "w7 w8"}, {"role": "user", "content": f"w{n} w{n + 1}"}],
                 "word": f"w{n}"} for n in range(at, at + 8)]
        return rows[:limit]
    def prepare(self, tokenizer):
        tokenizer.chat_template, tokenizer.response_template = TOOL_TEMPLATE, RESPONSE_TEMPLATE
    def gold_calls(self, row):
        return [("look", {"word": row["word"]})]

class Plain(Look):
    def prepare(self, tokenizer): pass
class NoAnswers(Look):
    gold_calls = None
class Unread(Look):
    def prepare(self, tokenizer): tokenizer.chat_template = TOOL_TEMPLATE
class Texts(Look):
    def rows(self, split, limit=None): return [{"prompt": f"w{i}"} for i in range(8)]
class Both(Look):
    def grade(self, row, completion): return 1.0
class Instance(Look):
    environment = Lookup()
class Arguments(Look):
    class environment(Lookup):
        def __init__(self, seed): pass
class NoReset(Look):
    class environment:
        def look(self, word): pass
        def get_reward(self): return 1.0
class NoReward(Look):
    class environment:
        def reset(self, **row): pass
        def look(self, word): pass
class NoTools(Look):
    class environment:
        def reset(self, **row): pass
        def get_reward(self): return 1.0
class Async(Look):
    class environment(Lookup):
        async def wait(self): pass
class Undescribed(Look):
    class environment(Lookup):
        def guess(self, word): return word
class Narrow(Look):
    class environment(Lookup):
        def reset(self, word): pass
class NoNumber(Look):
    class environment(Lookup):
        def get_reward(self): return None
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "owntask.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("owntask", None)
    short = {
        "max_steps": 2, "per_device_train_batch_size": 8, "num_generations": 2, "max_completion_length": 16,
        "use_cpu": True, "bf16": False, "logging_steps": 1, "report_to": "none", "eval_samples": 2, "torch_threads": 1,
        "gradient_checkpointing": False, "gradient_accumulation_steps": 1, "max_tool_calling_iterations": 2,
    }  # fmt: skip
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(short))
    return tmp_path


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
def test_an_environment_of_ones_own_with_a_local_model(own, family, capsys):
    save_model(family, own / family)
    argv = ["train", "--config", "short.yaml", "--model", family, "--task", "owntask:Look", "--output_dir", "run"]
    assert main(argv) == 0
    assert metrics(own / "run")[-1]["rewards/Lookup/mean"] <= 1
    assert "tools/call_frequency" in metrics(own / "run")[-1]
    argv = ["eval", "--model", "run/model", "--task", "owntask:Look", "--eval_samples", "2", "--max_new_tokens", "16"]
    assert main([*argv, "--out", "scores"]) == 0
    record = json.loads((own / "scores" / "answers.jsonl").read_text().splitlines()[0])
    assert record["prompt"][0] == {"role": "system", "content": "w7 w8"}
    capsys.readouterr()
    assert main(["tasks", "show", "owntask:Look"]) == 0
    assert "holds conversations; tools: look" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Plain", "the chat template of this tokenizer cannot write tool calls"),
        ("Unread", "TRL does not know how this chat template writes them"),
        ("Texts", "row 1: field 'prompt' is text; conversations need a list of messages."),
        ("Both", "its environment has get_reward, and the task has grade: only one can score."),
        ("Instance", "its environment is no class. Write environment = YourClass"),
        ("Arguments", "its environment cannot be made without arguments"),
        ("NoReset", "its environment has no method reset."),
        ("NoReward", "its environment has no method get_reward."),
        ("NoTools", "its environment has no tool, so it never hears the model."),
        ("Async", "wait is async, which an evaluation cannot run."),
        ("Undescribed", "tool guess cannot be described to the model"),
        ("Narrow", "reset must take every field of a row"),
    ],
)
def test_what_cannot_hold_a_conversation_is_named_before_anything_runs(own, capsys, name, said):
    save_model("qwen3", own / "qwen3")
    argv = ["train", "--config", "short.yaml", "--model", "qwen3", "--task", f"owntask:{name}", "--output_dir", "run"]
    assert said in complaint(capsys, *argv)
    assert not (own / "run").exists()


def test_the_example_of_the_docs_holds_conversations(own, capsys):
    page = (Path(__file__).parents[1] / "docs" / "multiturn.md").read_text()
    (own / "guess.py").write_text(re.search(r"```python\n(# guess\.py\n.*?)```", page, flags=re.DOTALL)[1])
    sys.modules.pop("guess", None)
    assert main(["tasks", "validate", "guess:Guess"]) == 0
    said = capsys.readouterr().out
    assert "guess train: 50 of 50" in said
    assert "guess test: 10 of 10" in said
    task = get_task("guess:Guess")
    equip(task, byte_tokenizer(), task.rows("train"))
    game = task.environment()
    game.reset(**task.rows("test", 1)[0])
    assert [game.guess(n) for n in (0, 2)] == ["too small", "too large"]
    assert (game.get_reward(), game.feedback) == (0.0, "not found in 2 tries")


def test_options_of_conversations_are_checked(own, capsys, tmp_path):
    argv = ["eval", "--task", "tiny", "--eval_limit", "1", "--max_tool_calling_iterations", "2"]
    assert "max_tool_calling_iterations is idle: task 'tiny' has no environment" in complaint(capsys, *argv)
    argv = small(tmp_path / "run", "--max_tool_calling_iterations", "0")
    assert "max_tool_calling_iterations=0 runs no tool." in complaint(capsys, *argv)


def test_right_calls_are_made(own, capsys):
    assert main(["tasks", "validate", "tiny-walk", "--limit", "40"]) == 0
    assert "tiny-walk train: 40 of 40 right answers get the full score" in capsys.readouterr().out
    Lookup.made = 0  # every second instance is content; two are made before the first row is played
    assert main(["tasks", "validate", "owntask:Look", "--split", "test", "--limit", "2"]) == 1
    said = capsys.readouterr().out
    assert "look test: 1 of 2 right answers get the full score" in said
    assert "row 1: its right calls scored 0: missing w3" in said
    assert main(["tasks", "validate", "owntask:NoAnswers"]) == 1
    assert "no row has a right answer" in capsys.readouterr().out
    assert main(["tasks", "validate", "owntask:NoNumber", "--limit", "1"]) == 1
    assert "get_reward raised ValueError: environment.get_reward returned None" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([("run", {})], "its right calls name a tool 'run', which the environment has not"),
        ([("go", {"words": "s1"})], "its right call go raised ValueError: write a place"),
        ([("go", {"word": "s1"})], "its right call go raised TypeError"),
        ([("answer", {"words": "s0"}), ("answer", {"words": "s1"})], "its right calls scored 0"),
    ],
)
def test_wrong_right_calls_are_listed(calls, why):
    class Task(WalkTask):
        def gold_calls(self, row):
            return calls

    row = next(row for row in TASK.rows("train") if row["answer"] not in ("s0", "s1"))
    assert why in validate(Task(), [row]).failures[0][1]
    check_task(get_task("tiny-walk", seed=1), "tiny-walk")


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
def test_the_walk_with_a_model_that_reads_any_text(own, family):
    save_byte_model(family, own / family)
    argv = ["train", "--config", "short.yaml", "--model", family, "--task", "tiny-walk", "--output_dir", "run"]
    argv += ["--chat_template_kwargs", '{"enable_thinking": false}', "--eval_limit", "2", "--max_steps", "1"]
    assert main([*argv, "--train_limit", "8"]) == 0
    assert metrics(own / "run")[0]["rewards/RouteWalk/mean"] == 0.0  # random bytes call nothing
    assert metrics(own / "run")[0]["credit/with_feedback"] == 1.0  # and are told so
    argv = ["eval", "--model", "run/model", "--task", "tiny-walk", "--eval_limit", "2", "--eval_samples", "2"]
    argv += ["--max_new_tokens", "16", "--max_tool_calling_iterations", "2", "--seed", "42", "--out", "scores"]
    assert main([*argv, "--chat_template_kwargs", '{"enable_thinking": false}']) == 0
    assert read_records(own / "scores" / "answers.jsonl") == read_records(own / "run" / "eval" / "after.jsonl")
