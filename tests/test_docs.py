"""Documentation that cannot fall behind: every option and every logged metric has its row."""

import re
import runpy
from pathlib import Path

import pytest

from credit.diagnostics.choices import MEANING as CHOICES
from credit.diagnostics.summary import MEANING
from credit.theory import IDENTITIES
from credit.theory.curves import collect
from local_models import fit, make_trainer, save_model

DOCS = Path(__file__).parents[1] / "docs"


def test_options_page_is_what_the_classes_say():
    page = runpy.run_path(str(DOCS / "generate.py"))["page"]()
    assert (DOCS / "options.md").read_text() == page, "run: python docs/generate.py"


def drawn(svg):
    """What a figure says, and where its lines and bars run; the rest may differ between versions of matplotlib."""
    marks = re.findall(r'<g class="(?:line|bar)-[^"]*">.*?</g>', svg, flags=re.DOTALL)
    numbers = [float(n) for mark in marks for n in re.findall(r"-?[\d.]+", re.search(r' d="([^"]*)"', mark)[1])]
    return re.findall(r'>([^<]+)<|aria-label="([^"]*)"', svg), numbers


def test_figures_are_what_the_sums_give():
    for name, text in runpy.run_path(str(DOCS / "generate.py"))["drawings"]().items():
        (said, where), (said_now, where_now) = drawn((DOCS / "images" / "theory" / name).read_text()), drawn(text)
        assert said == said_now, "run: python docs/generate.py"
        assert len(where) > 7
        assert where == pytest.approx(where_now, abs=1), "run: python docs/generate.py"


def test_every_number_of_a_diagnosis_has_a_row():
    documented = set(re.findall(r"^\| `(\w+)`", (DOCS / "diagnostics.md").read_text(), flags=re.MULTILINE))
    assert documented == {*MEANING, *CHOICES}


def test_every_identity_is_on_the_theory_page():
    page = (DOCS / "theory.md").read_text()
    assert [identity.name for identity in IDENTITIES if f"**{identity.name}**" not in page] == []
    assert set(re.findall(r"images/theory/([\w-]+)\.svg", page)) == set(collect())


def test_every_logged_metric_has_a_row(tmp_path):
    documented = set(re.findall(r"`([\w/<>]+)`", (DOCS / "metrics.md").read_text()))
    logged = set()
    model = str(save_model("qwen3", tmp_path / "model"))  # a path: the reference model is loaded again from it
    others = [{"level": "token"}, {"method": "grpo"}, {"lam": 0.0}, {"method": "srpo"}]
    for options in ({"credit_log_steps": 1, "beta": 0.1}, *others):
        trainer = make_trainer(tmp_path / "out", model=model, max_steps=1, **options)
        fit(trainer)
        logged |= {name for log in trainer.state.log_history if "loss" in log for name in log}
    logged = {re.sub(r"^rewards/\w+/", "rewards/<function>/", name) for name in logged}
    assert logged - documented == set()
    assert {name for name in documented if name.startswith("credit/") and "NNN" not in name} <= logged


def test_the_results_page_is_what_the_committed_results_say():
    made = runpy.run_path(str(DOCS / "results.py"))
    studies = made["studies"]()
    assert {folder.name for folder in studies} == {"embedded", "second-base"}
    assert (DOCS / "results.md").read_text() == made["page"](studies), "run: python docs/results.py"
    for name, text in made["drawings"](studies).items():
        assert f"images/results/{name}" in (DOCS / "evidence.md").read_text()
        assert drawn((DOCS / "images" / "results" / name).read_text())[0] == drawn(text)[0], (
            "run: python docs/results.py"
        )


def test_tables_of_performance_are_what_the_saved_runs_say():
    made = runpy.run_path(str(DOCS / "performance.py"), run_name="performance")
    for name in made["PAGES"]:
        text = (DOCS / name).read_text()
        assert made["filled"](text) == text, "run: python docs/performance.py"
    assert {mark for name in made["PAGES"] for mark in re.findall(r"<!-- (\w+) -->", (DOCS / name).read_text())} == set(
        made["tables"]()
    )


def test_numbers_of_the_study_in_prose_are_in_its_results():
    results = (DOCS / "results.md").read_text().replace("\u2212", "-")
    readme = (DOCS.parent / "README.md").read_text()
    tables = re.findall(r"^\| (?:Dr\.)?GRPO.*\|$", readme, flags=re.MULTILINE)
    assert len(tables) == 5
    for text in (*tables, (DOCS / "evidence.md").read_text()):
        for low, high in re.findall(r"\[([+-][\d.]+), ([+-][\d.]+)\]", text):
            assert f"[{low}, {high}]" in results, (low, high)
