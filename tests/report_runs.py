"""Made-up run directories, and a reader that sees the page as a browser would."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import yaml

from credit.credit_log import TOKEN_COLUMNS, write_token_credit
from credit.report import write_report

HOSTILE = '<script>alert(1)</script><img src="http://evil.example/x.png" onerror=alert(2)>&amp;"\'{{ 7*7 }}'


def estimate(mean, low=None, high=None, n=280):
    return {"n": n, "mean": mean, "low": low, "high": high}


def side(mean):
    families = {
        "route": estimate(mean - 0.1, mean - 0.17, mean - 0.03, 70),
        "facts": estimate(mean + 0.05, n=70),
    }
    return {
        "sampled": {"overall": estimate(mean, mean - 0.04, mean + 0.04), "families": families},
        "greedy": {"overall": estimate(mean + 0.02, mean - 0.03, mean + 0.07), "families": families},
        "extras": {"reasoning_kept": 0.9125, "boilerplate_leak": 0.0225},
    }


def evaluation(before=0.421, after=0.911, low=0.442, high=0.533):
    return {
        "settings": {"split": "test", "samples": 4, "interval": "95% bootstrap over prompts", "prompts": 280},
        "before": side(before),
        "after": side(after),
        "difference": {"sampled": {"overall": {"mean": after - before, "low": low, "high": high}}},
        "changes": {"gained": 171, "lost": 34, "unchanged": 75},
        "examples": [
            {
                "prompt": "p-gained",
                "family": "route",
                "before": "s1",
                "before_score": 0,
                "after": "s7",
                "after_score": 1,
                "answer": "s7",
            },
            {
                "prompt": [{"role": "user", "content": "p-lost"}],
                "before": HOSTILE,
                "before_score": 1,
                "after": "x",
                "after_score": 0.5,
            },
            {"prompt": "p-same", "before": "a", "before_score": 1, "after": "a", "after_score": 1},
            {"prompt": "p-unscored", "before": "a", "before_score": None, "after": "a", "after_score": 1},
        ],
    }


def rollout(tokens, values=None, **fields):
    numbers = {name: values or [round(0.1 * i - 0.2, 3) for i in range(len(tokens))] for name in TOKEN_COLUMNS}
    row = {
        "step": 10,
        "row": 0,
        "group": 0,
        "prompt": '[{"content": "which unit?", "role": "user"}]',
        "completion": " ".join(tokens),
        "score": 0.25,
        "solution": "a sibling",
        "feedback": None,
        "negatives": ["an unrelated input"],
        "tokens": tokens,
        "token_ids": list(range(len(tokens))),
    }
    return {**row, **numbers, **fields}


def write_run(folder: Path, **parts) -> Path:
    """Write a run directory; `parts` replace its files, None leaves one out."""
    metrics = [
        {
            "step": s,
            "epoch": s / 50,
            "reward": 0.4 + s / 100,
            "entropy": 1.5,
            "credit/loss": 2.0 / s,
            "completions/mean_length": 12.0,
            "credit/no_teacher": 0.125,
            "credit/no_negative": 0.0,
            "credit/clamped": 0.0004,
            "credit/context_cut": 0.0,
            "step_time": 2.0,
            "step_time/rollouts": 1.0,
            "step_time/grading": 0.25,
            "step_time/teachers": 0.5,
            **({"credit/R": 0.2} if s % 10 == 0 else {}),
        }
        for s in range(1, 51)
    ]
    run = {
        "status": "complete",
        "started": "2026-01-02T03:04:05+00:00",
        "command": "credit train --config quickstart",
        "seconds": {"setup": 1.5, "eval_before": 20.0, "train": 134.2, "eval_after": 21.0},
        "memory": {
            "host": {"setup": 5e8, "eval_before": 6e8, "train": 1.25e9, "eval_after": 7e8},
            "device": {},
            "host_is": "peak of the phase",
        },
        "origins": {"lam": "flag", "form": "config quickstart.yaml", "overwrite": "flag"},
        "idle_warnings": [],
        "fingerprints": {"model": "00ff00ff00ff00ff"},
        "model": "tiny",
        "seed": 3,
        "versions": {"credit": "0.1.0", "trl": "1.16.0"},
        "dataset": "embedded world",
        "note": "lam is provisional",
    }
    files = {
        "config": {
            "zeta": 1,
            "lam": 0.5,
            "method": "credit",
            "form": "guided",
            "hub_token": "hf_x",
            "max_steps": 50,
        },
        "run": run,
        "eval": evaluation(),
        "metrics": metrics,
        "rollouts": [rollout(["let", "me", "think"])],
    }
    files.update(parts)
    folder.mkdir(parents=True, exist_ok=True)
    if files["config"] is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(files["config"]))
    for name in ("run", "eval"):
        if files[name] is not None:
            (folder / f"{name}.json").write_text(json.dumps(files[name]))
    if files["metrics"] is not None:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in files["metrics"]))
    if files["rollouts"] is not None:
        write_token_credit(folder / "credit" / "step_000010.parquet", files["rollouts"])
    return folder


class Page(HTMLParser):
    """What a browser would make of the page: tags with attributes, and text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(source)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in ("td", "th", "dt", "dd", "li", "h2", "h3"):
            self.text += " "

    def handle_data(self, data):
        if self.cdata_elem is None:  # not the style sheet
            self.text += data


def page(folder: Path) -> Page:
    path = write_report(folder)
    assert path == folder / "report.html"
    assert not list(folder.glob("*.partial")) + list(folder.glob(".*.partial"))
    parsed = Page(path.read_text(encoding="utf-8"))
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "img", "link", "iframe", "object", "base")]
    for _, attributes in parsed.tags:
        assert not {"src", "xlink:href", "srcset", "action"} & attributes.keys()
        assert attributes.get("href", "#") == "inspect.html" or attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
        assert "url(" not in (attributes.get("style") or "")
    return parsed
