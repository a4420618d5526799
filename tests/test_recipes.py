"""Every recipe, setting and model through `credit train --dry-run`, on made-up rows in the benchmarks' formats."""

import json
import math
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from credit.batches import batches
from credit.cli import main
from credit.cli.configs import layers, read_config, split_flags
from credit.cli.parsing import origins
from credit.cli.train import parse_options
from credit.presets import PRESETS
from local_models import fit, make_dataset, make_trainer, save_model, write_rows

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

RECIPES = Path(__file__).parents[1] / "recipes"
BENCHMARKS, SETTINGS = ("sciknoweval", "tooluse", "livecodebench"), ("paper", "sdpo", "grpo", "best")
MODELS = ("Qwen/Qwen3-8B", "allenai/Olmo-3-7B-Instruct")
TOOLS = 'Name: Pond\nDocumentation:\nfindFrog: Find frogs.\nParameters: {"color": "string."}\n\nQuestion: '


def science_row(i: int) -> dict:
    return {"prompt": f"What is {i} + 1?\n\nA: {i}\nB: {i + 1}\nC: 0.5\nD: -1", "answer": "B", "system": "Choose."}


def tool_row(i: int) -> dict:
    answer = json.dumps([{"Action": "findFrog", "Action_Input": json.dumps({"color": f"shade {i}"})}])
    return {"prompt": f"{TOOLS}A frog of shade {i}?", "answer": answer}


def problem_row(i: int) -> dict:
    tests = json.dumps([{"input": "1\n", "output": f"{i}\n", "testtype": "stdin"}])
    return {
        "question_id": str(i), "question_content": f"Print {i}.", "contest_date": "2025-03-01T00:00:00",
        "difficulty": "easy", "starter_code": "", "metadata": "{}", "public_test_cases": tests,
        "private_test_cases": tests,
    }  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One folder per benchmark, with 40 training rows, and the task options that name it."""
    root = tmp_path_factory.mktemp("rows")
    for name in BENCHMARKS:
        (root / name).mkdir()
    for start, count, split in ((0, 40, "train"), (40, 4, "test")):
        numbers = range(start, start + count)
        write_rows(root / "sciknoweval" / f"chemistry-{split}.jsonl", [science_row(i) for i in numbers])
        write_rows(root / "tooluse" / f"{split}.jsonl", [tool_row(i) for i in numbers])
    write_rows(root / "livecodebench" / "test6.jsonl", [problem_row(i) for i in range(40)])
    return root


def command(data: Path, benchmark: str, setting: str, model: str = MODELS[0], *flags: str) -> list[str]:
    more = {"sciknoweval": {"subject": "chemistry"}, "livecodebench": {"protocol": "same"}}.get(benchmark, {})
    options = json.dumps({"path": str(data / benchmark), **more})
    config = str(RECIPES / benchmark / f"{setting}.yaml")
    return ["train", "--config", config, "--model", model, "--task_options", options,
            "--output_dir", str(data / "run"), "--dry-run", *flags]  # fmt: skip


def refusal(capsys, argv: list[str]) -> str:
    """Run a dry run that must not be fine, and return its single line."""
    assert main(argv) == 1
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1, err
    return err


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_recipe_passes_its_dry_run(data, capsys, benchmark, setting, model):
    assert main(command(data, benchmark, setting, model)) == 0
    shown = capsys.readouterr().out
    assert "32 prompts x 8 rollouts = 256 rollouts" in shown
    assert "tokenizer not at hand" in shown
    assert model in shown
    assert "train: 40 rows" in shown
    assert ("1 teacher" in shown) == (setting != "grpo")
    assert ("1 contrast" in shown) == (setting in ("paper", "best"))
    steps = {"livecodebench": 4 * 30, "sciknoweval": 3, "tooluse": 3}[benchmark]
    assert f"{steps} in all" in shown
    assert not (data / "run").exists()


@cache
def resolved(benchmark: str, setting: str):
    return parse_options(["--config", str(RECIPES / benchmark / f"{setting}.yaml"), "--output_dir", "run"])


def test_every_setting_resolves_to_another_run():
    from credit.experiment import Experiment

    found = [Experiment(*resolved(b, s), command=[]).config() for b in BENCHMARKS for s in SETTINGS]
    for config in found:
        for name in ("preset", "note"):
            del config[name]
    assert len({json.dumps(config, sort_keys=True) for config in found}) == len(found)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_numbers_are_those_of_the_presets_and_of_the_one_file_that_holds_our_best(benchmark):
    kind = "code" if benchmark == "livecodebench" else "science"
    for setting, wanted in {
        "paper": PRESETS[f"paper-{kind}"], "sdpo": PRESETS[f"sdpo-{kind}"], "grpo": PRESETS["grpo"],
        "best": read_config("best")[1],
    }.items():  # fmt: skip
        args = resolved(benchmark, setting)[1]
        assert {name: getattr(args, name) for name in wanted} == wanted
    quickstart = parse_options(["--config", "quickstart"])[1]
    assert {name: getattr(quickstart, name) for name in read_config("best")[1]} == read_config("best")[1]


def test_no_recipe_says_again_what_lies_below_it():
    for file in RECIPES.glob("*/*.yaml"):
        *below, (_, own) = layers(str(file))
        known = {**{k: v for _, content in below for k, v in content.items()}}
        known = {**PRESETS.get({**known, **own}.get("preset", ""), {}), **known}
        assert {name for name, value in own.items() if name in known and known[name] == value} == set(), file


def test_the_commands_of_every_readme_parse():
    seen = 0
    for readme in RECIPES.glob("**/README.md"):
        text = readme.read_text().replace("\\\n", " ")
        for line in re.findall(r"^credit train (--config .+)$", text, flags=re.MULTILINE):
            flags = shlex.split(line, comments=True)
            at = flags.index("--config") + 1
            flags[at] = str(RECIPES.parent / flags[at])
            options, _ = parse_options(split_flags(flags))
            assert options.model in MODELS
            seen += 1
    assert seen >= len(BENCHMARKS)


def test_who_set_an_option_is_the_file_that_holds_it():
    found = origins(["--config", str(RECIPES / "tooluse" / "best.yaml"), "--seed", "1"], PRESETS)
    assert (found["seed"], found["form"], found["task"]) == ("flag", "config best.yaml", "config base.yaml")
    assert found["learning_rate"] == "config common.yaml"


def test_a_file_that_is_its_own_foundation_is_refused(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("config: b.yaml\n")
    (tmp_path / "b.yaml").write_text("config: a.yaml\n")
    assert "a foundation of itself" in refusal(capsys, ["train", "--config", str(tmp_path / "a.yaml"), "--dry-run"])
    (tmp_path / "b.yaml").write_text("config: gone.yaml\n")
    assert "'gone.yaml'" in refusal(capsys, ["train", "--config", str(tmp_path / "a.yaml"), "--dry-run"])


BROKEN = {
    "sciknoweval": ("chemistry-train.jsonl", {**science_row(0), "answer": "Z"}, "'answer'", "none of the options"),
    "tooluse": ("train.jsonl", {**tool_row(0), "answer": "[]"}, "'answer'", "must be a list of calls"),
    "livecodebench": ("test6.jsonl", {**problem_row(0), "contest_date": "spring"}, "'contest_date'", "YYYY-MM-DD"),
}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_broken_column_is_named(data, tmp_path, capsys, benchmark):
    name, row, *said = BROKEN[benchmark]
    (tmp_path / benchmark).mkdir()
    for file in (data / benchmark).iterdir():
        (tmp_path / benchmark / file.name).write_text(file.read_text())
    with (tmp_path / benchmark / name).open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    err = refusal(capsys, command(tmp_path, benchmark, "paper"))
    assert all(part in err for part in (name, "row 41", *said)), err


REFUSED = {
    "one prompt in a batch": (["--generation_batch_size", "8"], "at least 2 different prompts"),
    "more prompts than rows": (["--train_limit", "20"], "the training set holds 20 rows"),
    "negative lambda": (["--lam", "-1"], "lam=-1.0 is not allowed"),
    "steps that split a save": (["--save_steps", "7", "--gradient_accumulation_steps", "8"], "save_steps=7"),
    "another process's options": (["--resume"], "holds no run to resume"),
    "a model folder that is not there": (["--model", "./gone"], "does not exist"),
    "idle tools": (["--max_tool_calling_iterations", "2"], "max_tool_calling_iterations is idle"),
    "an unknown option": (["--lamb", "1"], "unknown option"),
}


@pytest.mark.parametrize(("flags", "reason"), REFUSED.values(), ids=REFUSED)
def test_degenerate_settings_are_refused_in_a_dry_run_as_at_a_start(data, capsys, flags, reason):
    argv = command(data, "sciknoweval", "paper", MODELS[0], *flags)
    err = refusal(capsys, argv)
    assert reason in err
    if flags[0] != "--max_tool_calling_iterations":  # a start says it after loading the model
        argv.remove("--dry-run")
        assert main(argv) == 2
        assert capsys.readouterr().err.strip() == err


def test_a_model_at_hand_gives_lengths_and_is_refused_by_its_shape(data, tmp_path, capsys):
    model = str(save_model("qwen3", tmp_path / "model"))
    assert main(command(data, "sciknoweval", "grpo", model)) == 0
    shown = capsys.readouterr().out
    assert re.search(r"prompt lengths: median [\d.]+, longest \d+ tokens", shown)
    assert "billion parameters" in shown
    (tmp_path / "model" / "model.safetensors").write_text("not weights")
    assert "support_size=500 is larger" in refusal(
        capsys, command(data, "sciknoweval", "paper", model, "--support_size", "500")
    )


def test_a_wrong_right_answer_fails_the_dry_run(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "liar.py").write_text(
        "from credit.tasks import Grade\nclass Liar:\n    name = 'liar'\n"
        "    def rows(self, split, limit=None):\n"
        "        return [{'prompt': f'p {i}', 'id': f'r{i}'} for i in range(8)][:limit]\n"
        "    def grade(self, row, completion):\n"
        "        return Grade(float(row['id'] != 'r3'), 'no', 'wrong_answer')\n"
        "    def gold(self, row):\n        return 'right'\n"
    )
    argv = ["train", "--task", "liar:Liar", "--model", MODELS[0], "--dry-run", "--skip_eval"]
    err = refusal(capsys, [*argv, "--output_dir", str(tmp_path / "run"), "--report_to", "none"])
    assert "train, r3: its right answer scored 0" in err


@pytest.mark.parametrize(
    "options",
    [
        {"num_train_epochs": 1},
        {"num_train_epochs": 1, "gradient_accumulation_steps": 1, "steps_per_generation": 2},
        {"num_train_epochs": 0.5, "gradient_accumulation_steps": 4, "steps_per_generation": 1},
        {"num_train_epochs": 1, "num_iterations": 2},
    ],
)
def test_the_arithmetic_is_what_training_does(tmp_path, options):
    """40 prompts, 4 to 8 in a generation batch: the steps that were counted are the steps that were taken."""
    trainer = make_trainer(tmp_path, max_steps=-1, method="grpo", max_completion_length=2, **options)
    counted = batches(trainer.args, make_dataset()["prompt"])
    fit(trainer)
    assert trainer.state.global_step == counted.steps
    assert counted.batches_per_epoch * counted.prompts + counted.left_out == 40
    assert math.isclose(counted.rollouts, counted.rollouts_per_step * counted.steps_per_batch / trainer.num_iterations)
