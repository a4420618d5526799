"""A world without downloads: small task families, their graders, a tokenizer and a pretrained base model."""

from pathlib import Path

BASE_PATH = Path(__file__).parent / "base"

__all__ = ["BASE_PATH"]
