"""`credit compare`."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import Any

import yaml

from credit.cli.configs import read_config, split_flags
from credit.errors import UserError
from credit.study import finalists
from credit.study.cells import Cell, check_unchanged, status
from credit.study.plan import STAGES, Study, read_study
from credit.study.results import read_results, row_of, write_results
from credit.study.runner import Outcome, claimed, finished, last_words, run_cells, usable_cores


def main(argv: list[str]) -> int:
    """Run a study file: methods side by side, tuned on validation rows and compared by seed on test rows."""
    parser = argparse.ArgumentParser(prog="credit compare", description=main.__doc__)
    parser.add_argument("--config", help="study file, or a built-in one: study-smoke, study (docs/compare.md)")
    parser.add_argument("--out", type=Path, help="folder of the study; the same folder goes on. Default: runs/NAME")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="default: all, in order")
    parser.add_argument("--jobs", type=int, help="cells at a time. Default: usable cores; 1 on an accelerator")
    parser.add_argument("--keep", action="store_true", help="keep models, answers and checkpoints of finished cells")
    parser.add_argument("--dry_run", action="store_true", help="check everything, list the cells, run nothing")
    parser.add_argument("--report", type=Path, metavar="STUDY", help="table and page again, from results.parquet alone")
    options = parser.parse_args(split_flags(argv))
    if (options.config is None) == (options.report is None):
        raise UserError("give either --config with a study file, or --report with the folder of one that has run.")
    if options.report is not None:
        return _report(options.report)
    if options.jobs is not None and options.jobs < 1:
        raise UserError(f"--jobs {options.jobs}: use at least 1.")
    from credit.cli.planning import Planner, estimate, presets

    file, content = read_config(options.config)
    study = read_study(Path(file).stem, content, read_config, presets())
    out = options.out or Path("runs") / study.name
    planner = Planner(study)
    planner.check(out)
    jobs = options.jobs or planner.jobs(usable_cores())
    if options.dry_run:
        for stage in options.stages:
            for cell in study.cells(stage):
                print(f"{cell.id}  {'finished' if finished(cell, out) else ''}".rstrip())
        cells = [cell for stage in options.stages for cell in study.cells(stage)]
        print(f"{len(cells)} cells, {jobs} at a time; {estimate(study, cells, out, jobs)}")
        return 0
    for number in (signal.SIGTERM, signal.SIGINT):  # both stop it, SIGINT also where a shell's `&` had it ignored
        signal.signal(number, signal.default_int_handler)
    with claimed(out) as lock:
        (out / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        failed = _run(study, planner, out, options.stages, jobs, options.keep, lock)
    _report(out)
    for outcome in failed:
        print(f"failed: {outcome.cell.id}: {last_words(outcome.cell, out)}")
    return 1 if failed else 0


def _run(
    study: Study, planner: Any, out: Path, stages: list[str], jobs: int, keep: bool, lock: Any
) -> list[Outcome]:  # fmt: skip
    failed: list[Outcome] = []
    for stage in [stage for stage in STAGES if stage in stages and stage in study.seeds]:
        cells = study.cells(stage, None if stage == "tune" else _rates(study, out))
        for cell in cells:
            check_unchanged(cell, out, planner.config(cell))
        todo = [cell for cell in cells if not finished(cell, out)]
        try:
            failed += [o for o in _run_stage(stage, cells, todo, out, jobs, keep, lock) if o.code]
        finally:
            _write(study, out)
        if stage == "tune":
            chosen = _rates(study, out) or {}
            _write(study, out)  # the final cells have their rates now
            for model, method in [key for key, rate in chosen.items() if rate is None]:
                print(f"{method} on {model} finished tuning at no learning rate: it has no final cells", flush=True)
    return failed


def _run_stage(
    stage: str, cells: list[Cell], todo: list[Cell], out: Path, jobs: int, keep: bool, lock: Any
) -> list[Outcome]:  # fmt: skip
    from credit.cli.display import progress
    from credit.report.text import duration

    seconds: list[float] = []
    with progress(stage, len(cells)) as advance:
        advance(len(cells) - len(todo))

        def done(outcome: Outcome) -> None:
            seconds.append(outcome.seconds)
            left = sum(seconds) / len(seconds) * (len(todo) - len(seconds)) / jobs
            state = "done" if outcome.code == 0 else "FAILED"
            advance(1, f"{outcome.cell.id} {state}, about {duration(left)} left")

        return run_cells(todo, out, lock, jobs, keep, done)


def _rates(study: Study, out: Path) -> finalists.Choice | None:
    """Return what tuning chose, and write it down if that is not done yet; None when nothing is tuned."""
    if not study.tunes:
        return None
    if finalists.covers(study, out):
        return finalists.chosen(study, out)
    cells = study.cells("tune")
    if open_ := [cell.id for cell in cells if status(cell.folder(out)) not in ("complete", "failed")]:
        raise UserError(f"tuning is not finished ({len(open_)} cells, first {open_[0]}). Run --stages tune first.")
    if finalists.freeze(study, out, [row_of(cell, out, study.target_accuracy) for cell in cells]):
        print(f"learning rates chosen on validation rows: {out / finalists.NAME} (commit it)", flush=True)
    return finalists.chosen(study, out)


def _write(study: Study, out: Path) -> None:
    """Write results.parquet from the folders of all cells, whatever their state."""
    rates = finalists.chosen(study, out) if study.tunes else None
    cells = [cell for stage in STAGES for cell in study.cells(stage, rates)]
    write_results(study, out, [row_of(cell, out, study.target_accuracy) for cell in cells])


def _report(folder: Path) -> int:
    from credit.cli.comparison import show
    from credit.study.page import write_study_page

    about, rows = read_results(folder)
    show(about, rows)
    print(f"report: {write_study_page(folder, about, rows)}")
    return 0
