"""Token credit on disk: one row per rollout, one list entry per response token, Parquet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

TOKEN_COLUMNS = ("logp_student", "logp_teacher", "logp_teacher_nofeedback", "r", "S", "G", "R", "baseline")
"""Per-token numbers in nats; NaN where a quantity does not exist (a tool's token, no teacher, no negative, a live
teacher). `baseline` is what the student could expect at that place, E_{v~p} R_v."""

ALTERNATIVES = ("alt_logp_student", "alt_logp_teacher", "alt_G", "alt_R")
"""The same of the tokens that student or target would most likely have written at each place: lists of lists."""


def spread(values_N: Any, where_BT: Any) -> Any:
    """Put the values of the chosen tokens, (N, ...), on all tokens, (B, T, ...): NaN, or -1 for ids, elsewhere."""
    missing = float("nan") if values_N.is_floating_point() else -1
    whole = values_N.new_full((*where_BT.shape, *values_N.shape[1:]), missing)
    whole[where_BT] = values_N
    return whole


def token_lists(
    scores_BT: Mapping[str, Any], row: int, length: int, name_tokens: Callable[[list[int]], Sequence[str]]
) -> dict[str, list[Any]]:
    """Return every per-token column of one rollout, from tensors on all tokens (as `spread` makes them).

    Args:
        scores_BT: `TOKEN_COLUMNS`, and where they were scored `logp_contrast`, `alt_ids` and `ALTERNATIVES`.
        row: which rollout of the batch.
        length: its number of tokens.
        name_tokens: vocabulary entries of ids.
    """
    columns = {name: scores_BT[name][row, :length].tolist() for name in (*TOKEN_COLUMNS, "logp_contrast")}
    if "alt_ids" in scores_BT:
        ids_TA = scores_BT["alt_ids"][row, :length].tolist()
        scored = [ids for ids in ids_TA if -1 not in ids]
        columns["alt_ids"] = [ids if -1 not in ids else [] for ids in ids_TA]
        names = iter(name_tokens([i for ids in scored for i in ids]))
        columns["alt_tokens"] = [[next(names) for _ in ids] for ids in columns["alt_ids"]]
        for name in ALTERNATIVES:
            values_TA = scores_BT[name][row, :length].tolist()
            columns[name] = [v if ids else [] for v, ids in zip(values_TA, columns["alt_ids"], strict=True)]
    return columns


def write_token_credit(path: Path, rollouts: list[dict[str, Any]]) -> None:
    """Write rollouts to `path`.

    Each holds `step`, `scored_again` (a rollout of the first file, as student and teacher see it now), `row`, `group`,
    `family` (of its row, where the data has one), `prompt` (kept as JSON text if it is a message list), `completion`,
    `score`, `solution`, `feedback`, `negatives` (texts of x'), `teacher_prompt` (all the teacher read, as its tokens
    spell it), `tokens`, `token_ids`, `ends` (where each token ends in `completion`, in characters; None when the tokens
    do not spell it), `own` (which tokens the model wrote; the others are what tools answered, and earn no credit), the
    lists named in `TOKEN_COLUMNS`, and lists of lists: `logp_contrast` (log-prob under each x'), `alt_tokens`,
    `alt_ids` and those named in `ALTERNATIVES`. What is missing becomes null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from credit.contrast import prompt_key  # here, so that readers need no torch

    def many(names: Sequence[str], kind: Any) -> list[tuple[str, Any]]:
        return [(name, kind) for name in names]

    numbers = pa.list_(pa.float32())
    schema = pa.schema(
        many(("step", "row", "group"), pa.int64())
        + many(("scored_again",), pa.bool_())
        + many(("family", "prompt", "completion"), pa.string())
        + many(("score",), pa.float64())
        + many(("solution", "feedback"), pa.string())
        + many(("negatives",), pa.list_(pa.string()))
        + many(("teacher_prompt",), pa.string())
        + many(("tokens",), pa.list_(pa.string()))
        + many(("token_ids", "ends"), pa.list_(pa.int64()))
        + many(("own",), pa.list_(pa.bool_()))
        + many(TOKEN_COLUMNS, numbers)
        + many(("alt_tokens",), pa.list_(pa.list_(pa.string())))
        + many(("alt_ids",), pa.list_(pa.list_(pa.int64())))
        + many(("logp_contrast", *ALTERNATIVES), pa.list_(numbers))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    rows = [{**rollout, "prompt": prompt_key(rollout["prompt"])} for rollout in rollouts]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), partial)
    partial.replace(path)
