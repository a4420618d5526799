"""The walk as an environment: exact grades, words the base knows, and training on the base model's own tool calls."""

import json

import pytest
from datasets import Dataset
from trl.chat_template_utils import parse_response

from credit import CreditTrainer
from credit.sources import load_model
from credit.tiny.families import route
from credit.tiny.families.base import split_words
from credit.tiny.vocabulary import build_tokenizer, vocabulary
from credit.tiny.walk import RouteWalk, rows, with_tools
from local_models import fit, history, make_config


def started(row):
    walk = RouteWalk()
    walk.reset(**row)
    return walk


def edges_of(row):
    meta = json.loads(row["meta"])
    return list(zip([meta["start"], *meta["places"]], meta["directions"], strict=False)), meta["places"]


def test_every_look_up_is_exact_and_the_right_place_passes():
    for row in rows("train", 50):
        walk = started(row)
        edges, places = edges_of(row)
        assert [walk.go(f"{place} {direction}") for place, direction in edges] == places
        assert walk.answer(places[-1]) == f"{places[-1]} is the place reached"
        assert (walk.get_reward(), walk.feedback) == (1.0, None)


def test_two_tries_and_no_third():
    row = rows("train", 1)[0]
    goal = row["answer"]
    others = [place for place in route.PLACES if place != goal]
    for tries, reward in (([goal], 1), ([others[0], goal], 1), ([goal, others[0]], 1), ([*others[:2], goal], 0)):
        walk = started(row)
        for place in tries:
            walk.answer(place)
        assert walk.get_reward() == reward
        assert (walk.feedback is None) == bool(reward)


def test_feedback_names_the_first_step_nobody_asked_about():
    row = rows("train", 1)[0]
    edges, _ = edges_of(row)
    wrong = next(place for place in route.PLACES if place != row["answer"])
    walk = started(row)
    walk.get_reward()
    assert walk.feedback == "write answer and a place , use the tool at step 1"
    walk.go(" ".join(edges[0]))
    walk.answer(wrong)
    walk.get_reward()
    unasked = next((step for step, edge in enumerate(edges, start=1) if edge != edges[0]), None)
    assert walk.feedback == f"{wrong} is wrong , use the tool at step {unasked}"
    for edge in edges:
        walk.go(" ".join(edge))
    walk.get_reward()
    assert walk.feedback == f"{wrong} is wrong , write the walk"
    walk.reset(**row)
    assert (walk.feedback, walk.go("from s0 north")) == (None, route.LEADS["s0", "north"])


@pytest.mark.parametrize("words", ["", "s1", "north s1", "s9 north", "s1 north s2"])
def test_calls_that_make_no_sense_are_errors(words):
    walk = started(rows("train", 1)[0])
    with pytest.raises(ValueError, match="write a place"):
        walk.go(words)
    with pytest.raises(ValueError, match="write answer and a place"):
        walk.answer(f"{words} s1 s2")


def test_all_it_says_is_in_the_vocabulary_which_does_not_change():
    row = rows("train", 1)[0]
    walk, known = started(row), set(vocabulary())
    said = [walk.answer(place) for place in route.PLACES] + [walk.go("s0 east")]
    for spoil in ([], ["s0"], ["s1", "s2"]):
        walk.reset(**row)
        [walk.answer(place) for place in spoil]
        walk.get_reward()
        said.append(walk.feedback or "")
    for tool in (walk.go, walk.answer):
        with pytest.raises(ValueError, match="write") as error:
            tool("")
        said.append(str(error.value))
    assert {word for text in said for word in split_words(text)} <= known
    assert with_tools(build_tokenizer()).get_vocab() == build_tokenizer().get_vocab()


def test_prompts_read_as_the_base_learned_them_and_turns_are_parsed():
    plain, tools = build_tokenizer(), with_tools(build_tokenizer())
    (row,) = rows("train", 1)
    prompt = tools.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
    assert prompt == plain.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
    for turn, content, call in (
        ("from s1 1 north s4 . so answer s7<|end|>", "from s1 1 north s4 . so", ("answer", "s7")),
        ("go s1 north<|end|>", "", ("go", "s1 north")),
        ("the walk<|end|>", "the walk", None),
    ):
        parsed = parse_response(tools, tools(turn, add_special_tokens=False)["input_ids"], prefix=prompt)
        calls = [(c["function"]["name"], c["function"]["arguments"]["words"]) for c in parsed.get("tool_calls", [])]
        assert (parsed["content"], calls) == (content, [call] if call else [])


def make_walk_trainer(folder, **options):
    model, tokenizer = load_model("tiny")
    return CreditTrainer(
        model,
        None,
        make_config(
            folder, **{"max_completion_length": 64, "max_tool_calling_iterations": 2, "num_generations": 8, **options}
        ),
        train_dataset=Dataset.from_list(rows("train", 32)),
        processing_class=with_tools(tokenizer),
        environment_factory=RouteWalk,
    )


@pytest.mark.filterwarnings("ignore:You are using 'environment_factory':UserWarning")
def test_the_base_model_trains_on_its_own_tool_calls(tmp_path):
    trainer = make_walk_trainer(tmp_path, per_device_train_batch_size=32, learning_rate=1e-4)
    fit(trainer)
    for log in history(trainer):
        assert log["tools/call_frequency"] > 1
        assert 0 < log["rewards/RouteWalk/mean"] < 1
        assert log["credit/with_solution"] > 0
        assert log["grad_norm"] > 0


@pytest.mark.filterwarnings("ignore:You are using 'environment_factory':UserWarning")
def test_who_asks_the_map_is_always_right(tmp_path):
    trainer = make_walk_trainer(
        tmp_path, max_tool_calling_iterations=5, per_device_train_batch_size=16, max_steps=1, feedback_when="always"
    )
    tokenizer = trainer.processing_class

    def walker(prompt_ids, *args, **kwargs):
        turns = []
        for ids in prompt_ids:
            words = [w for w in tokenizer.decode(ids).split() if not w.startswith("<")]
            asked = words.index("go")
            directions = [w for w in words[asked:] if w in route.DIRECTIONS][: route.STEPS]
            here = [w for w in words if w in route.PLACES][-1]
            steps = words.count("go") - 1
            over = "reached" in words
            turn = "the walk" if over else f"go {here} {directions[steps]}" if steps < 4 else f"answer {here}"
            turns.append(tokenizer(f"{turn}<|end|>", add_special_tokens=False)["input_ids"])
        return turns, None

    trainer._generate_single_turn = walker
    fit(trainer)
    (log,) = history(trainer)
    assert (log["rewards/RouteWalk/mean"], log["tools/call_frequency"], log["tools/failure_frequency"]) == (1, 5, 0)
    assert log["credit/with_solution"] == 1
    assert log["completions/clipped_ratio"] == 0
