"""Rewards that may say why."""

import asyncio

import pytest

from credit.feedback import AsyncFeedbackReward, FeedbackReward, merge_feedback


def reward(items):
    return FeedbackReward(lambda **kwargs: items, "my_reward")


def test_scores_go_on_and_feedback_is_kept():
    judge = reward([(1.0, None), (0.0, "wrong"), 0.5, None, (None, "skipped")])
    assert judge(prompts=[], completions=[]) == [1.0, 0.0, 0.5, None, None]
    assert judge.feedback == [None, "wrong", None, None, "skipped"]


def test_feedback_is_that_of_the_last_call_only():
    answers = iter([[(0.0, "first")], [1.0]])
    judge = FeedbackReward(lambda **kwargs: next(answers), "my_reward")
    judge()
    judge()
    assert judge.feedback == [None]


def test_arguments_and_name_pass_through():
    seen = []
    judge = FeedbackReward(lambda **kwargs: [seen.append(kwargs)], "my_reward")
    assert judge(prompts=["p"], extra=1) == [None]
    assert seen == [{"prompts": ["p"], "extra": 1}]
    assert judge.__name__ == "my_reward"


@pytest.mark.parametrize("item", [(1.0,), (1.0, "a", "b"), (1.0, 2.0), (1.0, ["text"])])
def test_malformed_pairs_are_refused_by_name_and_row(item):
    with pytest.raises(ValueError, match=r"'my_reward' returned .* for completion 1"):
        reward([1.0, item])()


def test_async_rewards_are_coroutines_with_the_same_rules():
    async def judge(**kwargs):
        return [(0.0, "wrong"), 1.0]

    wrapped = AsyncFeedbackReward(judge, "judge")
    assert asyncio.iscoroutinefunction(AsyncFeedbackReward.__call__)
    assert asyncio.run(wrapped(prompts=[])) == [0.0, 1.0]
    assert wrapped.feedback == ["wrong", None]


def test_sources_are_joined_in_order_and_silence_stays_none():
    columns = [["a", None, None, ""], ["b", "c", None, None]]
    assert merge_feedback(columns, 4) == ["a\nb", "c", None, None]


def test_no_source_is_silence():
    assert merge_feedback([], 3) == [None, None, None]


def test_sources_of_different_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        merge_feedback([["a"], ["b", "c"]], 2)


@pytest.mark.parametrize("items", [None, "1.0", 3.0])
def test_an_answer_that_is_no_list_names_the_function(items):
    with pytest.raises(ValueError, match=r"'my_reward' returned \w+, not a list"):
        reward(items)(prompts=[], completions=[])


@pytest.mark.parametrize("item", ["1.0", {"score": 1.0}, (1.0,), ("1.0", "why")])
def test_an_item_that_is_no_score_names_the_completion(item):
    with pytest.raises(ValueError, match=r"'my_reward' returned .+ for completion 1"):
        reward([1.0, item])(prompts=[], completions=[])


def test_scores_may_be_tensors():
    import torch

    assert reward(torch.tensor([1.0, 0.0]))(prompts=[], completions=[]) == [1.0, 0.0]
