"""The viewer's page without a browser: what is packed equals the file, and odd input is named."""

import base64
import gzip
import json
import math
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from credit.cli import main
from credit.credit_log import ALTERNATIVES, TOKEN_COLUMNS, write_token_credit
from credit.viewer import inspect
from viewer_rows import rollout

NAN = math.nan


def page_of(path):
    """Return (data of the page, its whole text)."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    return json.loads(found[1]), text


def written(tmp_path, rows, **options):
    write_token_credit(tmp_path / "step_000010.parquet", rows)
    path, found, problems = inspect(tmp_path / "step_000010.parquet", **options)
    return (*page_of(path), found, problems)


def unpacked(response):
    """Read the bytes of a response as the page's script does."""
    data, at = gzip.decompress(base64.b64decode(response["data"])), 0
    T, C, A = response["T"], response["C"], response["A"]

    def take(kind, *shape):
        nonlocal at
        size = int(np.prod(shape))
        part = np.frombuffer(data, kind, size, at).reshape(shape)
        at += part.nbytes
        return part

    numbers = {name: take("<f4", T) for name in TOKEN_COLUMNS}
    numbers["logp_contrast"] = take("<f4", C, T).T
    numbers |= {name: take("<f4", T, A) for name in ALTERNATIVES}
    numbers |= {"texts": take("<u4", T), "ids": take("<u4", T), "alt_texts": take("<u4", T, A), "flags": take("u1", T)}
    assert at == len(data)
    return numbers


def test_every_number_on_the_page_is_that_of_the_file_bit_for_bit(tmp_path):
    rows = [rollout(seed, size=5 + seed, negatives=1 + seed % 3) for seed in range(6)]
    data, *_ = written(tmp_path, rows)
    table = pq.read_table(tmp_path / "step_000010.parquet")
    assert [r["T"] for r in data["responses"]] == [5 + seed for seed in range(6)]
    for row, response in zip(table.to_pylist(), data["responses"], strict=True):
        numbers = unpacked(response)
        for name in (*TOKEN_COLUMNS, "logp_contrast", *ALTERNATIVES):
            assert np.array_equal(numbers[name], np.array(row[name], np.float32)), name
        assert [data["words"][i] for i in numbers["texts"]] == row["tokens"]
        assert numbers["ids"].tolist() == row["token_ids"]
        assert [[data["words"][i] for i in line] for line in numbers["alt_texts"]] == row["alt_tokens"]
        assert response["score"] == row["score"]
        assert response["pmi"] == pytest.approx(math.fsum(row["r"]), rel=1e-6)
        assert response["credit"] == pytest.approx(math.fsum(map(abs, row["R"])), rel=1e-6)
        generic = [abs(R) for S, R in zip(row["S"], row["R"], strict=True) if abs(S) <= math.log(2)]
        assert response["generic"] == pytest.approx(math.fsum(generic) / math.fsum(map(abs, row["R"])))
        assert data["texts"][response["teacher"]] == [["", row["teacher_prompt"]]]
        assert [data["texts"][i][0][1] for i in response["negatives"]] == row["negatives"]


def test_generic_and_specific_words_by_hand(tmp_path):
    def said(seed, *pairs):
        words, S = [w for w, _ in pairs], [s for _, s in pairs]
        size, logp = len(pairs), [s - 1.0 for _, s in pairs]
        own = [True] * (size - 1) + [False]  # what a tool answers is in no sum
        numbers = {"S": S, "G": [-1.0] * size, "R": [2.0] * size, "r": [0.0] * size}
        return rollout(seed, size, words=words, own=own, logp_teacher=logp, logp_student=logp, **numbers)

    rows = [
        said(0, ("so", 0.1), ("s7", 3.0), ("rare", 9.0), ("tool", 50.0)),
        said(1, ("so", -0.1), ("s7", -5.0), ("s7", 4.0), ("tool", 50.0)),
        said(2, ("so", 0.0), ("so", 0.0), ("x", 0.0), ("tool", 0.0)),
    ]
    data, *_ = written(tmp_path, rows)
    generic, specific = data["tables"]["generic"], data["tables"]["specific"]
    assert [(e["text"], e["count"]) for e in generic] == [("so", 4)]
    assert generic[0]["size"] == pytest.approx(0.05)
    assert [(e["text"], e["count"]) for e in specific] == [("s7", 3)]
    assert specific[0] == pytest.approx({"text": "s7", "count": 3, "size": 4.0, "S": 2 / 3, "G": -1.0, "share": 3 / 9})


def test_odd_input_is_named_and_marked(tmp_path):
    rows = [
        rollout(0, size=0, completion="", words=[]),
        rollout(1, size=1),
        rollout(2, r=[NAN] * 12, R=[NAN] * 12, S=[NAN] * 12, G=[NAN] * 12, alt_tokens=None, logp_contrast=None),
        rollout(3, S=[NAN, *[0.5] * 11]),
        rollout(4, R=[0.5] * 3),
        rollout(5, score=None, own=[True] * 6 + [False] * 6),
    ]
    data, _, found, problems = written(tmp_path, rows)
    why = [response["why"] for response in data["responses"]]
    assert why[:3] == ["The response is empty.", None, "No teacher could be built for this response."]
    assert why[3].startswith("S is not a finite number at 1 of 12 tokens")
    assert why[4] == "R has 3 values for 12 tokens."
    assert problems == ["step_000010.parquet, row 5: R has 3 values for 12 tokens; it is left out."]
    assert np.isnan(unpacked(data["responses"][3])["S"][0])
    assert np.isnan(unpacked(data["responses"][4])["R"]).all()
    assert [unpacked(r)["flags"].tolist() for r in data["responses"][5:]] == [[1] * 6 + [0] * 6]
    assert found["counts"]["responses"] == 6
    assert data["responses"][2]["A"] == 0


def test_missing_columns_are_named(tmp_path):
    path = tmp_path / "old.parquet"
    write_token_credit(path, [rollout(0)])
    pq.write_table(pq.read_table(path).drop_columns(["baseline", "S", "alt_tokens", "family"]), path)
    page, _, problems = inspect(path)
    assert problems == ["old.parquet has no column S, baseline: what needs it is left out."]
    data, _ = page_of(page)
    assert data["responses"][0]["generic"] is None
    assert data["tables"] == {"generic": [], "specific": []}


def test_nothing_a_model_wrote_can_leave_its_place(tmp_path):
    hostile = "</script><script>alert(1)</script><!-- \u2028 \u202e {{ 7*7 }}"
    row = rollout(0, size=2, words=[hostile, "b"], feedback=hostile, prompt=hostile)
    data, text, *_ = written(tmp_path, [row])
    assert text.count("<script") == 2  # the data and the script
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert data["words"][0].startswith("</script><script>alert(1)")
    assert "⟨U+202E⟩" in data["words"][0]


def test_a_file_without_credit_says_how_to_get_some(tmp_path, capsys):
    (tmp_path / "rollouts.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    assert main(["inspect", str(tmp_path / "rollouts.jsonl")]) == 2
    assert "Score its rollouts first: credit diagnose" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "nothing")]) == 2
    assert "neither a run nor a file" in capsys.readouterr().err


def test_a_limit_takes_the_first_of_every_file_and_says_so(tmp_path):
    run = tmp_path / "run"
    for step in (0, 10):
        write_token_credit(run / "credit" / f"step_{step:06d}.parquet", [rollout(s, step=step) for s in range(5)])
    (run / "config.yaml").write_text("method: credit\nform: guided\nlam: 1.0\n")
    path, *_ = inspect(run, limit=4, settings={"method": "credit", "form": "guided", "lam": 1.0})
    data, _ = page_of(path)
    assert path == run / "inspect.html"
    assert data["notes"][:2] == [
        "R = r + λS. (form guided, λ = 1.0)",
        "4 of 10 responses: the first 2 of each file. --limit 10 shows all.",
    ]
    assert [(r["file"], r["place"]) for r in data["responses"]] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert len(data["steps"]) == 3
