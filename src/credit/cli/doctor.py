"""`credit doctor`."""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

PACKAGES = (
    "credit-distill",
    "torch",
    "trl",
    "transformers",
    "accelerate",
    "datasets",
    "peft",
    "vllm",
    "numpy",
    "pyarrow",
)
HUB_SECONDS = 3.0


def main(argv: list[str]) -> int:
    """Say what this machine has, which sandbox level is proven on it, and what would run where."""
    parser = argparse.ArgumentParser(prog="credit doctor", description=main.__doc__)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--offline", action="store_true", help="do not ask the hub")
    options = parser.parse_args(argv)
    found = {"versions": versions(), "devices": devices(), "sandbox": sandbox(), "hub": hub(options.offline)}
    found["runs"] = what_runs(found)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    return 0


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that matter; None where one is missing."""
    known: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            known[name] = None
    return known


def devices() -> dict[str, Any]:
    """Return cores, memory and accelerators."""
    import torch

    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names else 0
    accelerators = []
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        assert kind is not None
        for index in range(torch.accelerator.device_count()):
            name = torch.cuda.get_device_name(index) if kind.type == "cuda" else kind.type
            accelerators.append(name)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**30, 1) if pages else None,
        "accelerators": accelerators,
    }


def sandbox() -> dict[str, Any]:
    """Try every protected level of the sandbox, and return what each try showed."""
    from credit.sandbox import probe_levels

    if platform.system() != "Linux":
        return {"level": None, "levels": [], "reason": f"the sandbox needs Linux, not {platform.system()}"}
    reports = probe_levels()
    proven = [report.level for report in reports if report.proven]
    return {
        "level": proven[0] if proven else None,
        "levels": [
            {
                "level": report.level,
                "proven": report.proven,
                "reason": report.reason,
                "needs": report.needs,
                "probe": [{"act": act, "refused": refused} for act, refused in report.probe],
            }
            for report in reports
        ],
        "reason": "" if proven else "no level could be proven",
    }


def hub(offline: bool) -> dict[str, Any]:
    """Return whether the model hub answers within a few seconds."""
    from huggingface_hub import constants

    if offline or constants.HF_HUB_OFFLINE:
        return {"reachable": False, "reason": "not asked: offline was requested"}
    if urlsplit(constants.ENDPOINT).scheme not in ("http", "https"):
        return {"reachable": False, "reason": "its address is no http address"}
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=HUB_SECONDS):
            return {"reachable": True, "reason": ""}
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return {"reachable": False, "reason": " ".join(str(reason).split()) or type(error).__name__}


def what_runs(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what would run where, one line each."""
    level, accelerators = found["sandbox"]["level"], found["devices"]["accelerators"]
    where = f"{len(accelerators)} x {accelerators[0]}" if accelerators else "the CPU, in float32"
    missing = [name for name in ("trl", "transformers", "datasets") if found["versions"][name] is None]
    trainer = f"needs {', '.join(missing)}: pip install 'credit-distill[train]'" if missing else f"on {where}"
    programs = f"in the sandbox at level {level}" if level else "refused: no level of the sandbox is proven here"
    walked = "" if level else "; its code family without running programs"
    vllm = found["versions"]["vllm"]
    rollouts = f"by vllm {vllm} through TRL, on NVIDIA GPUs" if vllm else "by transformers; vllm is not installed"
    hub = found["hub"]
    models = "from the hub or from folders" if hub["reachable"] else f"from folders only (hub: {hub['reason']})"
    return [
        ("training and evaluation", trainer),
        ("rollouts", rollouts),
        ("the embedded world", f"yes, without network{walked}"),
        ("coding tasks", programs),
        ("models and data sets", models),
    ]


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table

    from credit.cli.display import console

    table = Table(title="this machine", show_header=False)
    for name, text in found["versions"].items():
        table.add_row(name, text or "not installed")
    machine = found["devices"]
    table.add_row("system", f"{machine['system']}, {machine['cores']} cores, {machine['memory_gib'] or '?'} GiB")
    table.add_row("accelerators", ", ".join(machine["accelerators"]) or "none")
    console.print(table)
    levels = Table(title="levels of the sandbox, strongest first")
    for column in ("level", "proven", "forbidden acts refused", "why not", "needs"):
        levels.add_column(column)
    for report in found["sandbox"]["levels"]:
        refused = sum(act["refused"] for act in report["probe"])
        acts = f"{refused} of {len(report['probe'])}" if report["probe"] else "-"
        proven = "yes" if report["proven"] else "no"
        levels.add_row(report["level"], proven, acts, report["reason"], "" if report["proven"] else report["needs"])
    console.print(levels)
    chosen = next((r for r in found["sandbox"]["levels"] if r["level"] == found["sandbox"]["level"]), None)
    if chosen:
        acts = ", ".join(act["act"] for act in chosen["probe"])
        console.print(f"A confined program was caught when it tried to: {acts}.", highlight=False)
    elif found["sandbox"]["reason"]:
        console.print(f"[bold]{found['sandbox']['reason']}[/]", highlight=False)
    runs = Table(title="what would run where", show_header=False)
    for name, text in found["runs"]:
        runs.add_row(name, text)
    console.print(runs)
