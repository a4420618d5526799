"""Methods: what a token is compared with. One short file each; adding one touches nothing else but this registry."""

from credit.dotted import by_path
from credit.methods.antisd import ANTISD
from credit.methods.base import Method, Scored, plain_teacher
from credit.methods.credit import CREDIT
from credit.methods.grpo import GRPO
from credit.methods.opsd import OPSD, SDFT
from credit.methods.rlcsd import RLCSD
from credit.methods.rlsd import RLSD
from credit.methods.sdpo import SDPO
from credit.methods.srpo import SRPO

METHODS: dict[str, Method] = {m.name: m for m in (GRPO, SDPO, CREDIT, RLSD, RLCSD, ANTISD, SRPO, OPSD, SDFT)}


def get_method(name: str) -> Method:
    """Return a registered method, or one of people's own as `package.module:NAME`; raise with the known names."""
    if name in METHODS:
        return METHODS[name]
    if ":" not in name:
        raise ValueError(
            f"method={name!r} is unknown. Use one of {', '.join(METHODS)}, or your own as package.module:NAME."
        )
    found = by_path("method", name)
    if not isinstance(found, Method):
        what = "no such name" if found is None else f"a {type(found).__name__} there"
        raise ValueError(f"method={name!r}: {what}. Write NAME = Method(...), from credit.methods (docs/methods.md).")
    return found


__all__ = ["METHODS", "Method", "Scored", "get_method", "plain_teacher"]
