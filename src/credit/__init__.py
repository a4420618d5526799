"""CREDIT: on-policy self-distillation with input-specific credit (arXiv 2605.11613). An independent implementation.

The maths (`credit.rewards`, `credit.divergences`, `credit.contrast`, `credit.context`) need torch only;
`CreditTrainer` and `CreditConfig` need the `train` extra. Nothing heavy is imported until it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credit.config import CreditConfig
    from credit.trainer import CreditTrainer

__version__ = "0.1.0"

_LAZY = {"CreditTrainer": "credit.trainer", "CreditConfig": "credit.config"}
_MODULES = ("rewards", "divergences", "contrast", "context", "sandbox", "scoring", "tasks", "methods", "tiny")

__all__ = ["CreditConfig", "CreditTrainer", "__version__"]


def __getattr__(name: str):
    if name in _LAZY:
        try:
            return getattr(import_module(_LAZY[name]), name)
        except ModuleNotFoundError as error:
            if error.name in ("trl", "transformers", "accelerate", "datasets"):
                raise ImportError(
                    f"credit.{name} needs the training extra. Run: pip install 'credit-distill[train]'"
                ) from error
            raise
    if name in _MODULES:
        return import_module(f"credit.{name}")
    raise AttributeError(f"module 'credit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
