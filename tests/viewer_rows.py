"""Rollouts with token credit, made up for the viewer: every number is random and different."""

import numpy as np

from credit.credit_log import ALTERNATIVES, TOKEN_COLUMNS


def rollout(seed=0, size=12, step=10, negatives=1, words=None, **changes):
    """Return a row as `write_token_credit` takes it; r, S and G fit together."""
    rng = np.random.default_rng(seed)
    numbers = {name: rng.normal(0, 2, size).astype(np.float32) for name in TOKEN_COLUMNS}
    numbers["r"] = numbers["logp_teacher"] - numbers["logp_student"]
    numbers["S"] = numbers["logp_teacher"] - numbers["G"]
    words = words or [f"w{i % 7}" for i in range(size)]
    text = " ".join(words)
    row = {
        "step": step,
        "row": seed,
        "group": seed,
        "family": ("facts", "route")[seed % 2],
        "prompt": [{"role": "system", "content": "you know units ."}, {"role": "user", "content": f"question {seed}"}],
        "completion": text,
        "score": float(seed % 3 == 0),
        "solution": None if seed % 2 else f"solution {seed}",
        "feedback": f"feedback {seed}" if seed % 2 else None,
        "negatives": [f"unrelated {seed} {c}" for c in range(negatives)],
        "teacher_prompt": f"<|user|> question {seed} and more",
        "tokens": words,
        "token_ids": list(range(size)),
        "ends": np.cumsum([len(w) + 1 for w in words]).tolist() if size else [],
        "own": [True] * size,
        "logp_contrast": rng.normal(-3, 1, (size, negatives)).astype(np.float32).tolist(),
        "alt_tokens": [[f"a{t}", words[t]] for t in range(size)],
        "alt_ids": [[t, t + 1] for t in range(size)],
        **{name: rng.normal(0, 2, (size, 2)).astype(np.float32).tolist() for name in ALTERNATIVES},
        **{name: values.tolist() for name, values in numbers.items()},
    }
    return {**row, **changes}
