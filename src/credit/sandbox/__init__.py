"""Run Python that nobody has read: what a model wrote, before it is rewarded for it.

    with Sandbox() as sandbox:
        result = sandbox.run(code, stdin="3\\n4\\n")        # or: await sandbox.arun(code, ...)
        passed = result.outcome == "ok" and result.stdout.split() == expected.split()

The sandbox never sees expected outputs. See docs/sandbox.md for what each level proves and cannot allow.
"""

from .doctor import LevelReport, probe_levels
from .levels import LEVELS, PROTECTED
from .result import OUTPUT_LIMIT, Level, Outcome, Result
from .sandbox import Sandbox
from .text import sanitise
from .worker import Unavailable

__all__ = [
    "LEVELS",
    "OUTPUT_LIMIT",
    "PROTECTED",
    "Level",
    "LevelReport",
    "Outcome",
    "Result",
    "Sandbox",
    "Unavailable",
    "probe_levels",
    "sanitise",
]
