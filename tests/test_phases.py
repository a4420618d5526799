"""What a run costs, and the digests that tell runs apart."""

import time

import numpy as np
import pytest
import torch

from credit import fingerprints, phases
from credit.phases import Phases, StepClock


def test_each_phase_has_its_own_peak():
    measured = Phases()
    with measured("large"):
        np.ones(25_000_000)  # 200 MB, given back at once
    with measured("small"):
        pass
    record = measured.record()["memory"]
    assert set(record["host"]) == {"large", "small"}
    if record["host_is"] == "peak of the phase":
        assert record["host"]["large"] - record["host"]["small"] > 150e6
    else:
        assert record["host"]["small"] >= record["host"]["large"]
    assert bool(record["device"]) == torch.cuda.is_available()


def test_without_a_mark_to_reset_the_record_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(phases, "_MARK", tmp_path / "absent" / "clear_refs")
    measured = Phases()
    with measured("one"):
        pass
    record = measured.record()["memory"]
    assert record["host_is"] == "peak since the process started"
    assert record["host"]["one"] > 50e6


def test_a_phase_entered_twice_adds_up_and_a_failing_one_counts():
    measured = Phases()
    for _ in range(2):
        with pytest.raises(KeyError), measured("train"):
            {}["after", time.sleep(0.02)]
    assert 0.04 <= measured.record()["seconds"]["train"] < 1


def test_a_part_inside_another_is_not_counted_twice():
    clock = StepClock("rollouts", "grading", "teachers")
    start = time.perf_counter()
    with clock("rollouts"):
        time.sleep(0.02)
        with clock("grading"):
            time.sleep(0.05)
    whole = time.perf_counter() - start
    spent = clock.take()
    assert spent["grading"] >= 0.05
    assert 0.02 <= spent["rollouts"] < whole - 0.05 + 1e-6
    assert spent["teachers"] == 0
    assert clock.take() == {"rollouts": 0, "grading": 0, "teachers": 0}


def test_a_clock_remembers_the_inner_part_that_an_error_came_out_of():
    clock = StepClock("rollouts", "grading")
    with clock("rollouts"), clock("grading"):
        pass
    assert clock.failed is None
    with pytest.raises(KeyError), clock("rollouts"), clock("grading"):
        {}["missing"]
    assert clock.failed == "grading"


def test_fingerprints_see_what_changed():
    rows = [{"prompt": f"p{i}", "answer": str(i)} for i in range(3000)]
    same = [dict(reversed(row.items())) for row in rows]
    assert fingerprints.of_rows(rows) == fingerprints.of_rows(same)
    digests = {fingerprints.of_rows(r) for r in (rows, rows[:-1], rows[1:], [], [*rows[:-1], {"prompt": "other"}])}
    assert len(digests) == 5
    model = torch.nn.Linear(300, 200)
    before = fingerprints.of_model(model)
    assert before == fingerprints.of_model(model)
    with torch.no_grad():
        model.weight[-1, -1] += 1e-3
    assert fingerprints.of_model(model) != before
    assert fingerprints.of_model(model.bfloat16()) != before
