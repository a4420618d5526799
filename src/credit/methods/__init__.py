"""Methods: what a token is compared with. One short file each; adding one touches nothing else but this registry."""

from credit.methods.base import Method
from credit.methods.credit import CREDIT
from credit.methods.grpo import GRPO
from credit.methods.sdpo import SDPO

METHODS: dict[str, Method] = {m.name: m for m in (GRPO, SDPO, CREDIT)}


def get_method(name: str) -> Method:
    """Return a registered method, or raise with the known names."""
    if name not in METHODS:
        raise ValueError(f"method={name!r} is unknown. Use one of {', '.join(METHODS)}.")
    return METHODS[name]


__all__ = ["METHODS", "Method", "get_method"]
