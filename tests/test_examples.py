"""Examples run as a user would run them, and importing stays light."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEAVY = {"trl", "transformers", "accelerate", "datasets"}
# Prints what was imported, whatever the program before it did.
REPORT = "import atexit, sys; atexit.register(lambda: print('MODULES', *sys.modules)); "


def run_python(code: str) -> tuple[str, set[str]]:
    """Run code in a new interpreter; return (what it printed, modules it imported)."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", REPORT + code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed, _, modules = done.stdout.rpartition("MODULES ")
    return printed, set(modules.split())


def test_rewards_only_needs_torch_alone():
    printed, modules = run_python("import runpy; runpy.run_path('examples/rewards_only.py', run_name='__main__')")
    table = {line.split()[0]: [float(x) for x in line.split()[1:]] for line in printed.splitlines() if "." in line[:20]}
    so, answer = (dict(zip(("r", "S", "G"), table[word][:3], strict=True)) for word in ("so", "answer"))
    # Feedback makes both words likelier, `so` whatever the question: the specific part tells them apart.
    assert min(so["r"], answer["r"]) > 1.0
    assert answer["S"] > 1.0 > so["S"]
    assert so["G"] > answer["G"]
    loss, gradient = re.search(r"teacher: (\S+), \|gradient\| (\S+)", printed).groups()
    assert min(float(loss), float(gradient)) > 0
    assert "torch" in modules
    assert not modules & HEAVY


def test_core_modules_need_torch_alone():
    names = "rewards, divergences, contrast, context"
    _, modules = run_python(f"from credit import {names}")
    assert {f"credit.{name}" for name in names.split(", ")} <= modules
    assert not modules & HEAVY


def test_importing_credit_is_fast_and_does_not_import_torch():
    printed, modules = run_python(
        "import time; start = time.perf_counter(); import credit; print(time.perf_counter() - start)"
    )
    assert "credit" in modules
    assert not modules & (HEAVY | {"torch", "numpy"})
    assert float(printed) < 1.0


def test_from_trl_trains(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDIT_EXAMPLE_OUT", str(tmp_path / "out"))
    code = "import warnings, runpy; warnings.simplefilter('ignore'); "
    printed, _ = run_python(code + "runpy.run_path('examples/from_trl.py', run_name='__main__')")
    assert re.search(r"step 4: reward 0\.\d+, share without teacher 0\.\d+", printed)
