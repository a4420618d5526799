"""Tasks that hold conversations: sampled as training samples them, resumed after a kill."""

import pytest
import torch
from trl import chat_template_utils

from byte_models import byte_tokenizer
from credit import _trl
from credit.conversations import converse, equip
from credit.evaluate import evaluate
from credit.sampling import EvalOptions
from credit.sources import load_model
from credit.tiny.walk import RouteWalk, WalkTask
from local_models import history, make_config, make_model
from multi_turn import Lookup, tool_tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:You are using 'environment_factory':UserWarning"),
]

OPTIONS = EvalOptions(samples=2, temperature=1.0, top_p=1.0, max_new_tokens=64, batch_size=3)
TASK = WalkTask()


def walker():
    model, tokenizer = load_model("tiny")
    rows = TASK.rows("test", 8)
    equip(TASK, tokenizer, rows)
    return model, tokenizer, rows


@pytest.mark.parametrize(("budget", "replies"), [(24, {0}), (40, {1}), (64, {2})])
def test_greedy_conversations_are_those_of_the_trainer(tmp_path, monkeypatch, budget, replies):
    """The oracle is TRL's trainer itself: the same turns, calls, tool outputs and rewards, token budget included."""
    from datasets import Dataset

    from credit import CreditTrainer
    from credit.context import transcript

    model, tokenizer, rows = walker()
    trainer = CreditTrainer(
        model, None,
        make_config(
            tmp_path, method="grpo", max_steps=1, num_generations=2, per_device_train_batch_size=16,
            max_completion_length=budget, max_tool_calling_iterations=2, generation_kwargs={"do_sample": False},
        ),
        train_dataset=Dataset.from_list(rows), processing_class=tokenizer, environment_factory=RouteWalk,
    )  # fmt: skip
    seen = {}
    rewards = trainer._calculate_rewards

    def keep(inputs, prompts, completions, ids):
        scores = rewards(inputs, prompts, completions, ids)
        for row, completion, score in zip(inputs, completions, scores[:, 0].tolist(), strict=True):
            seen[row["id"]] = (transcript(completion), score)
        return scores

    monkeypatch.setattr(trainer, "_calculate_rewards", keep)
    trainer.train()
    assert len(history(trainer)) == 1
    options = EvalOptions(samples=1, max_new_tokens=budget, max_tool_calling_iterations=2)
    model, tokenizer, _ = walker()
    found = converse(model, tokenizer, TASK, rows, options, True, {})
    assert {row["id"]: pair for row, (pair,) in zip(rows, found, strict=True)} == seen
    assert {text.count("[result of answer]") for text, _ in seen.values()} == replies


def test_the_contract_with_trl_covers_reading_turns(monkeypatch):
    assert _trl.broken_contract() == []
    monkeypatch.delattr(chat_template_utils, "parse_response")
    monkeypatch.delattr(_trl.GRPOTrainer, "_tool_call_loop")
    assert [problem.partition(":")[0] for problem in _trl.broken_contract()] == [
        "GRPOTrainer._tool_call_loop", "trl.chat_template_utils.parse_response"
    ]  # fmt: skip


class Killed(Exception):
    pass


def test_a_killed_evaluation_goes_on_to_the_same_conversations(tmp_path):
    model, tokenizer, rows = walker()
    state = torch.get_rng_state()
    whole = converse(model, tokenizer, TASK, rows, OPTIONS, False, {})
    assert torch.equal(torch.get_rng_state(), state)
    assert converse(model, tokenizer, TASK, rows, OPTIONS, False, {}) == whole
    assert len({text for pairs in whole for text, _ in pairs}) > len(rows)
    partial, done = tmp_path / "sampled.pt", []

    def killing(n):
        done.append(n)
        if len(done) == 3:
            raise Killed

    with pytest.raises(Killed):
        converse(model, tokenizer, TASK, rows, OPTIONS, False, {}, killing, partial)
    done.clear()
    assert converse(model, tokenizer, TASK, rows, OPTIONS, False, {}, done.append, partial) == whole
    assert done == [6, 2]  # two batches of three were not held again
    again = EvalOptions(**{**vars(OPTIONS), "max_tool_calling_iterations": 1})
    converse(model, tokenizer, TASK, rows, again, False, {}, done.append, partial)
    assert done[2] == 0  # other options, another evaluation


def test_records_hold_transcripts_and_the_environments_scores():
    model, tokenizer, rows = walker()
    options = EvalOptions(samples=3, max_new_tokens=64, max_tool_calling_iterations=1)
    for record in evaluate(model, tokenizer, TASK, rows, options):
        texts = [record["greedy"], *record["sampled"]]
        for text, score in zip(texts, [record["greedy_score"], *record["sampled_scores"]], strict=True):
            assert text.count("[result of answer]") == 1
            assert score == float(f"[result of answer] {record['answer']} is the place reached" in text)
    model.train()
    converse(model, tokenizer, TASK, rows[:1], options, True, {})
    assert model.training


def test_text_that_reset_returns_is_read_and_instances_are_used_again():
    made, prompts = [], []

    class Talks(RouteWalk):
        def __init__(self):
            super().__init__()
            made.append(self)

        def reset(self, **row):
            super().reset(**row)
            return " where do you end ?"

    class Task(WalkTask):
        environment = Talks

    model, tokenizer, rows = walker()
    generate = model.generate

    def keep(input_ids, **options):
        prompts.extend(tokenizer.batch_decode(input_ids))
        return generate(input_ids=input_ids, **options)

    model.generate = keep
    converse(model, tokenizer, Task(), rows[:4], EvalOptions(samples=1, max_new_tokens=4, batch_size=2), False, {})
    assert all(prompt.count("where do you end ?") == 2 for prompt in prompts)
    assert len(made) == 2


def test_a_conversation_in_the_tokens_of_another_model():
    """A scripted model of the local vocabulary: what it calls is run, what its tokenizer cannot read is not."""
    tokenizer, environment = tool_tokenizer(), Lookup()
    environment.reset()
    turns = iter([["w2 <tool> w5 <end>", "w5 <end>"], ["w6 <end>"]])
    prompts = []

    def generate(ids):
        prompts.append(tokenizer.batch_decode(ids))
        return [tokenizer.convert_tokens_to_ids(turn.split()) for turn in next(turns)]

    loop = _trl.ToolLoop(make_model("olmo3").config, tokenizer, [environment.look], generate, 24, None, {})
    asked = [{"role": "user", "content": "w1"}]
    first, second = loop.run([asked, asked], [{"look": environment.look}, {}])
    assert [message["role"] for message in first] == ["assistant", "tool", "assistant"]
    assert (first[1]["content"], first[2]["content"]) == ("w5 w6", "w6")
    assert [message["role"] for message in second] == ["assistant"]
    assert environment.asked == ["w5"]
    assert prompts[1][0].endswith("w2 <tool> w5 <end> <tool> w5 w6 <end> <assistant>")
    assert asked == [{"role": "user", "content": "w1"}]


def test_a_conversation_in_qwens_own_template():
    """What TRL knows of Qwen3 is used as it is: tools described, typed arguments, two calls in a turn, errors told."""
    tokenizer, walk = byte_tokenizer(), RouteWalk()
    row = TASK.rows("test", 1)[0]
    equip(TASK, tokenizer, [row])
    walk.reset(**row)
    call = '<tool_call>\n{{"name": "{}", "arguments": {{"words": "{}"}}}}\n</tool_call>'
    turns = [f"{call.format('go', 's0 north')}\n{call.format('fly', 's0')}<|im_end|>"]
    turns += [f"so\n{call.format('answer', row['answer'])}<|im_end|>", "done<|im_end|>"]
    script, prompts = iter(turns), []

    def generate(ids):
        prompts.append(tokenizer.decode(ids[0]))
        return [tokenizer(next(script))["input_ids"]]

    from credit.tasks.environments import tools_of

    tools = tools_of(walk)
    loop = _trl.ToolLoop(
        make_model("qwen3").config, tokenizer, list(tools.values()), generate, 4096, None, {"enable_thinking": False}
    )
    loop.model.config.max_position_embeddings = 8192
    (response,) = loop.run([row["prompt"]], [tools])
    assert [message["role"] for message in response] == ["assistant", "tool", "tool", "assistant", "tool", "assistant"]
    assert response[1]["content"] == walk.go("s0 north")
    assert response[2]["content"] == "{'error': 'Tool fly not found.'}"
    assert response[4]["content"] == f"{row['answer']} is the place reached"
    assert walk.get_reward() == 1.0
    assert "A place and a direction, like `s1 north`." in prompts[0]
    assert prompts[0].startswith("<|im_start|>system\nyou walk on a map .")
    assert prompts[1].startswith(prompts[0] + turns[0])
