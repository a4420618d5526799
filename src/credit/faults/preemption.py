"""SIGTERM, as schedulers send it: the step is finished, a checkpoint saved, and the run ends in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from transformers import TrainerCallback

from credit.errors import Terminated


class StopsInOrder(TrainerCallback, AbstractContextManager):
    """Stops training after the step in which SIGTERM came, with a checkpoint; outside training, at once.

    Active between `__enter__` and `__exit__`, in the main thread only: Python delivers signals nowhere else.

    Args:
        every: optimiser steps of a generation batch. Inside one nothing may be saved, so its last step is waited for.
        saves: whether this run keeps checkpoints.
        anywhere: whether this process heard it -> whether any did; the ranks of a run stop together.
    """

    def __init__(self, every: float, saves: bool, anywhere: Callable[[bool], bool]):
        self.every, self.saves, self.anywhere = max(1.0, every), saves, anywhere
        self.asked = self._training = False
        self._before: Any = None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _hear(self, number: int, frame: Any) -> None:
        # A scheduler may tell a launcher and each of its processes, so that a rank hears it twice.
        first, self.asked = not self.asked, True
        if not self._training:
            raise Terminated("SIGTERM")
        if first:
            os.write(2, b"SIGTERM: stopping after this step\n")  # print is not safe in a signal handler

    def on_train_begin(self, args, state, control, **kwargs):
        """Finish steps from now on."""
        self._training = True

    def on_step_end(self, args, state, control, **kwargs):
        """Stop where a generation batch ends, if any process was asked to."""
        self.asked = self.anywhere(self.asked)
        if self.asked and state.global_step % self.every == 0:
            control.should_save, control.should_training_stop = self.saves, True

    def on_train_end(self, args, state, control, **kwargs):
        """Stop at once from now on."""
        self._training = False
