"""Errors that are told to a user in words, without a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """What is wrong and how to mend it, in one line."""

    status = 2


class RunError(UserError):
    """A run that could not go on: what happened, what is left of it, what to do. May have several lines."""

    status = 1


class NonFiniteError(RunError):
    """A loss or a gradient norm that is infinite or not a number; raised on every rank."""


class SamplingError(RunError):
    """No answer can be drawn: the student's probabilities are infinite or not numbers, on this rank."""


class MemoryRunError(RunError):
    """No memory left, and which options hold it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came. What was asked for from outside is no fault of the run."""


@contextmanager
def explained() -> Iterator[None]:
    """Turn complaints raised while a run is being set up into `UserError`; later errors keep their traceback.

    With CREDIT_DEBUG=1 the original error passes through.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("CREDIT_DEBUG") == "1":
            raise
        raise UserError(" ".join(str(error).split()) or repr(error)) from error
