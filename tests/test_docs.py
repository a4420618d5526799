"""Documentation that cannot fall behind: every option and every logged metric has its row."""

import re
import runpy
from pathlib import Path

from local_models import fit, make_trainer, save_model

DOCS = Path(__file__).parents[1] / "docs"


def test_options_page_is_what_the_classes_say():
    page = runpy.run_path(str(DOCS / "generate.py"))["page"]()
    assert (DOCS / "options.md").read_text() == page, "run: python docs/generate.py"


def test_every_logged_metric_has_a_row(tmp_path):
    documented = set(re.findall(r"`([\w/<>]+)`", (DOCS / "metrics.md").read_text()))
    logged = set()
    model = str(save_model("qwen3", tmp_path / "model"))  # a path: the reference model is loaded again from it
    for options in ({"credit_log_steps": 1, "beta": 0.1}, {"level": "token"}, {"method": "grpo"}, {"lam": 0.0}):
        trainer = make_trainer(tmp_path / "out", model=model, max_steps=1, **options)
        fit(trainer)
        logged |= {name for log in trainer.state.log_history if "loss" in log for name in log}
    logged = {re.sub(r"^rewards/\w+/", "rewards/<function>/", name) for name in logged}
    assert logged - documented == set()
    assert {name for name in documented if name.startswith("credit/") and "NNN" not in name} <= logged
