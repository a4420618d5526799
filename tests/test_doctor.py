"""`credit doctor`: what is shown is what was tried, and nothing that is missing stops it."""

import json

import pytest

from credit.cli import doctor, main


def report(capsys, *argv: str) -> dict:
    assert main(["doctor", "--json", "--offline", *argv]) == 0
    return json.loads(capsys.readouterr().out)


def test_doctor_reports_versions_devices_and_the_proven_level(capsys):
    found = report(capsys)
    assert found["versions"]["torch"]
    assert found["devices"]["cores"] >= 1
    levels = {level["level"]: level for level in found["sandbox"]["levels"]}
    assert list(levels) == ["namespaced", "locked", "locked_no_landlock"]
    proven = [name for name, level in levels.items() if level["proven"]]
    assert found["sandbox"]["level"] == proven[0]
    for name in proven:
        assert all(act["refused"] for act in levels[name]["probe"])
        assert len(levels[name]["probe"]) >= 30
    assert found["hub"] == {"reachable": False, "reason": "not asked: offline was requested"}
    assert dict(found["runs"])["coding tasks"] == f"in the sandbox at level {proven[0]}"


def test_doctor_says_what_to_install_and_what_is_refused(monkeypatch, capsys):
    from credit.sandbox import LevelReport

    missing = [
        LevelReport("namespaced", False, "bwrap is not installed", "bubblewrap (`apt-get install bubblewrap`)", ())
    ]
    monkeypatch.setattr("credit.sandbox.probe_levels", lambda: missing)
    assert main(["doctor", "--offline"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "no level could be proven" in shown
    assert "refused: no level" in shown
    found = report(capsys)
    assert "its code family without running programs" in dict(found["runs"])["the embedded world"]
    (level,) = found["sandbox"]["levels"]
    assert (level["reason"], level["needs"]) == (missing[0].reason, missing[0].needs)


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_doctor_runs_where_there_is_no_sandbox(monkeypatch, system):
    monkeypatch.setattr("platform.system", lambda: system)
    assert doctor.sandbox() == {"level": None, "levels": [], "reason": f"the sandbox needs Linux, not {system}"}


def test_an_unreachable_hub_is_a_reason_not_an_error(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(doctor, "urlopen", refuse)
    assert doctor.hub(offline=False) == {"reachable": False, "reason": "no route"}
