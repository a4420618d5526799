"""The token-credit viewer: one self-contained page about the responses of a run or of a file."""

from credit.viewer.inspect import LIMIT, inspect

__all__ = ["LIMIT", "inspect"]
