"""A study file: which methods, options and seeds are compared, and in which stages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from credit.errors import UserError
from credit.study.cells import Cell

STAGES = ("tune", "final", "ablations")
SPLITS = {"tune": "validation", "final": "test", "ablations": "test"}
"""Which rows each stage is evaluated on: whoever chooses never sees the test rows."""

_KEYS = (
    "note", "base", "models", "methods", "reference", "learning_rates", "seeds", "stages", "ablations",
    "target_accuracy", "seconds_per_cell",
)  # fmt: skip
_OURS = ("output_dir", "seed", "eval_split", "skip_eval", "skip_eval_before", "resume", "overwrite", "note")
"""Options that the study sets for every cell."""
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


@dataclass(frozen=True)
class Study:
    """A checked study file.

    Attributes:
        base: options of every cell, with `config` already read.
        models: name -> options.
        methods: name -> options.
        ablations: name -> options, among them `of`, the method it changes.
        reference: the method that all others are compared with.
        learning_rates: the tuning grid; one rate means nothing is tuned.
        seeds: stage -> seeds.
        stage_options: stage -> options of its cells.
        target_accuracy: of the training rollouts, for sample efficiency.
        seconds_per_cell: what the author measured, for an estimate before anything has run.
    """

    name: str
    base: dict[str, Any]
    models: dict[str, dict[str, Any]]
    methods: dict[str, dict[str, Any]]
    reference: str
    learning_rates: tuple[float, ...]
    seeds: dict[str, tuple[int, ...]]
    ablations: dict[str, dict[str, Any]] = field(default_factory=dict)
    stage_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    target_accuracy: float = 0.8
    seconds_per_cell: float | None = None
    note: str | None = None

    @property
    def tunes(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.learning_rates) > 1

    def cells(self, stage: str, rates: Mapping[tuple[str, str], float | None] | None = None) -> list[Cell]:
        """Return the cells of a stage, all methods of a seed before the next: stopped early, it still compares.

        Args:
            stage: one of `STAGES`.
            rates: (model, method) -> chosen learning rate, or None for a method that tuning left without one; such a
                method has no cells. Without `rates` the rate is written as unknown, to count cells before tuning.
        """
        cells = []
        for seed in self.seeds.get(stage, ()):
            for model in self.models:
                for name, options in (self.ablations if stage == "ablations" else self.methods).items():
                    own = {key: value for key, value in options.items() if key != "of"}
                    of = options.get("of") if stage == "ablations" else None
                    parent = {} if of is None else self.methods[of]
                    for rate in self._rates(stage, model, of or name, own, rates):
                        merged = {**self.base, **self.models[model], **parent, **own, **self._stage(stage)}
                        merged |= {"learning_rate": rate, "seed": seed, "eval_split": SPLITS[stage]}
                        # The untrained model is the same for all: the first cell of each stage and model evaluates it.
                        merged["skip_eval_before"] = any(c.model == model for c in cells)
                        cells.append(Cell(stage, model, name, rate, seed, merged, of))
        return cells

    def _stage(self, stage: str) -> dict[str, Any]:
        return self.stage_options.get(stage, {})

    def _rates(self, stage: str, model: str, method: str, own: dict[str, Any], rates: Any) -> Iterable[float | None]:
        if stage == "tune":
            return self.learning_rates
        if "learning_rate" in own:
            return (own["learning_rate"],)
        if not self.tunes:
            return self.learning_rates
        if rates is None:
            return (None,)
        chosen = rates[model, method]
        return () if chosen is None else (chosen,)


def read_study(
    name: str, content: Mapping[str, Any], read_config: Callable[[str], tuple[str, dict[str, Any]]],
    presets: Mapping[str, Mapping[str, Any]],
) -> Study:  # fmt: skip
    """Check the content of a study file and return the study.

    Args:
        name: of the file, for messages.
        content: the YAML mapping.
        read_config: reads the built-in config or file that `base: {config: ...}` names.
        presets: option values by preset name.

    Raises:
        UserError: one line naming the file, the key, the reason and the fix.
    """
    _known(name, "the study", content, _KEYS)
    base = _options(name, "base", content.get("base") or {}, presets)
    if "config" in base:
        base = {**read_config(str(base.pop("config")))[1], **base}
    for key in _OURS:  # a config of a single run sets them; a study sets its own
        base.pop(key, None)
    base.setdefault("torch_threads", 1)  # cells run side by side
    rates = _rates(name, content.get("learning_rates", base.get("learning_rate")))
    methods = _named(name, "methods", content.get("methods"), presets)
    if not methods:
        raise UserError(f"{name}: methods is empty. List at least one, as `name: {{method: grpo}}`.")
    models = _named(name, "models", content.get("models") or {"base": {}}, presets)
    ablations = _named(name, "ablations", content.get("ablations") or {}, presets, extra=("of",))
    reference = content.get("reference", next(iter(methods)))
    if reference not in methods:
        raise UserError(f"{name}: reference {reference!r} is none of the methods ({', '.join(methods)}).")
    for ablation, options in ablations.items():
        if options.get("of") not in methods:
            raise UserError(f"{name}: ablations.{ablation} needs `of`, the method it changes: {', '.join(methods)}.")
        if ablation in methods:
            raise UserError(f"{name}: {ablation!r} is a method and an ablation. Give one of them another name.")
    for method, options in methods.items():
        if "learning_rate" in options:
            raise UserError(
                f"{name}: methods.{method} sets learning_rate, which learning_rates tunes for all with one budget. "
                "Remove it, or make it an ablation."
            )
    stages = _stages(name, content.get("stages") or {}, presets)
    seeds = _seeds(name, content.get("seeds"), stages, len(rates) > 1, bool(ablations))
    target = content.get("target_accuracy", 0.8)
    if not _is_number(target) or not 0 < target <= 1:
        raise UserError(f"{name}: target_accuracy={target!r} must be a number in (0, 1].")
    seconds = content.get("seconds_per_cell")
    if seconds is not None and (not _is_number(seconds) or seconds <= 0):
        raise UserError(f"{name}: seconds_per_cell={seconds!r} must be a positive number of seconds.")
    options = {stage: {k: v for k, v in entry.items() if k != "seeds"} for stage, entry in stages.items()}
    return Study(
        name, base, models, methods, reference, rates, seeds, ablations, options, float(target), seconds,
        content.get("note"),
    )  # fmt: skip


def _known(file: str, where: str, found: Any, known: Iterable[str]) -> None:
    for key in found:
        if key not in known:
            raise UserError(f"{file}: unknown key {key!r} in {where}. Use some of {', '.join(known)}.")


def _options(
    file: str, where: str, options: Any, presets: Mapping[str, Mapping[str, Any]], refused: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return options with their preset spelled out, since it must win over the base."""
    if not isinstance(options, dict):
        raise UserError(f"{file}: {where} must hold options, one `name: value` per line, not {options!r}.")
    for key in options:
        if key in refused:
            raise UserError(f"{file}: {where} sets {key}, which the study sets for every cell. Remove it.")
    preset = options.get("preset")
    if preset is None:
        return dict(options)
    if preset not in presets:
        raise UserError(f"{file}: {where}: preset {preset!r} is unknown. Use one of {', '.join(presets)}.")
    return {**presets[preset], **options}


def _named(
    file: str, where: str, entries: Any, presets: Mapping[str, Mapping[str, Any]], extra: tuple[str, ...] = ()
) -> dict[str, dict[str, Any]]:
    if not isinstance(entries, dict):
        raise UserError(f"{file}: {where} must map names to options, as `name: {{method: grpo}}`.")
    for name in entries:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(
                f"{file}: {where}: name {name!r} names a folder. Use letters, digits and . _ + - only, in quotes if it "
                "is a number."
            )
    refused = ("config", *_OURS)
    found = {n: _options(file, f"{where}.{n}", o or {}, presets, refused) for n, o in entries.items()}
    if not extra and any("of" in options for options in found.values()):
        raise UserError(f"{file}: only ablations have `of`. Remove it from {where}.")
    return found


def _rates(file: str, found: Any) -> tuple[float, ...]:
    rates = found if isinstance(found, list) else [found]
    for rate in rates:
        if not _is_number(rate) or rate <= 0:
            hint = " Write it with a point, 5.0e-4: YAML reads 5e-4 as text." if isinstance(rate, str) else ""
            raise UserError(f"{file}: learning_rates: {rate!r} is no positive number.{hint}")
    if not rates or len(set(rates)) < len(rates):
        raise UserError(f"{file}: learning_rates must list different rates, at least one.")
    return tuple(float(rate) for rate in rates)


def _stages(file: str, stages: Any, presets: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    if not isinstance(stages, dict):
        raise UserError(f"{file}: stages must map {', '.join(STAGES)} to their seeds and options.")
    _known(file, "stages", stages, STAGES)
    refused = ("config", "learning_rate", "method", "preset", *_OURS)
    return {s: _options(file, f"stages.{s}", options or {}, presets, refused) for s, options in stages.items()}


def _seeds(
    file: str, common: Any, stages: dict[str, dict[str, Any]], tunes: bool, ablates: bool
) -> dict[str, tuple[int, ...]]:
    seeds = {}
    for stage, wanted, idle in (
        ("tune", tunes, "one learning rate: there is nothing to tune"),
        ("final", True, ""),
        ("ablations", ablates, "no ablations"),
    ):
        if not wanted:
            if stage in stages:
                raise UserError(f"{file}: stages.{stage} is idle, because there is {idle}. Remove it.")
            continue
        found = stages.get(stage, {}).get("seeds", common)
        if not isinstance(found, list) or not found or any(type(seed) is not int for seed in found):
            raise UserError(f"{file}: stage {stage} has no seeds. Add `seeds: [1, 2, 3]`, at the top or in its stage.")
        if len(set(found)) < len(found):
            raise UserError(f"{file}: a seed of stage {stage} is there twice. Runs with one seed are the same run.")
        seeds[stage] = tuple(found)
    return seeds


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
