"""What `CreditTrainer` does between steps: the teacher follows, seconds are logged; and before the first."""

from __future__ import annotations

from collections.abc import Callable

from transformers import TrainerCallback

from credit.phases import StepClock
from credit.teacher import Teacher


class TeacherFollows(TrainerCallback):
    """Moves the teacher after the last optimiser step of each generation batch."""

    def __init__(self, teacher: Teacher, steps_per_buffer: float):
        self.teacher, self.every = teacher, max(1.0, steps_per_buffer)

    def on_step_end(self, args, state, control, **kwargs):
        """Follow after the last step of a generation batch."""
        if state.global_step // self.every > (state.global_step - 1) // self.every:
            self.teacher.follow()


class TriesModel(TrainerCallback):
    """Tries a model that ZeRO-3 loads in parts, which only its engine can run."""

    def __init__(self, try_it: Callable[[], None]):
        self.try_it = try_it

    def on_train_begin(self, args, state, control, **kwargs):
        """Try."""
        self.try_it()


class SecondsOfStep(TrainerCallback):
    """Logs the parts of a step beside TRL's `step_time`, of which they are parts; what evaluation took is no step's."""

    def __init__(self, clock: StepClock, log: Callable[[str, float], None]):
        self.clock, self.log = clock, log

    def on_step_end(self, args, state, control, **kwargs):
        """Log and start again."""
        for part, seconds in self.clock.take().items():
            self.log(f"step_time/{part}", seconds)

    def on_evaluate(self, args, state, control, **kwargs):
        """Forget what the evaluation took."""
        self.clock.take()
