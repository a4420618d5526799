"""Errors a user can mend: one line, no traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """What is wrong and how to mend it, in one line."""


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
