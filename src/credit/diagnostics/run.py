"""What a run folder knows about itself: its options, its student, its teacher, its task."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from credit.rundir import RunDir
from credit.teacher import read_weights


def is_run(path: Path) -> bool:
    """Return whether the folder holds a run."""
    return (path / "config.yaml").is_file()


def settings_of(run: Path) -> dict[str, Any]:
    """Return the resolved options of a run.

    Raises:
        ValueError: `config.yaml` cannot be read.
    """
    try:
        settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{run / 'config.yaml'} cannot be read ({type(error).__name__}).") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{run / 'config.yaml'} holds no mapping of options.")
    return settings


def teacher_of(run: Path, student: Any) -> tuple[Any, str]:
    """Return the teacher of the last complete checkpoint, and what it is; None where the student itself teaches."""
    checkpoints = RunDir(run).checkpoints()
    if not checkpoints:
        return None, "the run kept no checkpoint: the trained student stands in for the teacher"
    weights = read_weights(checkpoints[-1])
    if weights is None:
        return None, "the student teaches itself (live teacher)"
    teacher = copy.deepcopy(student)
    teacher.load_state_dict(weights, strict=False)  # tied heads are stored once
    said = f"teacher weights of {checkpoints[-1].name}"
    if settings_of(run).get("teacher") == "trust_region":
        said += "; the student's share in the logits (trust region) is left out"
    return teacher, said
