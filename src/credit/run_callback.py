"""Writes every log of the trainer to `metrics.jsonl` and shows progress."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from credit.rundir import RunDir


class RunCallback(TrainerCallback):
    """Trainer logs -> run folder.

    Args:
        run: the folder.
        progress: (title, total) -> context manager yielding `advance(n, text)`, or None for silence.
    """

    def __init__(self, run: RunDir, progress: Any = None):
        self.run, self.progress = run, progress
        self._bar: Any = None
        self._advance: Any = None

    def on_train_begin(self, args, state, control, **kwargs):
        """Open the progress display at the step a resumed run starts from."""
        if state.is_world_process_zero and self.progress:
            self._bar = self.progress("train", state.max_steps)
            self._advance = self._bar.__enter__()
            self._advance(state.global_step, "")

    def on_step_end(self, args, state, control, **kwargs):
        """Move the progress display."""
        if self._advance:
            self._advance(1, "")

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Append one line; the closing summary of the trainer is not a step and stays out."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        self.run.append_metrics({"step": state.global_step, **logs})
        if self._advance and logs.get("reward") is not None:
            self._advance(0, f"reward {logs['reward']:.2f}  loss {logs.get('loss', float('nan')):.3f}")

    def on_train_end(self, args, state, control, **kwargs):
        """Close the progress display."""
        if self._bar:
            self._bar.__exit__(None, None, None)
            self._bar = self._advance = None
