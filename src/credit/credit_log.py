"""Token credit on disk: one row per rollout, one list entry per response token, Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TOKEN_COLUMNS = ("logp_student", "logp_teacher", "logp_teacher_nofeedback", "r", "S", "G", "R")
"""Per-token numbers in nats; NaN where a quantity does not exist (a tool's token, no teacher, no negative, a live
teacher)."""


def write_token_credit(path: Path, rollouts: list[dict[str, Any]]) -> None:
    """Write rollouts to `path`.

    Each holds `step`, `row`, `group`, `prompt` (kept as JSON text if it is a message list), `completion`, `score`,
    `solution`, `feedback`, `negatives` (texts of x'), `tokens`, `token_ids`, `ends` (where each token ends in
    `completion`, in characters; None when the tokens do not spell it), `own` (which tokens the model wrote; the others
    are what tools answered, and earn no credit), and the lists named in `TOKEN_COLUMNS`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from credit.contrast import prompt_key  # here, so that readers need no torch

    schema = pa.schema(
        [("step", pa.int64()), ("row", pa.int64()), ("group", pa.int64())]
        + [(name, pa.string()) for name in ("prompt", "completion")]
        + [("score", pa.float64())]
        + [(name, pa.string()) for name in ("solution", "feedback")]
        + [
            ("negatives", pa.list_(pa.string())),
            ("tokens", pa.list_(pa.string())),
            ("token_ids", pa.list_(pa.int64())),
            ("ends", pa.list_(pa.int64())),
            ("own", pa.list_(pa.bool_())),
        ]
        + [(name, pa.list_(pa.float32())) for name in TOKEN_COLUMNS]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    rows = [{**rollout, "prompt": prompt_key(rollout["prompt"])} for rollout in rollouts]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), partial)
    partial.replace(path)
