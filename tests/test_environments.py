"""Environments in TRL's sense: they own the reward, and say what went wrong through a `feedback` attribute."""

import pytest
import torch

from credit import CreditTrainer
from local_models import TEMPLATE, fit, history, make_config, make_dataset, make_model, make_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'environment_factory':UserWarning")

TOOL_TEMPLATE = TEMPLATE.replace(
    "{{ m.content }}",
    "{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %} {{ c.function.name }} {{ c.function.arguments }}{% endfor %}",
)


class Environment:
    """Says a word of its own for every prompt."""

    made = 0

    def __init__(self):
        type(self).made += 1
        self._number = type(self).made
        self.feedback = None

    def reset(self, **row):
        self.feedback = None

    def get_reward(self):
        self.feedback = f"missing w{self._number}"
        return 0.0


def test_feedback_of_environments_reaches_their_own_rollouts(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TOOL_TEMPLATE
    trainer = CreditTrainer(
        make_model("qwen3"),
        None,
        make_config(tmp_path, max_steps=1),
        train_dataset=make_dataset(),
        processing_class=tokenizer,
        environment_factory=Environment,
    )
    plans = []
    plan = trainer._planner.plan

    class Recorder:
        def plan(self, *args):
            plans.append(plan(*args))
            return plans[-1]

    trainer._planner = Recorder()
    fit(trainer)
    said = [feedback for _, feedback in plans[0].contexts]
    assert said == [f"missing w{n}" for n in range(1, 17)]
    assert history(trainer)[0]["credit/with_feedback"] == 1.0
    assert torch.tensor([len(ids) for ids in plans[0].own]).min() > 10
