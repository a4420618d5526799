"""What of a run leaves this machine, and the sending of it: the model with its card, and the evidence without texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, ModelCard, constants

from credit.sharing.card import model_card
from credit.sharing.redact import redacted

MODEL, CARD, EVIDENCE = "model", "README.md", "credit"
_NAMES = ("_name_or_path", "name_or_path", "base_model_name_or_path")
_DESCRIBE = ("config.json", "adapter_config.json", "tokenizer_config.json")
"""Files that may name the folder a model was loaded from."""
_STAYS = ("training_args.bin", "trainer_state.json")
"""Hold paths of this machine; the pickled arguments also the token, if one was given."""

Files = dict[str, Path | bytes]
"""Path in the repository -> the file, or what stands for it."""


def refuse_offline() -> None:
    """Raise ValueError when this process may not reach the hub."""
    if constants.HF_HUB_OFFLINE:
        raise ValueError(
            "the hub cannot be reached: HF_HUB_OFFLINE is set. Unset it, or train without --push_to_hub and send the "
            "run later with: credit push RUN --to owner/name."
        )


def card_of(run: Path) -> ModelCard:
    """Return the card of a run's final model, from the files of the run."""
    config, record, result = (_read(run / name) for name in ("config.yaml", "run.json", "eval.json"))
    library = "peft" if (run / MODEL / "adapter_config.json").exists() else "transformers"
    name = str(config.get("hub_model_id") or run.resolve().name).rpartition("/")[2]
    return model_card(config, record, result, name, library)


def model_files(folder: Path) -> Files:
    """Return what loads a model, and its card; other folders in this one are left alone."""
    found: Files = {}
    for path in sorted([*folder.iterdir(), *folder.glob("additional_chat_templates/*")]):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in _STAYS and not name.startswith("."):
            found[name] = _without_folder(path) if name in _DESCRIBE else path
    return found


def run_files(run: Path, unfinished: bool = False) -> Files:
    """Return what of a run is sent: the final model, its card, and the evidence.

    Prompts and answers stay here, in whatever file they are; so do credentials and paths of this machine.

    Args:
        run: folder of a run.
        unfinished: take a run that did not finish, if its model is there.

    Raises:
        ValueError: no run, an unfinished one, or no model; says what to do.
    """
    if not (run / "config.yaml").is_file():
        raise ValueError(f"{run} holds no run (no config.yaml). Name the --output_dir of a training run.")
    status = _read(run / "run.json").get("status", "not recorded")
    if status != "complete" and not unfinished:
        raise ValueError(
            f"the run in {run} is not finished (status: {status}). Finish it with credit train --resume --output_dir "
            f"{run}, or send what is there with --unfinished."
        )
    if not (run / MODEL / "config.json").is_file() and not (run / MODEL / "adapter_config.json").is_file():
        raise ValueError(f"{run} holds no final model ({run / MODEL}): it is saved after the last step.")
    files = model_files(run / MODEL)
    if CARD not in files:  # it is written when a run is complete, and is then the author's to edit
        files[CARD] = str(card_of(run)).encode()
    return files | evidence(run)


def evidence(run: Path) -> Files:
    """Return options, metrics, evaluation and report of a run, without texts of rows and answers."""
    from credit.report import write_report

    config, record, result = (redacted(_read(run / name)) for name in ("config.yaml", "run.json", "eval.json"))
    result.pop("examples", None)
    found: Files = {"config.yaml": yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()}
    if (run / "metrics.jsonl").exists():
        found["metrics.jsonl"] = (run / "metrics.jsonl").read_bytes()
    if result:
        found["eval.json"] = _json(result)
    with TemporaryDirectory() as place:
        folder = Path(place) / run.resolve().name  # the report is made of what is sent, and run.json
        record["shared"] = True
        folder.mkdir()
        for name, content in {**found, "run.json": _json(record)}.items():
            assert isinstance(content, bytes)
            (folder / name).write_bytes(content)
        found["report.html"] = write_report(folder).read_bytes()
    return {f"{EVIDENCE}/{name}": content for name, content in found.items()}


def send(files: Files, repo: str, private: bool | None = None, token: str | None = None, revision: str | None = None,
         message: str = "Trained with credit-distill") -> CommitInfo:  # fmt: skip
    """Create the repository if it is not there, and send the files in one commit.

    Raises:
        ValueError: offline.
        OSError: the hub refuses, or cannot be reached.
    """
    refuse_offline()
    api = HfApi(token=token)
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    try:
        repo = api.create_repo(repo, private=private, exist_ok=True).repo_id
        return api.create_commit(repo, operations, commit_message=message, revision=revision)
    except Exception as error:
        # What the hub answers is an OSError; that it cannot be reached is an error of the HTTP library's own.
        if isinstance(error, OSError) or "http" not in type(error).__module__:
            raise
        raise OSError(f"the hub cannot be reached: {error}") from error


def _without_folder(path: Path) -> Path | bytes:
    """Return the file, or its content with the folder of the model it came from cut to its name."""
    content = json.loads(path.read_text(encoding="utf-8"))
    named = {name: content[name] for name in _NAMES if content.get(name)}
    cut = redacted(named)
    return path if cut == named else _json({**content, **cut})


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _read(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file of a run; one that is not there is empty."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} does not hold a mapping. Is it a file of a run?")
    return dict(content)
