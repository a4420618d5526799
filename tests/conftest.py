"""Set-up shared by all tests. It runs before anything imports `credit`.

The shapes written in the core maths are checked in tests only: jaxtyping's import hook compiles them in here.
"""

# ruff: noqa: E402 (some imports must come after the hook)
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")  # for the processes that tests start
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # also for the processes that tests start

from jaxtyping import install_import_hook

CHECKED = ["credit.rewards", "credit.divergences", "credit.contrast"]
if loaded := [name for name in CHECKED if name in sys.modules]:
    raise RuntimeError(f"{loaded} imported before the shape checks were installed; import credit in tests only.")
install_import_hook(CHECKED, "beartype.beartype")

import pytest
import torch

from credit.theory import World, random_world

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def world() -> World:
    """Three inputs, three tokens, three steps, three feedback values; everything in it is an exact sum."""
    return random_world()
