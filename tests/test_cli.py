"""The command line, as a person types it: each complaint is one line with the fix; runs leave what they promise."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from credit import CreditConfig
from credit.cli import main
from credit.cli.configs import recall
from local_models import make_rows, save_model, write_rows

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SHORT = {
    "max_steps": 4, "per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 8,
    "use_cpu": True, "bf16": False, "logging_steps": 1, "save_steps": 2, "report_to": "none", "learning_rate": 1e-3,
    "eval_samples": 2, "gradient_checkpointing": False, "gradient_accumulation_steps": 1, "torch_threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    save_model("qwen3", folder / "qwen3")
    save_model("olmo3", folder / "olmo3")
    write_rows(folder / "rows.jsonl")
    (folder / "short.yaml").write_text(yaml.safe_dump(SHORT))
    return folder


def train(place: Path, out: str, *flags: str, family: str = "qwen3", config: str = "short.yaml") -> list[str]:
    return [
        "train", "--config", str(place / config), "--model", str(place / family),
        "--dataset", str(place / "rows.jsonl"), "--output_dir", str(place / out), *flags,
    ]  # fmt: skip


def metrics(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("step_time")} for line in lines]


def complaint(capsys, *argv: str) -> str:
    """Run a command that must fail, and return its single line."""
    assert main(list(argv)) == 2
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1, err
    return err


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
def test_training_on_rows_of_ones_own_leaves_a_complete_run(place, family, capsys):
    out = f"run-{family}"
    assert main(train(place, out, "--credit_log_steps", "2", family=family)) == 0
    run = place / out
    for name in ("config.yaml", "run.json", "metrics.jsonl", "eval.json", "report.html", "model/model.safetensors"):
        assert (run / name).exists(), name
    assert [m["step"] for m in metrics(run)] == [1, 2, 3, 4]
    assert len(list((run / "credit").glob("*.parquet"))) == 2
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["resumed_from"], record["idle_warnings"]) == ("complete", None, [])
    assert (
        record["seconds"].keys() == record["memory"]["host"].keys() == {"setup", "eval_before", "train", "eval_after"}
    )
    assert record["origins"]["model"] == record["origins"]["credit_log_steps"] == "flag"
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(sum(m[f"step_time/{p}"] for p in ("rollouts", "grading", "teachers")) < m["step_time"] for m in logged)
    result = json.loads((run / "eval.json").read_text())
    assert result["before"]["sampled"]["overall"]["n"] == 4
    shown = capsys.readouterr().out
    assert "before" in shown
    assert "report.html" in shown
    assert main(["eval", "--model", str(run / "model"), "--dataset", str(place / "rows.jsonl"), "--eval_samples", "2",
                 "--max_new_tokens", "8", "--out", str(run / "again")]) == 0  # fmt: skip
    again = json.loads((run / "again" / "scores.json").read_text())
    assert again["sampled"] == result["after"]["sampled"]


def test_the_quickstart_trains_the_embedded_world(tmp_path):
    flags = ["--max_steps", "2", "--eval_limit", "16", "--eval_samples", "2", "--save_steps", "1"]
    assert main(["train", "--config", "quickstart", "--output_dir", str(tmp_path / "run"), *flags]) == 0
    result = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert sorted(result["after"]["sampled"]["families"]) == ["code", "facts", "route", "tools"]
    for name in ("reasoning_kept", "boilerplate_leak", "credit_on_answer_tokens", "answer_tokens"):
        assert 0 <= result["before"]["extras"][name] <= 1
    changes = result["changes"]
    assert sum(changes.values()) == 16
    assert len(result["examples"]) == min(6, changes["gained"]) + min(6, changes["lost"])
    assert "Our choice: GRPO + 0.3 of the guided form" in (tmp_path / "run" / "report.html").read_text()


def test_a_base_model_without_chat_template_gets_plain_text(place):
    shutil.copytree(place / "qwen3", place / "base")
    (place / "base" / "chat_template.jinja").unlink()
    assert main([*train(place, "run-base", "--credit_log_steps", "1"), "--model", str(place / "base")]) == 0
    (_, first) = (json.loads(line) for line in (place / "run-base/eval/before.jsonl").read_text().splitlines()[:2])
    assert isinstance(first["prompt"], str)
    flags = ["--dataset", str(place / "rows.jsonl"), "--max_new_tokens", "8", "--eval_samples", "1"]
    assert main(["eval", "--model", str(place / "run-base" / "model"), *flags]) == 0


def test_the_report_holds_a_config_that_resolves_to_the_same_options(place):
    from credit.cli.train import parse_options
    from credit.experiment import Experiment
    from credit.report.options import as_config

    assert main(train(place, "first", "--skip_eval", "--max_steps", "1", "--lr_scheduler_type", "constant")) == 0
    resolved = yaml.safe_load((place / "first" / "config.yaml").read_text())
    origins = json.loads((place / "first" / "run.json").read_text())["origins"]
    (place / "again.yaml").write_text(as_config(resolved, origins))
    options, args = parse_options(["--config", str(place / "again.yaml"), "--output_dir", str(place / "first")])
    assert Experiment(options, args).config() == resolved


def test_one_seed_one_result(place):
    for out in ("twin-a", "twin-b"):
        assert main(train(place, out)) == 0
    assert metrics(place / "twin-a") == metrics(place / "twin-b")
    assert json.loads((place / "twin-a/eval.json").read_text()) == json.loads((place / "twin-b/eval.json").read_text())
    assert main(train(place, "other-seed", "--seed", "7")) == 0
    assert metrics(place / "twin-a") != metrics(place / "other-seed")


def test_resume_recalls_the_command_that_started_the_run(place, capsys):
    assert main(train(place, "recalled", "--skip_eval", "--lam=0.3")) == 0
    expected = metrics(place / "recalled")
    for folder in ("checkpoint-4", "model"):
        shutil.rmtree(place / "recalled" / folder)
    assert main(["train", "--resume", "--output_dir", str(place / "recalled")]) == 0
    assert metrics(place / "recalled") == expected
    assert "holds no run to resume" in complaint(capsys, "train", "--resume", "--output_dir", str(place / "never"))
    capsys.readouterr()
    assert main(["train", "--resume", "--output_dir", str(place / "recalled"), "--lam", "0.7"]) == 2
    assert "with other options (lam: 0.3 -> 0.7)" in capsys.readouterr().err


def test_a_command_that_says_nothing_starts_nothing(capsys):
    assert main([]) == 2
    assert "push" in capsys.readouterr().out  # the commands are listed
    assert "First run: credit train --config quickstart" in complaint(capsys, "train")


def test_what_is_said_again_on_resume_is_one_flag_and_another_value_is_another(tmp_path):
    command = "credit train --lam 0.3 --max_steps 40 --seed 7"
    (tmp_path / "run.json").write_text(json.dumps({"command": command}))
    ends = ["--output_dir", str(tmp_path), "--resume"]
    started = command.split()[2:]
    assert recall([*ends, "--max_steps", "40"]) == [*started, *ends]
    assert recall([*ends, "--max_steps", "7"]) == [*started, "--max_steps", "7", *ends]


def test_slips_that_look_right_are_explained(place, tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"p{i}", "answer": "a"}) + "\n" for i in range(10)))
    assert main(["eval", "--eval_dataset", str(rows)]) == 2
    assert "eval_dataset is idle without dataset: task 'tiny' has its own rows" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("a: 1\n")
    assert main(["eval", "--model", str(tmp_path / "run")]) == 2
    assert f"is the folder of a run. Its trained model is {tmp_path / 'run' / 'model'}" in capsys.readouterr().err
    assert main(["eval", "--dataset", str(rows), "--eval_samples", "1", "--max_new_tokens", "4"]) == 0
    assert "1 rows: the tenth of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "offline"),
    [
        (["--config", "quickstart"], True),
        (["--model", "tiny"], True),
        (["--config", "quickstart", "--model", "some/model"], False),
        (["--config", "{hub}"], False),
    ],
)
def test_only_the_embedded_world_goes_offline(tmp_path, argv, offline):
    """Asked in a fresh process: the hub client reads its mode once, when it is imported."""
    (tmp_path / "hub.yaml").write_text("model: some/model\n")
    argv = [a.format(hub=tmp_path / "hub.yaml") for a in argv]
    code = (
        "import sys; from credit.cli import train; from credit.errors import UserError\n"
        "train.parse_options = lambda argv: (_ for _ in ()).throw(UserError('stop'))\n"
        f"try: train.main({argv!r})\n"
        "except UserError: pass\n"
        "from huggingface_hub import constants; print(constants.HF_HUB_OFFLINE)"
    )
    env = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    env["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split()[-1] == str(offline)


# -- what a person can get wrong


def test_options_config_and_preset_are_checked(place, capsys):
    (place / "typo.yaml").write_text("form: guided\nlamm: 0.2\n")
    error = complaint(capsys, *train(place, "x", config="typo.yaml"))
    assert "unknown key 'lamm' in typo.yaml; did you mean 'lam'?" in error
    assert "unknown option --lamm; did you mean 'lam'?" in complaint(capsys, *train(place, "x", "--lamm", "1"))
    assert "invalid int value: 'many'" in complaint(capsys, *train(place, "x", "--max_steps", "many"))
    (place / "type.yaml").write_text("lam: [a, b]\n")
    assert "lam" in complaint(capsys, *train(place, "x", config="type.yaml"))
    (place / "broken.yaml").write_text("lam: [\n")
    assert "broken.yaml is not valid YAML" in complaint(capsys, *train(place, "x", config="broken.yaml"))
    assert "neither a file nor one of: best, quickstart" in complaint(capsys, "train", "--config", "nope")
    assert "Use one of paper-code, paper-science" in complaint(capsys, *train(place, "x", "--preset", "paper"))
    assert "--form: invalid choice: 'x'" in complaint(capsys, *train(place, "x", "--form", "x"))
    assert not (place / "x").exists()


def test_model_method_and_data_are_checked(place, capsys):
    def failing(*flags: str) -> str:
        return complaint(capsys, *train(place, "x", *flags))

    assert "model folder ./nowhere does not exist. Check --model." in failing("--model", "./nowhere")
    assert "lam=-1.0 is not allowed: a negative one pays" in failing("--lam", "-1")
    assert "at least 5 different prompts in a generation batch" in failing("--num_negatives", "4")
    assert "support_size=500 is larger than the vocabulary" in failing("--support_size", "500")
    assert "does not exist. Check --dataset" in failing("--dataset", "missing.jsonl")
    assert "torch_threads=-1" in failing("--torch_threads", "-1")
    assert "temperature=0" in failing("--eval_temperature", "0")
    assert "unknown. Use one of exact, choice" in failing("--grader", "fuzzy")
    assert "temperature=0.0 is not allowed" in failing("--temperature", "0")
    assert "lam=nan is not allowed" in failing("--lam", "nan")
    assert "or -1 to train by num_train_epochs" in failing("--max_steps", "0")
    assert "report_to='mlflow' needs the package mlflow" in failing("--report_to", "mlflow")
    (place / "empty.jsonl").write_text("")
    assert "empty.jsonl holds no rows" in failing("--dataset", str(place / "empty.jsonl"))
    (place / "latin.jsonl").write_bytes(b'{"prompt": "a", "answer": "b"}\n{"prompt": "\xe9", "answer": "b"}\n')
    assert "latin.jsonl, row 2: not UTF-8 text" in failing("--dataset", str(place / "latin.jsonl"))
    for name in ("config.json", "model.safetensors"):
        (place / "mute").mkdir(exist_ok=True)
        shutil.copy(place / "qwen3" / name, place / "mute" / name)
    assert "has no tokenizer files" in failing("--model", str(place / "mute"))
    assert not (place / "x").exists()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"answer": "w1"}, "row 17: field 'prompt' is missing (found: answer)"),
        ({"prompt": "  ", "answer": "w1"}, "row 17: field 'prompt' is empty"),
        ({"prompt": "w1"}, "row 17: field 'answer' is missing"),
        ({"prompt": "w1", "answer": ["w1"]}, "row 17: field 'answer' is empty or not text"),
        ({"prompt": [{"role": "system", "content": "w1"}], "answer": "w1"}, "row 17: field 'prompt' must be text"),
        ("not json", "row 17: not valid JSON"),
    ],
)
def test_a_bad_row_is_named(place, capsys, row, reason):
    rows = [json.dumps(r) for r in make_rows()]
    rows[16] = row if isinstance(row, str) else json.dumps(row)
    (place / "bad.jsonl").write_text("\n".join(rows))
    error = complaint(capsys, *train(place, "x", "--dataset", str(place / "bad.jsonl")))
    assert f"bad.jsonl, {reason}" in error


def test_a_run_that_fails_says_so(place, monkeypatch):
    from credit.trainer import CreditTrainer

    def broken(self, *args, **options):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(CreditTrainer, "_compute_loss", broken)
    with pytest.raises(RuntimeError, match="no more memory"):
        main(train(place, "failing"))
    assert json.loads((place / "failing" / "eval.json").read_text()).keys() == {"settings", "before"}
    from credit.report import write_report

    page = write_report(place / "failing").read_text()
    assert "no comparison: before training" in page
    assert "RuntimeError: no more memory" in page
    record = json.loads((place / "failing" / "run.json").read_text())
    assert (record["status"], record["error"]) == ("failed", "RuntimeError: no more memory")


def test_a_run_interrupted_after_its_last_step_trains_no_further(place):
    flags = ("--lr_scheduler_type", "constant", "--save_total_limit", "2")
    assert main(train(place, "last", *flags)) == 0
    expected, weights = metrics(place / "last"), (place / "last/model/model.safetensors").read_bytes()
    result = (place / "last/eval.json").read_text()
    shutil.rmtree(place / "last/model")
    (place / "last/eval.json").unlink()
    (place / "last").rename(place / "moved")  # resuming does not care where the folder is
    assert main(["train", "--resume", "--output_dir", str(place / "moved")]) == 0
    assert metrics(place / "moved") == expected
    assert (place / "moved/model/model.safetensors").read_bytes() == weights
    assert (place / "moved/eval.json").read_text() == result


def test_an_output_folder_is_never_taken_by_accident(place, capsys):
    assert main(train(place, "taken", "--skip_eval")) == 0
    before = (place / "taken" / "metrics.jsonl").read_bytes()
    assert "holds another run. Use --resume" in complaint(capsys, *train(place, "taken", "--skip_eval"))
    error = complaint(capsys, *train(place, "taken", "--skip_eval", "--resume", "--lam", "0.3"))
    assert "lam: 0.1 -> 0.3" in error
    assert "exclude each other" in complaint(capsys, *train(place, "taken", "--resume", "--overwrite"))
    assert "holds no run to resume" in complaint(capsys, *train(place, "nothing", "--resume"))
    assert (place / "taken" / "metrics.jsonl").read_bytes() == before
    (place / "foreign").mkdir()
    (place / "foreign" / "thesis.txt").write_text("precious")
    assert "holds no run of this program" in complaint(capsys, *train(place, "foreign", "--overwrite"))
    assert (place / "foreign" / "thesis.txt").read_text() == "precious"
    (place / "taken" / "mine.txt").write_text("kept")
    assert main(train(place, "taken", "--skip_eval", "--overwrite", "--seed", "3")) == 0
    assert (place / "taken" / "mine.txt").read_text() == "kept"
    assert (place / "taken" / "metrics.jsonl").read_bytes() != before


def test_a_preset_typed_by_hand_wins_over_the_file_and_flags_over_both():
    from credit.cli.train import parse_options

    _, plain = parse_options(["--config", "quickstart"])
    assert (plain.form, plain.lam, plain.blend) == ("guided", 1.0, "loss")
    options, args = parse_options(["--config", "quickstart", "--preset", "paper-science", "--lam=0.2"])
    assert (args.form, args.lam, args.blend, args.divergence, args.support_size) == ("paper", 0.2, "none", "jsd", 100)
    assert args.learning_rate == plain.learning_rate
    assert options.note is None


def test_who_set_an_option_is_known(tmp_path):
    from credit.cli.parsing import origins
    from credit.presets import PRESETS

    typed = ["--config", "quickstart", "--preset", "paper-science", "--lam=0.2", "--no-shuffle-dataset"]
    found = origins(typed, PRESETS)
    assert (found["lam"], found["preset"], found["shuffle_dataset"]) == ("flag", "flag", "flag")
    assert found["divergence"] == "preset paper-science"  # also in the file: the preset typed by hand wins
    assert found["learning_rate"] == "config quickstart.yaml"
    assert "note" not in found
    assert "gamma" not in found
    (tmp_path / "mine.yaml").write_text("preset: paper-code\nlam: 0.3\n")
    found = origins(["--config", str(tmp_path / "mine.yaml")], PRESETS)
    assert (found["lam"], found["preset"], found["support_size"]) == (
        "config mine.yaml", "config mine.yaml", "preset paper-code",
    )  # fmt: skip
    assert origins([], PRESETS) == {}


def test_help_is_instant_and_names_every_command():
    started = time.perf_counter()
    out = subprocess.run(
        [sys.executable, "-m", "credit", "--help"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.perf_counter() - started < 1.0
    for command in ("train", "eval", "tasks", "report", "tiny"):
        assert f"    {command} " in out.stdout


@pytest.mark.parametrize("command", ["train", "eval", "tasks", "report", "tiny"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"credit {command}" in capsys.readouterr().out


def test_help_of_train_has_sections_and_help_all_has_every_option(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    short = " ".join(capsys.readouterr().out.split())
    assert "the teacher, and what it is shown: --teacher {live,frozen,ema,trust_region}" in short
    assert "--lam X Coefficient lambda of the input-generic part, >= 0. 0 is plain self-distillation. " in short
    assert "(default: 0.1; source: paper)" in short
    assert "--no_" not in short
    assert "--rlsd_clip" not in short
    with pytest.raises(SystemExit):
        main(["train", "--help-all"])
    everything = capsys.readouterr().out
    assert all(f"--{f.name} " in everything for f in fields(CreditConfig) if f.init)


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
def test_training_and_evaluation_on_coding_problems(place, family, capsys):
    problems = [
        {"prompt": f"w{n} w{n + 1}", "tests": [{"input": "1", "output": str(n)}], "cpu_s": 1, "solution": f"print({n})"}
        for n in range(24)
    ]
    (place / "problems.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    out = place / f"code-{family}"
    source = ["--dataset", str(place / "problems.jsonl"), "--grader", "code"]
    argv = ["train", "--config", str(place / "short.yaml"), "--model", str(place / family), "--output_dir", str(out)]
    assert main([*argv, *source, "--max_steps", "2", "--task_options", '{"reward": "fraction"}']) == 0
    assert metrics(out)[-1]["rewards/code_grade/mean"] == 0.0  # random words hold no program
    assert metrics(out)[-1]["credit/with_feedback"] == 1.0  # and are told so
    capsys.readouterr()
    argv = ["eval", "--model", str(out / "model"), *source, "--eval_samples", "2", "--max_new_tokens", "4"]
    assert main([*argv, "--out", str(out / "scores")]) == 0
    assert json.loads((out / "scores" / "scores.json").read_text())["pass_at_k"]["mean"] == 0.0


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
@pytest.mark.parametrize("task", ["science", "tooluse"])
def test_training_and_evaluation_on_science_and_tool_use(place, family, task, capsys):
    call = json.dumps([{"Action": "w1", "Action_Input": '{"w2": 3}'}])
    rows = {
        "science": [{"prompt": f"w{n} w{n + 1}\n\nA: w1\nB: w2", "answer": "AB"[n % 2]} for n in range(24)],
        "tooluse": [{"prompt": f"w1: w2\nParameters: {{}}\nw{n}", "answer": call, "system": None} for n in range(24)],
    }[task]
    folder = place / f"{task}-{family}-rows"
    folder.mkdir()
    for split, part in (("train", [*rows[:20], {"prompt": "w1"}]), ("test", rows[20:])):
        (folder / f"physics-{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    path = (
        {"path": str(folder), "subject": "physics"} if task == "science" else {"path": f"{folder}/physics-train.jsonl"}
    )
    source = ["--task", task, "--task_options", json.dumps(path), "--skip_bad_rows"]
    out = place / f"{task}-{family}"
    argv = ["train", "--config", str(place / "short.yaml"), "--model", str(place / family), "--output_dir", str(out)]
    assert "field 'answer' is missing" in complaint(capsys, *argv, *source[:-1])
    assert main([*argv, *source, "--max_steps", "2"]) == 0
    said = capsys.readouterr().out
    assert "1 bad row left out:" in said
    assert "physics-train.jsonl, row 21: field 'answer' is missing (found: prompt)." in said.replace("\n", "")
    assert json.loads((out / "run.json").read_text())["bad_rows"] == 1
    assert metrics(out)[-1][f"rewards/{task}_grade/mean"] == 0.0  # random words name no option and no tool
    assert metrics(out)[-1]["credit/with_feedback"] == 1.0  # and are told so
    argv = ["eval", "--model", str(out / "model"), *source, "--eval_samples", "2", "--max_new_tokens", "4"]
    assert main([*argv, "--out", str(out / "scores")]) == 0
    assert "1 bad row left out:" in capsys.readouterr().out
    assert json.loads((out / "scores" / "scores.json").read_text())["pass_at_k"]["mean"] == 0.0
    assert main(["tasks", "validate", *source[1:]]) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--task_options", "{"], "task_options is not JSON"),
        (["--task_options", "[1]"], "task_options is a list, not an object"),
        (["--task_options", '{"sed": 1}'], "task 'tiny' has no option 'sed'. Use some of seed, families."),
        (["--dataset", "ROWS", "--task_options", '{"seed": 1}'], "task_options are idle with grader='exact'"),
        (["--dataset", "ROWS", "--grader", "code"], "rows.jsonl, row 1: field 'tests' is missing"),
    ],
)
def test_task_options_are_checked_before_anything_runs(place, capsys, tmp_path, flags, said):
    flags = [str(place / "rows.jsonl") if flag == "ROWS" else flag for flag in flags]
    assert said in complaint(capsys, "train", "--config", "quickstart", "--output_dir", str(tmp_path / "run"), *flags)
