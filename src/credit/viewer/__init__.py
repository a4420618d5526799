"""The token-credit viewer: one self-contained page about the responses of a run or of a file."""

from credit.viewer.page import Contents, write_viewer

__all__ = ["Contents", "write_viewer"]
