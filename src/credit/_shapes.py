"""Shape annotations: jaxtyping's when it is installed (tests switch their checking on), plain tensors otherwise.

Axis letters used in all annotations: B rollouts, T response tokens, N tokens of one chunk, V vocabulary,
K support, C negatives, D hidden width.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
else:
    try:
        from jaxtyping import Bool, Float, Int
    except ImportError:  # the core asks for torch only

        class _Plain:
            def __class_getitem__(cls, item):
                return item[0]

        Bool = Float = Int = _Plain

__all__ = ["Bool", "Float", "Int"]
