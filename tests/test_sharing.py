"""Sharing a run: what its card says, what is sent, what stays; against a hub in this process."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from credit.cli import main
from credit.cli.configs import asks_for_push
from credit.methods import METHODS
from credit.presets import PRESETS
from credit.report.text import show
from credit.sharing import push as sharing
from credit.sharing.card import NOT_MEASURED, hub_id, model_card
from credit.sharing.citations import PAPERS, papers
from credit.sharing.push import card_of, model_files, run_files
from credit.sharing.redact import redacted
from fake_hub import FakeHub
from local_models import make_config, make_model, make_tokenizer, make_trainer, save_model, write_rows
from report_runs import HOSTILE, Page, evaluation, write_run

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"
MODEL = {"chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
         "tokenizer_config.json", "README.md"}  # fmt: skip
EVIDENCE = {f"credit/{name}" for name in ("config.yaml", "metrics.jsonl", "eval.json", "report.html")}
SHORT = {
    "max_steps": 2, "per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 8,
    "use_cpu": True, "bf16": False, "logging_steps": 1, "save_steps": 1, "report_to": "none", "eval_samples": 2,
    "gradient_checkpointing": False, "gradient_accumulation_steps": 1, "torch_threads": 1, "credit_log_steps": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def hub():
    with FakeHub() as hub:
        yield hub


@pytest.fixture(scope="module")
def run(tmp_path_factory, hub):
    """A run of rows and a model of this machine, pushed at its end, with a token on the command line."""
    place = tmp_path_factory.mktemp("secret-place")
    save_model("qwen3", place / "base")
    write_rows(place / "rows.jsonl")
    (place / "short.yaml").write_text(yaml.safe_dump(SHORT))
    done = hub.run(
        "-m", "credit", "train", "--config", str(place / "short.yaml"), "--model", str(place / "base"), "--dataset",
        str(place / "rows.jsonl"), "--output_dir", str(place / "run"), "--push_to_hub", "--hub_model_id", "me/mine",
        "--hub_token", TOKEN,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "sent:" in done.stdout
    return place / "run"


def checked(card: ModelCard) -> str:
    """What the hub would look at without being asked, and what no card may say; return the text."""
    text = str(card)
    read = ModelCard(text)  # front matter is found and parsed
    assert read.data.to_dict() == card.data.to_dict()
    for value in [read.data.library_name, read.data.pipeline_tag, *read.data.tags]:
        assert isinstance(value, str)
        assert value
    assert "None" not in text
    assert "{'" not in text
    assert text.count("```") % 2 == 0
    return text


# -- the card


def test_a_card_says_what_the_files_of_the_run_say(run):
    text = checked(ModelCard.load(run / "model" / "README.md"))
    assert text.startswith("---\nlibrary_name: transformers\n")
    assert "# mine\n" in text
    assert METHODS["credit"].summary in text
    assert "- **credit**: R = r − λG, λ = 0.1, contrasted with 1 x'" in text
    assert "- **teacher**: ema (rate 0.01)" in text
    assert "- **base model**: `base` (of the author's machine)" in text
    assert "- **data**: `rows.jsonl` (of the author's machine), training split" in text
    assert "- **seed**: 42" in text
    assert "- **steps taken**: 2" in text
    result = json.loads((run / "eval.json").read_text())
    for side in ("before", "after"):
        found = result[side]["sampled"]["overall"]
        assert f"{show(found['mean'])} [{show(found['low'])}, {show(found['high'])}]" in text
    held = ModelCard(text).data.eval_results
    assert [r.metric_value for r in held] == [
        result["after"][kind]["overall"]["mean"] for kind in ("sampled", "greedy")
    ]
    assert {r.dataset_split for r in held} == {"test"}
    versions = json.loads((run / "run.json").read_text())["versions"]
    assert ", ".join(f"{name} {number}" for name, number in versions.items()) in text
    assert "credit train --config short.yaml --model base --dataset rows.jsonl --output_dir run\n" in text
    assert not (run / "README.md").exists()  # nor TRL's


def test_a_command_for_others_holds_nothing_of_the_authors_folder_and_account(run):
    text = (run / "model" / "README.md").read_text()
    assert not re.search(r"overwrite|push_to_hub|hub_model_id|hub_token|me/mine", text)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_method_has_a_card_and_its_citations(tmp_path, preset):
    demonstrated = {"demonstration_column": "answer"} if METHODS[PRESETS[preset]["method"]].demonstrations else {}
    args = make_config(tmp_path, **{"num_generations": 8, **PRESETS[preset], **demonstrated})
    rule = METHODS[args.method]
    text = checked(model_card(args.to_dict(), {}, {}, "m"))
    assert rule.summary in text
    assert NOT_MEASURED in text
    own = re.search(r"\d{4}\.\d{5}", rule.source)
    assert own
    expected = {own[0], *({"2601.20802"} if rule.needs_teacher else ()), *({"2402.03300"} if rule.uses_group else ()),
                *({"2503.20783"} if preset == "dr-grpo" else ())}  # fmt: skip
    cited = re.findall(r"eprint = \{([\d.]+)\}", text)
    assert cited[0] == own[0]
    assert set(cited) == expected
    assert "@software{trl2020" in text
    assert ("drawn by a rule of this project" in text) == (args.method == "credit")


def test_papers_follow_what_is_used():
    assert papers({"method": "credit", "blend": "loss"}) == ["2605.11613", "2601.20802", "2402.03300"]
    assert papers({"method": "sdpo", "blend": "none", "loss_type": "dr_grpo"}) == ["2601.20802"]
    assert papers({"method": "mine:RULE", "blend": "none"}) == ["2601.20802"]
    known = {number for rule in METHODS.values() for number in re.findall(r"\d{4}\.\d{5}", rule.source)}
    assert known <= PAPERS.keys()


def test_a_method_of_ones_own_is_called_so():
    text = checked(model_card({"method": "package.mine:RULE", "blend": "none"}, {}, {}, "m"))
    assert "`package.mine:RULE`, a method of its author's own" in text
    assert ModelCard(text).data.tags == ["trl", "credit", "RULE"]


def test_only_what_lies_on_the_hub_is_linked():
    run = {"model": "Qwen/Qwen3-0.6B", "dataset": "someone/rows"}
    data = model_card({"method": "grpo"}, {**run, "local": []}, evaluation(), "m").data
    assert (data.base_model, data.datasets) == ("Qwen/Qwen3-0.6B", ["someone/rows"])
    assert data.eval_results[0].dataset_type == "someone/rows"
    assert hub_id({**run, "local": ["model"]}, "model") is None
    assert hub_id(run, "model") is None  # a run of before this was recorded
    assert hub_id({"model": "a b", "local": []}, "model") is None


def test_hostile_texts_and_missing_files_leave_a_card(tmp_path):
    write_run(tmp_path / "odd", run={"model": HOSTILE, "status": "failed", "versions": None, "origins": 3}, eval=None)
    text = checked(card_of(tmp_path / "odd"))
    assert NOT_MEASURED in text
    assert "did not finish** (status: failed)" in text
    assert "a method that was not recorded" in checked(model_card({}, {}, {}, "m"))


def test_the_project_is_linked_where_its_package_says_where_it_lives(monkeypatch):
    assert "docs/evidence.md of credit-distill" in str(model_card({"method": "grpo"}, {}, {}, "m"))
    monkeypatch.setattr("credit.sharing.card.project_url", lambda: "https://host.example/project")
    text = str(model_card({"method": "grpo"}, {}, {}, "m"))
    assert "[docs/evidence.md](https://host.example/project/blob/main/docs/evidence.md)" in text


# -- the trainer in a script


def test_a_trainer_in_a_script_writes_an_honest_card(tmp_path):
    trainer = make_trainer(tmp_path / "out", max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    text = checked(ModelCard.load(tmp_path / "out" / "README.md"))
    assert "- **steps taken**: 1" in text
    assert NOT_MEASURED in text
    assert "- **base model**: not recorded" in text
    assert "- **preset**: not recorded" in text
    assert "No command was recorded" in text
    assert str(tmp_path) not in text
    trainer.create_model_card(dataset_name="someone/rows", tags="mine")
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert (data.datasets, data.tags) == (["someone/rows"], ["trl", "credit", "mine"])


def test_an_adapter_says_so(tmp_path):
    peft = pytest.importorskip("peft")
    from credit import CreditTrainer
    from local_models import make_dataset, reward

    base = save_model("qwen3", tmp_path / "base")
    trainer = CreditTrainer(
        str(base), reward, make_config(tmp_path / "out"), train_dataset=make_dataset(),
        processing_class=make_tokenizer(),
        peft_config=peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"),
    )  # fmt: skip
    trainer.save_model()
    trainer.create_model_card()
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.library_name == "peft"
    assert "- **base model**: `base` (of the author's machine)" in checked(card)
    sent = model_files(tmp_path / "out")
    assert json.loads(sent["adapter_config.json"])["base_model_name_or_path"] == "base"


def test_a_push_from_a_script_sends_the_model_and_nothing_else(tmp_path, hub, monkeypatch):
    hub.be_the_only_one(monkeypatch)
    before = len(hub.commits)
    trainer = make_trainer(
        tmp_path / "out", max_steps=1, push_to_hub=True, hub_model_id="me/script", log_completions=True,
        credit_log_steps=1, save_strategy="steps", save_steps=1,
    )  # fmt: skip
    trainer.train()
    assert len(hub.commits) == before  # nothing is sent at a save
    trainer.push_to_hub(dataset_name="someone/rows")
    (sent,) = hub.commits[before:]
    assert (tmp_path / "out" / "completions").is_dir()
    assert (tmp_path / "out" / "training_args.bin").exists()
    assert sent.keys() == MODEL
    assert "- someone/rows" in sent["README.md"].decode()
    checked(ModelCard(sent["README.md"].decode()))


def test_pushing_checkpoints_is_refused(tmp_path):
    with pytest.raises(ValueError, match="hub_strategy='every_save' would send the run's folder"):
        make_config(tmp_path, push_to_hub=True, hub_strategy="every_save")
    assert make_config(tmp_path, push_to_hub=True).hub_strategy == "end"


# -- what is sent


def test_a_run_pushed_at_its_end_arrives_with_card_and_evidence(run, hub):
    sent = hub.commits[0]
    assert sent.keys() == MODEL | EVIDENCE
    assert hub.created[0]["name"] == "mine"
    assert f"Bearer {TOKEN}" in hub.tokens
    assert sent["README.md"] == (run / "model" / "README.md").read_bytes()
    assert sent["model.safetensors"] == (run / "model" / "model.safetensors").read_bytes()
    assert sent["credit/metrics.jsonl"] == (run / "metrics.jsonl").read_bytes()
    assert hub.checked[0] == sent["README.md"].decode()  # the client had the front matter validated
    assert not any("/resolve/" in path for path in hub.asked)


def test_nothing_of_the_machine_and_no_token_is_sent(run, hub):
    kept = (run / "run.json").read_text() + (run / "config.yaml").read_text()
    assert "secret-place" in kept  # there is something to hide
    assert TOKEN in kept
    for name, content in hub.commits[0].items():
        for secret in (TOKEN, "secret-place", str(run.parent), str(Path.home()) + "/"):
            assert secret.encode() not in content, (name, secret)
    config = yaml.safe_load(hub.commits[0]["credit/config.yaml"])
    assert (config["output_dir"], config["dataset"], config["model"]) == ("run", "rows.jsonl", "base")
    assert config["hub_token"] == "(hidden)"


def test_no_texts_of_rows_and_answers_are_sent(run, hub):
    """Held-out rows of benchmarks stay where they are, and so does what people typed."""
    result = json.loads(hub.commits[0]["credit/eval.json"])
    kept = json.loads((run / "eval.json").read_text())
    assert "examples" in kept
    assert result == {key: value for key, value in kept.items() if key != "examples"}
    page = Page(hub.commits[0]["credit/report.html"].decode()).text
    assert page.count("Texts of rows and answers were left out when this report was shared.") == 2
    assert "No token credit was written" not in page
    local = Page((run / "report.html").read_text()).text
    prompt = json.loads((run / "eval" / "after.jsonl").read_text().splitlines()[0])["prompt"][0]["content"]
    rows = [prompt, *(r["prompt"] for r in map(json.loads, (run.parent / "rows.jsonl").read_text().splitlines()))]
    assert any(row in local for row in rows)
    assert not [row for row in rows if row in page]


def test_the_command_pushes_a_run_that_is_already_there(run, hub, capsys):
    assert main(["push", str(run), "--to", "me/again", "--dry-run"]) == 0
    said, before = capsys.readouterr().out, len(hub.commits)
    assert {line.split()[-1] for line in said.splitlines() if re.match(r" *[\d,]+ bytes  ", line)} == MODEL | EVIDENCE
    assert (run / "model" / "README.md").read_text() in said
    assert "nothing was sent to me/again" in said
    assert len(hub.commits) == before
    (run / "model" / "README.md").write_text("---\nlibrary_name: transformers\n---\nmy own words\n")
    done = hub.run("-m", "credit", "push", str(run), "--to", "me/again", "--private")
    assert done.returncode == 0, done.stderr[-3000:]
    assert hub.commits[-1].keys() == MODEL | EVIDENCE
    assert hub.created[-1] == {"name": "again", "organization": "me", "visibility": "private"}
    assert b"my own words" in hub.commits[-1]["README.md"]  # an edited card is the author's


def complaint(capsys, *argv: str) -> str:
    assert main(list(argv)) == 2
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1, err
    return err


def test_a_push_is_refused_with_the_reason(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sharing.constants, "HF_HUB_OFFLINE", False)
    nothing = complaint(capsys, "push", str(tmp_path), "--to", "me/it")
    assert "holds no run" in nothing
    run = write_run(tmp_path / "run", run={"status": "interrupted"})
    assert "not finished (status: interrupted)" in complaint(capsys, "push", str(run), "--to", "me/it")
    assert "holds no final model" in complaint(capsys, "push", str(run), "--to", "me/it", "--unfinished")
    make_model("qwen3").save_pretrained(run / "model")
    capsys.readouterr()
    assert "did not finish" in run_files(run, unfinished=True)["README.md"].decode()
    assert "x/y/z" in complaint(capsys, "push", str(run), "--to", "x/y/z")
    unreachable = type("ConnectError", (Exception,), {"__module__": "httpx"})

    def fail(*args, **options):
        raise unreachable("no such host")

    monkeypatch.setattr(sharing.HfApi, "create_repo", fail)
    error = complaint(capsys, "push", str(run), "--to", "me/it", "--unfinished")
    assert error.endswith("the hub cannot be reached: no such host")
    monkeypatch.setattr(sharing.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in complaint(capsys, "push", str(run), "--to", "me/it", "--unfinished")


def test_offline_is_said_before_training(tmp_path, capsys):
    """Tests run offline."""
    flags = ["train", "--config", "quickstart", "--output_dir", str(tmp_path / "run"), "--push_to_hub"]
    said = complaint(capsys, *flags)
    assert "HF_HUB_OFFLINE is set" in said
    assert "credit push RUN --to owner/name" in said
    assert not (tmp_path / "run").exists()


def test_the_embedded_world_goes_online_only_to_push(tmp_path):
    (tmp_path / "push.yaml").write_text("push_to_hub: true\n")
    assert asks_for_push(["--config", str(tmp_path / "push.yaml")])
    assert asks_for_push(["--push_to_hub"])
    assert not asks_for_push(["--config", "quickstart"])


TINY = ["--max_steps", "1", "--skip_eval", "--per_device_train_batch_size", "16"]


@pytest.mark.parametrize("refuses", ["create", "commit"])
def test_a_hub_that_refuses_says_so(tmp_path, monkeypatch, capsys, refuses):
    """At the start, before any training; at the end, with the command that tries again."""
    out = tmp_path / "run"
    flags = [
        "train",
        "--config",
        "quickstart",
        "--output_dir",
        str(out),
        "--push_to_hub",
        "--hub_model_id",
        "me/it",
        *TINY,
    ]
    with FakeHub(refuses) as hub:
        hub.be_the_only_one(monkeypatch)
        said = complaint(capsys, *flags)
    assert "401 Unauthorized" in said
    if refuses == "create":
        assert not (out / "config.yaml").exists()
    else:
        assert "the run is complete, but was not sent" in said
        assert f"Try again: credit push {out} --to me/it" in said
        assert json.loads((out / "run.json").read_text())["status"] == "complete"


# -- redaction

REDACTED = {
    "/home/jo/runs/x": "x",
    "/home/jo bloggs/my rows.jsonl": "my rows.jsonl",
    "~/models/mine": "mine",
    "../elsewhere/rows.jsonl": "rows.jsonl",
    r"C:\Users\jo\model": "model",
    "file:///home/jo/a.jsonl": "a.jsonl",
    "see /home/jo/notes.txt, then go on": "see notes.txt, then go on",
    '{"path": "/data/jo/lcb", "reward": "fraction"}': '{"path": "lcb", "reward": "fraction"}',
    '{"token": "abc"}': '{"token": "(hidden)"}',
    f"note {TOKEN}": "note (hidden)",
    "Qwen/Qwen3-8B": "Qwen/Qwen3-8B",
    "https://host.example/a/b": "https://host.example/a/b",
    "GRPO and/or SDPO, 1/2": "GRPO and/or SDPO, 1/2",
    "constant": "constant",
}


@pytest.mark.parametrize(("value", "expected"), REDACTED.items())
def test_paths_of_the_machine_are_cut_to_their_name(value, expected):
    assert redacted({"option": value}) == {"option": expected}


def test_folders_rows_and_credentials_are_known_by_their_option():
    hidden = {"output_dir": "runs/mine", "dataset": "data/rows.jsonl", "hub_token": "x", "kwargs": {"token": "y"}}
    kept = {"eos_token": "<end>", "model": "models/mine", "seed": 0, "hub_model_id": None, "hub_private_repo": True}
    shown = {"output_dir": "mine", "dataset": "rows.jsonl", "hub_token": "(hidden)", "kwargs": {"token": "(hidden)"}}
    assert redacted(hidden | kept) == shown | kept
    command = "credit train --dataset '/a b/rows.jsonl' --hub_token abc --output_dir=/x/run --model Qwen/Qwen3-8B"
    assert redacted({"command": command})["command"] == (
        "credit train --dataset rows.jsonl --hub_token '(hidden)' --output_dir=run --model Qwen/Qwen3-8B"
    )


def test_nobody_is_needed_to_make_a_card():
    """The card is a pure function: it needs neither trainer nor network."""
    import subprocess

    heavy = "{'trl', 'transformers', 'matplotlib'}"
    code = f"import sys, credit.sharing.card; assert not {heavy} & set(sys.modules), sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-300:]
