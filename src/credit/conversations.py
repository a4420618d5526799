"""Whole conversations instead of answers: the model's turns, the tools they call, and the environment's score.

The loop is TRL's own (`credit._trl.ToolLoop`), so an evaluation sees what training sees; seeds, batches and what
survives a kill are those of `credit.sampling`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import DocstringParsingException, TypeHintParsingException, get_json_schema

from credit._trl import ToolLoop, add_response_schema, supports_tool_calling
from credit.context import transcript
from credit.sampling import EvalOptions, generation_config, in_batches, new_tokens
from credit.tasks import Row
from credit.tasks.environments import open_conversation, reward_of, tools_of


def equip(task: Any, tokenizer: Any, rows: Sequence[Row]) -> None:
    """Get a tokenizer ready for a task's conversations.

    Raises:
        ValueError: task, tokenizer and rows cannot hold a conversation; the text says what to change.
    """
    described_tools(task, tokenizer)
    if not supports_tool_calling(tokenizer):
        raise ValueError(
            f"task {task.name!r} calls tools, and the chat template of this tokenizer cannot write tool calls and tool "
            "messages. Use a model whose template can, or set one in the task's prepare(tokenizer)."
        )
    if getattr(tokenizer, "response_template", None) is None and getattr(tokenizer, "response_schema", None) is None:
        try:
            add_response_schema(tokenizer)
        except ValueError:
            raise ValueError(
                f"task {task.name!r} calls tools, and TRL does not know how this chat template writes them. Set "
                "tokenizer.response_template in the task's prepare(tokenizer)."
            ) from None
    environment = task.environment()
    for name, tool in tools_of(environment).items():
        try:
            get_json_schema(tool)
        except (DocstringParsingException, TypeHintParsingException) as error:
            raise ValueError(f"task {task.name!r}: tool {name} cannot be described to the model: {error}") from None
    for number, row in enumerate(rows, start=1):
        if isinstance(row["prompt"], str):
            raise ValueError(
                f"task {task.name!r}, row {number}: field 'prompt' is text; conversations need a list of messages."
            )
    try:
        inspect.signature(environment.reset).bind(**rows[0])
    except TypeError as error:
        raise ValueError(f"task {task.name!r}: reset must take every field of a row ({error}). Add **row.") from None


def described_tools(task: Any, tokenizer: Any) -> dict[str, Any]:
    """Let a task prepare a tokenizer, and return what its chat template needs to describe the task's tools."""
    getattr(task, "prepare", lambda tokenizer: None)(tokenizer)
    return {"tools": list(tools_of(task.environment()).values())}


def converse(
    model: Any, tokenizer: Any, task: Any, rows: list[Row], options: EvalOptions, greedy: bool,
    template_options: dict[str, Any], progress: Callable[[int], None] = lambda done: None,
    partial: Path | None = None,
) -> list[list[tuple[str, float]]]:  # fmt: skip
    """Hold `samples` conversations about every row, or one when `greedy`; return (transcript, score) of each.

    Arguments as for `credit.sampling.generate`, and its promises: seeded, the global random state is left alone, and
    what is done survives a kill. The tokenizer must be equipped. `max_new_tokens` covers turns and tool outputs.
    """
    count = options.count(greedy)
    config = generation_config(model, tokenizer, options, greedy)
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    environments = [task.environment()]

    def turns(prompts: list[list[int]]) -> list[list[int]]:
        return [_until(ids, ends) for ids in new_tokens(model, tokenizer, prompts, config).tolist()]

    loop = ToolLoop(
        model.config.get_text_config(), tokenizer, list(tools_of(environments[0]).values()), turns,
        options.max_new_tokens, options.max_tool_calling_iterations, template_options,
    )  # fmt: skip

    def answer(picked: list[int]) -> list[list[tuple[str, float]]]:
        asked = [rows[i] for i in picked for _ in range(count)]
        while len(environments) < len(asked):
            environments.append(task.environment())
        used = environments[: len(asked)]
        prompts = [open_conversation(environment, row) for environment, row in zip(used, asked, strict=True)]
        responses = loop.run(prompts, [tools_of(environment) for environment in used])
        found = [(transcript(r), reward_of(e)) for r, e in zip(responses, used, strict=True)]
        return [found[place * count : (place + 1) * count] for place in range(len(picked))]

    prompts = loop.tokenize([row["prompt"] for row in rows])
    about = f"{task.environment.__module__}.{task.environment.__qualname__}"
    return in_batches(model, prompts, answer, options, greedy, progress, partial, about)


def _until(ids: list[int], ends: list[int]) -> list[int]:
    """Cut after the first end token; what follows is padding."""
    return next((ids[: place + 1] for place, token in enumerate(ids) if token in ends), ids)
