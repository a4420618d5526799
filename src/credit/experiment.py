"""The main job: evaluate, train, evaluate again, and leave everything a person needs to believe it in one folder."""

from __future__ import annotations

import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from credit.context import completion_text
from credit.errors import NonFiniteError, Terminated, UserError, explained
from credit.faults.checkpoints import explained_if_full
from credit.phases import Phases
from credit.rundir import RunDir
from credit.sources import SourceOptions, bad_rows, fit_prompts, load_model, load_task, model_path, option
from credit.versions import versions


@dataclass
class RunOptions(SourceOptions):
    """A training run, besides the options of `CreditConfig`."""

    preset: str | None = option(
        None,
        "`paper-code` or `paper-science`: the method's own fields as reported. Explicit flags win over it.",
    )
    train_limit: int | None = option(None, "Train on the first n rows only.")
    eval_split: str = option(
        "test", "Rows to evaluate on: `validation` while you choose, `test` once at the end; the task names its splits."
    )
    skip_eval: bool = option(False, "Neither evaluate before nor after training.")
    skip_eval_before: bool = option(False, "Evaluate after training only, as the runs of a study after its first do.")
    resume: bool = option(False, "Go on with the run in --output_dir, from its last complete checkpoint.")
    overwrite: bool = option(False, "Replace the run in --output_dir.")
    dry_run: bool = option(
        False,
        "Check options and rows, print the batch arithmetic, and stop: no weights are loaded, nothing is written.",
    )
    torch_threads: int = option(
        0, "CPU threads of torch; 0 leaves torch's choice. One is fastest for models as small as the embedded one."
    )
    launch: str | None = option(
        None, "Start `nproc` processes on this machine and train in all of them: `ddp`, `fsdp2` (sharded; "
        "accelerators only) or `deepspeed` (sharded; ZeRO-3 unless --deepspeed names another config). The command is "
        "printed.", ["ddp", "fsdp2", "deepspeed"]
    )  # fmt: skip
    nproc: int = option(0, "Processes of `launch`; 0 is one per accelerator.")
    note: str | None = option(None, "One line about this run, printed and shown in the report.")


# Options that say how a run is started, not what it computes.
_LAUNCH = ("resume", "overwrite", "skip_eval_before", "dry_run", "launch", "nproc")


def _check_reporters(names: list[str]) -> None:
    """Raise before any work when a logging service is asked for whose package is missing."""
    for name in names:
        if find_spec(name) is None:
            raise ValueError(f"report_to={name!r} needs the package {name}. Run: pip install {name}, or drop it.")


class Experiment:
    """One training run in one folder.

    Args:
        options: source, evaluation and launch options.
        args: the trainer's options.
        command: what was typed, for the report.
        progress: (title, total) -> context manager yielding `advance(n, text)`; how progress is shown.
        origins: for each option that was set, by what (`flag`, `preset NAME`, `config FILE`), for the report.
    """

    def __init__(
        self,
        options: RunOptions,
        args: Any,
        command: list[str] | None = None,
        progress: Callable[[str, int], AbstractContextManager[Callable[..., None]]] | None = None,
        origins: dict[str, str] | None = None,
    ):
        self.options, self.args = options, args
        self.command = "credit " + shlex.join(command if command is not None else sys.argv[1:])
        self.progress = progress
        self.run = RunDir(args.output_dir)
        self.origins = origins
        self.phases = Phases()
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    def config(self) -> dict[str, Any]:
        """Return every option as it will be used, for `config.yaml`."""
        own = {k: v for k, v in asdict(self.options).items() if k not in _LAUNCH}
        return {**own, **_plain(self.args.to_dict())}

    def check(self) -> None:
        """Load the rows, and complain about all a user can mend that needs no model; writes nothing."""
        import torch
        from datasets import Dataset

        from credit.sampling import EvalOptions
        from credit.server import refuse_vllm
        from credit.sharing.push import refuse_offline
        from credit.startup import refuse_data
        from credit.tasks import rows_of
        from credit.tasks.environments import has_environment

        options = self.options
        if options.torch_threads < 0:
            raise ValueError(f"torch_threads={options.torch_threads} is negative. Use 0 for torch's own choice.")
        if options.torch_threads:
            torch.set_num_threads(options.torch_threads)
        self.resolved = self.config()  # before anything touches the options
        self.run.check(self.resolved, options.resume, options.overwrite)
        if self.args.resume_from_checkpoint:
            raise ValueError("resume_from_checkpoint is not used by credit train. Use --resume.")
        _check_reporters(self.args.report_to)
        refuse_vllm(self.args)
        if self.args.push_to_hub:
            refuse_offline()
        self.task = load_task(options)
        self.test_rows = [] if options.skip_eval else rows_of(self.task, options.eval_split, options.eval_limit)
        self.train_rows = rows_of(self.task, "train", options.train_limit)
        refuse_data(self.args, Dataset.from_list(self.train_rows), has_environment(self.task))
        self.eval_options = EvalOptions(
            samples=options.eval_samples,
            temperature=options.eval_temperature,
            top_p=options.eval_top_p,
            max_new_tokens=self.args.max_completion_length,
            seed=self.args.seed,
            max_tool_calling_iterations=self.args.max_tool_calling_iterations,
        )
        model_path(options.model)

    def prepare(self) -> None:
        """Load everything and claim the folder; complain about all a user can mend before any training."""
        from credit import fingerprints
        from credit.evaluate import equip

        with self.phases("setup"), explained():
            self.check()
            options, rows = self.options, self.train_rows
            with self.alone():
                self.model, self.tokenizer = load_model(options.model, **(self.args.model_init_kwargs or {}))
            self.template_options = dict(self.args.chat_template_kwargs or {})
            equip(self.task, self.tokenizer, rows + self.test_rows, self.args.max_tool_calling_iterations)
            existed = self.run.path.exists()
            try:
                self.trainer = self._trainer(rows)
            except Exception:
                if not existed and self.run.path.is_dir() and not any(self.run.path.iterdir()):
                    self.run.path.rmdir()  # the trainer makes its folder before it looks at its options
                raise
            # One process takes the folder, once all have looked at it; the others see what it left there.
            self._wait()
            taken = self.run.take(self.resolved, options.resume) if self.leads else None
            self._wait()
            kept = self.run.checkpoints() if options.resume else []
            self.checkpoint = taken if self.leads else (kept[-1] if kept else None)
            self.fingerprints = {
                "model": fingerprints.of_model(self.model),
                "train_rows": fingerprints.of_rows(rows),
                "test_rows": fingerprints.of_rows(self.test_rows),
            }

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hide ZeRO-3 from transformers: it would load a part of a model, and generate in step with all processes."""
        from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

        unset_hf_deepspeed_config()
        try:
            yield
        finally:
            if self.args.deepspeed_plugin is not None:
                set_hf_deepspeed_config(self.args.deepspeed_plugin.hf_ds_config)

    @property
    def _sharded(self) -> bool:
        return self.trainer.is_fsdp_enabled or self.trainer.is_deepspeed_enabled

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and shows; the others only train."""
        return self.args.process_index == 0

    def _wait(self) -> None:
        self.args.distributed_state.wait_for_everyone()

    def _trainer(self, rows: list[dict[str, Any]]) -> Any:
        from datasets import Dataset
        from transformers.trainer_callback import PrinterCallback, ProgressCallback

        from credit.faults.preemption import StopsInOrder
        from credit.run_callback import RunCallback
        from credit.tasks.environments import has_environment
        from credit.trainer import CreditTrainer

        fit_prompts(rows + self.test_rows, self.tokenizer)
        with warnings.catch_warnings():
            # TRL's notice that environments are experimental is in our documentation.
            warnings.filterwarnings("ignore", message="You are using 'environment_factory'")
            trainer = CreditTrainer(
                self.model,
                None if has_environment(self.task) else _reward_of(self.task),
                self.args,
                train_dataset=Dataset.from_list(rows),
                processing_class=self.tokenizer,
                environment_factory=getattr(self.task, "environment", None),
            )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.add_callback(RunCallback(self.run, self.progress))
        self.stops = StopsInOrder(self.args.steps_per_buffer, self.args.saves != "no", trainer.anywhere)
        trainer.add_callback(self.stops)
        trainer.writes_card = False  # it is written once, beside the final model
        return trainer

    def execute(self) -> dict[str, Any] | None:
        """Run it all; return the content of `eval.json`, or None when evaluation was skipped."""
        self._write_status("running")
        try:
            with explained_if_full(self.run.path), self.stops:
                return self._execute()
        except BaseException as error:
            with suppress(OSError):  # a full disk takes no last word either
                self._write_status("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error)
            if isinstance(error, NonFiniteError):
                self._wait()  # all ranks raise it; the first to leave has the others stopped, reason written or not
            raise

    def _execute(self) -> dict[str, Any] | None:
        from credit.report import write_report
        from credit.sharing.push import CARD, MODEL, card_of
        from credit.viewer import inspect

        before = [] if self.options.skip_eval_before else self._evaluate("before", self._untrained)
        if before:
            self._write_eval(before, [])
        if self._sharded:
            self.model.to("cpu")  # where it waits to be sharded
        self._wait()
        self._write_status("running")  # both now: a kill during training must not lose them
        with self.phases("train"):
            self._train()
            if self.leads:
                self.tokenizer.save_pretrained(str(self.run / "model"))
        after = self._evaluate("after", self._trained)
        if not self.leads:
            self._wait()
            return None
        result = self._write_eval(before, after) if after else None
        self._write_status("complete")
        card_of(self.run.path).save(self.run / MODEL / CARD)
        if any((self.run / "credit").glob("*.parquet")):
            inspect(self.run.path, settings=self.config(), task=self.task)
        write_report(self.run.path)
        self._wait()
        return result

    def push(self) -> str:
        """Send the complete run to the hub, as `credit push` does; return the repository's address.

        Raises:
            UserError: it was not sent; names the command that tries again.
        """
        from credit.sharing.push import run_files, send

        args, repo = self.args, self.trainer.hub_model_id
        try:
            files = run_files(self.run.path)
            return str(send(files, repo, args.hub_private_repo, args.hub_token, args.hub_revision).repo_url)
        except (ValueError, OSError) as error:
            why = " ".join(str(error).split())
            raise UserError(
                f"the run is complete, but was not sent ({why}). Try again: credit push {self.run.path} --to {repo}"
            ) from error

    def _untrained(self) -> Any:
        return self.model.to(self.args.device)  # one that will be sharded is still where it was loaded

    def _trained(self) -> Any:
        """Return the trained weights, not the trainer's wrapper of them; of shards, what was saved."""
        if self._sharded:
            return load_model(str(self.run / "model"), **(self.args.model_init_kwargs or {}))[0].to(self.args.device)
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def _train(self) -> None:
        # Interrupted after the last step: the Trainer's loop would take one more before it looks at max_steps.
        ended = self.checkpoint and 0 < self.args.max_steps <= int(self.checkpoint.name.rpartition("-")[2])
        if ended and self._sharded:  # nothing is sharded yet that could be loaded into; the checkpoint is whole
            if self.leads:
                with self.alone():
                    model, _ = load_model(str(self.checkpoint), **(self.args.model_init_kwargs or {}))
                model.save_pretrained(self.run / "model")
            self._wait()
            return
        if ended:
            self.trainer._load_from_checkpoint(str(self.checkpoint))
        else:
            self.trainer.train(resume_from_checkpoint=self.checkpoint and str(self.checkpoint))
        if self.stops.asked:
            raise Terminated(f"SIGTERM after step {self.trainer.state.global_step}")
        self.trainer.save_model(str(self.run / "model"), _internal_call=True)  # sent at the end, by `push`

    def _evaluate(self, name: str, model: Callable[[], Any]) -> list[dict[str, Any]]:
        from credit.evaluate import evaluate, read_records, write_records
        from credit.faults.memory import advised

        path = self.run / "eval" / f"{name}.jsonl"
        if self.options.skip_eval or not self.leads:
            return []
        if name == "before" and self.checkpoint is not None and path.exists():
            return read_records(path)  # evaluated before the run was interrupted
        with (
            advised(self.eval_options, lambda: "evaluation"),
            self.phases(f"eval_{name}"),
            self._progress(f"evaluate {name}", 2 * len(self.test_rows)) as advance,
            self.alone(),
        ):
            records = evaluate(
                model(),
                self.tokenizer,
                self.task,
                self.test_rows,
                self.eval_options,
                self.template_options,
                advance,
                self.run / "eval" / f"{name}-sampled",
            )
        write_records(path, records)
        shutil.rmtree(self.run / "eval" / f"{name}-sampled", ignore_errors=True)
        return records

    def _write_eval(self, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, Any]:
        from credit.diagnostics import read_rollouts
        from credit.evaluate import changed_examples, changes, compare, summarise

        extras = getattr(self.task, "extras", lambda records: {})
        logged = sorted((self.run / "credit").glob("*.parquet"))
        first = self._credit_extras(read_rollouts(logged[0])) if logged else {}
        last = self._credit_extras(read_rollouts(logged[-1])) if len(logged) > 1 else {}
        result: dict[str, Any] = {
            "settings": {
                **asdict(self.eval_options),
                "split": self.options.eval_split,
                "prompts": len(after or before),
                "interval": "95% bootstrap over prompts",
            },
        }
        for name, records, more in (("before", before, first), ("after", after, last)):
            if records:
                result[name] = {**summarise(records), "extras": {**extras(records), **more}}
        if before and after:
            result |= {
                "difference": compare(before, after),
                "changes": changes(before, after),
                "examples": changed_examples(before, after),
            }
        self.run.write_json("eval.json", result)
        return result

    def _credit_extras(self, rollouts: Any) -> dict[str, float | None]:
        from credit.diagnostics import diagnose

        summary = diagnose(rollouts, self.task)["summary"]
        shown = ("credit_on_answer_tokens", "answer_tokens", "credit_on_generic_tokens", "generic_tokens")
        return {name: None if summary[name] is None else summary[name]["mean"] for name in shown}

    def _write_status(self, status: str, error: BaseException | None = None) -> None:
        if not self.leads:
            return
        self.run.write_json(
            "run.json",
            {
                "status": status,
                "error": None if error is None else f"{type(error).__name__}: {error}",
                "started": self.started,
                **self.phases.record(),
                "resumed_from": self.checkpoint.name if self.checkpoint else None,
                "set_aside": self.run.set_aside,
                "idle_warnings": self.trainer.idle_warnings,
                "command": self.command,
                "origins": self.origins,
                "versions": versions(),
                "model": self.options.model,
                "dataset": self.options.dataset or self.options.task,
                "local": self._local(),
                "bad_rows": len(bad_rows(self.task)),
                "seed": self.args.seed,
                "steps": self._steps(),
                "fingerprints": self.fingerprints,
                "note": self.options.note,
                "trained_model": "model",
            },
        )

    def _local(self) -> list[str]:
        """Return which of `model` and `dataset` lie on this machine, or in this package, and not on the hub."""
        options = self.options
        model = options.model == "tiny" or Path(options.model).expanduser().exists()
        dataset = options.dataset is None or Path(options.dataset).expanduser().exists()
        return [name for name, here in (("model", model), ("dataset", dataset)) if here]

    def _steps(self) -> int:
        """Return the optimiser steps done, also where the last checkpoint was the last step."""
        resumed = int(self.checkpoint.name.rpartition("-")[2]) if self.checkpoint else 0
        return max(self.trainer.state.global_step, resumed)

    def _progress(self, title: str, total: int) -> AbstractContextManager[Callable[..., None]]:
        return self.progress(title, total) if self.progress else _Silent()


def _reward_of(task: Any) -> Callable[..., list[tuple[float, str | None]]]:
    """Return a task's grades as a reward function."""

    def graded(prompts, completions, **columns):
        columns = {name: values for name, values in columns.items() if isinstance(values, list)}
        grades = []
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            row = {"prompt": prompt, **{name: values[i] for name, values in columns.items()}}
            grades.append(task.grade(row, completion_text(completion)))
        return [(g.score, g.feedback) for g in grades]

    graded.__name__ = f"{task.name}_grade"
    return graded


class _Silent(AbstractContextManager):
    def __enter__(self) -> Callable[..., None]:
        return lambda *args, **kwargs: None

    def __exit__(self, *exc: object) -> None:
        return None


def _plain(value: Any) -> Any:
    """Reduce to what YAML can hold and read back equal."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
