"""An environment with a tool, a tokenizer that can call it, and trainers whose first turns are written by hand."""

from __future__ import annotations

from credit import CreditTrainer
from local_models import TEMPLATE, make_config, make_dataset, make_model, make_tokenizer

TOOL_TEMPLATE = TEMPLATE.replace(
    "{{ m.content }}",
    "{{ m.content or '' }}{% for c in m.tool_calls or [] %} {{ c.function.name }} {{ c.function.arguments }}"
    "{% endfor %}",
)
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<assistant>",
    "fields": {
        "tool_calls": {
            "open": "<tool>",
            "close": "<end>",
            "repeats": True,
            "content": "text",
            "transform": {"type": "function", "function": {"name": "look", "arguments": {"word": "{content}"}}},
        },
        "content": {"close": "<end>", "content": "text"},
    },
}


class Lookup:
    """Answers every word with the next one; every second instance is content with one question."""

    made = 0

    def __init__(self):
        type(self).made += 1
        self.number = type(self).made
        self.feedback = None
        self.asked = []

    def reset(self, **row):
        self.feedback, self.asked = None, []

    def look(self, word: str) -> str:
        """Look a word up.

        Args:
            word: The word.
        """
        self.asked.append(word)
        return f"{word} w{int(word[1:]) + 1}"

    def get_reward(self):
        good = bool(self.asked) and self.number % 2 == 0
        self.feedback = None if good else f"missing w{self.number}"
        return float(good)


def tool_tokenizer():
    tokenizer = make_tokenizer()
    tokenizer.chat_template, tokenizer.response_template = TOOL_TEMPLATE, RESPONSE_TEMPLATE
    return tokenizer


def make_tool_trainer(
    folder, family="qwen3", script=None, environment=Lookup, tools=None, reward_funcs=None, model=None, **options
) -> CreditTrainer:
    """A trainer whose model calls the tool as `script` says: (prompt words, row) -> words of the turn, or None."""
    Lookup.made = 0
    tokenizer = tool_tokenizer()
    trainer = CreditTrainer(
        model or make_model(family),
        reward_funcs,
        make_config(
            folder, **{"max_completion_length": 24, "credit_log_steps": 1, "credit_log_rollouts": 16, **options}
        ),
        train_dataset=make_dataset(),
        processing_class=tokenizer,
        tools=tools,
        environment_factory=environment,
    )
    script, real = script or calls, trainer._generate_single_turn

    def generate(prompt_ids, *args, **kwargs):
        sampled, logps = real(prompt_ids, *args, **kwargs)
        for row, ids in enumerate(prompt_ids):
            turn = script(tokenizer.convert_ids_to_tokens(ids), row)
            if turn is not None:
                sampled[row] = tokenizer.convert_tokens_to_ids(turn.split())
        return sampled, logps

    trainer._generate_single_turn = generate
    return trainer


def calls(prompt, row):
    """Three of four rollouts call the tool, those of longer prompts twice; the model itself writes the rest."""
    replies = prompt.count("<tool>") // 2
    if replies == 0 and row % 4 != 3:
        return f"w2 <tool> w{row} <end>"
    return "<tool> w30 <end>" if replies == 1 and "w3" in prompt[:6] else None
