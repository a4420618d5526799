"""How `CreditTrainer` keeps checkpoints: teacher included, sealed when whole, and read in the order they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from credit import _trl
from credit.faults.checkpoints import flaw, saving, seal, sealed
from credit.faults.guarded import Guarded
from credit.teacher import Teacher


class KeepsCheckpoints(Guarded):
    """Overrides what transformers calls to save, load and resume."""

    teacher: Teacher | None
    _student: Any

    def _save_checkpoint(self, model, trial):
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        with saving(folder):
            super()._save_checkpoint(model, trial)
            if self.teacher is not None:
                self.teacher.save(folder, self.args.should_save)
            self.accelerator.wait_for_everyone()  # what other ranks write belongs to a complete checkpoint too
            if self.args.should_save:
                seal(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        folder = Path(resume_from_checkpoint)
        # Without a seal it may be TRL's own, whose teacher is the student.
        if self.args.process_index == 0 and sealed(folder) and (wrong := flaw(folder)):
            raise ValueError(f"{folder} is damaged: {wrong}. Resume from an earlier checkpoint.")
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _issue_warnings_after_load(self, load_result):
        tied = set(getattr(self._student, "all_tied_weights_keys", None) or ())  # are saved once, and so not missing
        missing = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def _get_train_sampler(self, dataset=None):
        sampler = super()._get_train_sampler(dataset)
        if not isinstance(sampler, _trl.RepeatSampler):
            return sampler
        return _trl.ResumableSampler(sampler, lambda: int(self.state.epoch or 0))

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.teacher is not None:
            self.teacher.load(checkpoint)
