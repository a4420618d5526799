"""The estimate on paper against what was measured, and what must follow from what."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from credit.cli import main
from credit.plan import MIB, Job, Rates, Shape, estimate

PAGES = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "performance.py"), run_name="performance")
of_size, RATES = PAGES["of_size"], PAGES["ONE_CORE"]
MEASURED = PAGES["saved"]("step")["sizes"] | PAGES["saved"]("step_long")["sizes"]


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize(("variant", "views"), [("credit-top100", 2), ("sdpo-top100", 1)])
def test_peak_memory_is_within_a_quarter_of_what_was_measured(name, variant, views):
    row = MEASURED[name]["variants"][variant]
    shape, job = of_size(MEASURED[name]["shape"], views)
    found = estimate(shape, job, RATES)
    assert 5 * 4 * shape.parameters / MIB == pytest.approx(row["fixed_mib"], rel=1e-3)
    bare = row["peak_mib"] - row["fixed_mib"] - row["beyond_mib"]  # the process before a model is made
    assert bare + found.peak / MIB == pytest.approx(row["peak_mib"], rel=0.25)


@pytest.mark.parametrize("name", MEASURED)
def test_seconds_are_of_the_right_size(name):  # one rate for all shapes; a shared machine
    shape, job = of_size(MEASURED[name]["shape"], 2)
    seconds = estimate(shape, job, RATES).seconds
    counted = sum(seconds[part] for part in ("student", "teacher", "contrast", "head"))
    assert 0.5 < counted / MEASURED[name]["variants"]["credit-top100"]["seconds"] < 2


def test_what_follows_from_what():
    shape = Shape(8_000_000_000, 152_000, 4096, 36, 12288, 1024)
    job = Job(64, 4, 512, 1024, 1024, 2)
    rates = Rates(400e12, 2e12)
    one = estimate(shape, job, rates)
    shared = estimate(shape, replace(job, shards=8), rates)
    assert shared.held["weights"] == one.held["weights"] / 8
    assert shared.peak < one.peak
    more = estimate(shape, replace(job, views=3), rates)
    assert more.seconds["contrast"] == pytest.approx(2 * one.seconds["contrast"])
    assert more.seconds["teacher"] == one.seconds["teacher"]
    assert estimate(shape, replace(job, views=0), rates).held["teacher"] == 0
    twice = estimate(shape, replace(job, teacher="trust_region"), rates)
    assert twice.seconds["contrast"] == 2 * one.seconds["contrast"]
    assert estimate(shape, replace(job, weight=2), rates).held["weights"] == one.held["weights"] / 2
    assert estimate(shape, replace(job, support=True), rates).seconds["head"] < one.seconds["head"] / 4
    elsewhere = estimate(shape, replace(job, generates=False, compared=True, reserved=2.0**30), rates)
    assert elsewhere.seconds["generation"] == 0
    assert elsewhere.seconds["student, once more"] > one.seconds["student, once more"] == 0
    assert elsewhere.held["vLLM"] == 2**30
    assert elsewhere.generating == {}


def test_the_command_reads_no_weights_and_takes_all_options(capsys):
    assert main(["plan", "--config", "quickstart", "--num_negatives", "2", "--gpus", "2"]) == 0
    shown = capsys.readouterr().out
    assert "peak (training or generating)" in shown
    assert "fits 80 GB" in shown
    assert main(["plan", "--config", "quickstart", "--gpus", "0"]) == 2
    assert "--gpus 0 is no number" in capsys.readouterr().err
    assert main(["plan", "--config", "quickstart", "--taught", "3"]) == 2
    assert "a share in [0, 1]" in capsys.readouterr().err


def test_units_and_a_model_that_is_not_at_hand_are_explained(capsys):
    assert main(["plan", "--config", "quickstart", "--tflops", "4e14"]) == 2
    assert "--tflops counts in 10^12 operations" in capsys.readouterr().err
    assert main(["plan", "--model", "nobody/nothing"]) == 2
    assert "Name a folder that holds its config.json: --model FOLDER" in capsys.readouterr().err
