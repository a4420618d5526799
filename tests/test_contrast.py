"""Who is x'? What a draw of unrelated inputs must and must not do."""

from collections import Counter

import pytest
import torch
from jaxtyping import TypeCheckError

from credit.contrast import draw_negatives, prompt_key

PROMPTS = [f"question {i // 3}" for i in range(15)]  # 5 prompts, 3 rollouts each
GROUPS = [i // 3 for i in range(15)]
SEEDS = range(20)


def draw(prompts=PROMPTS, groups=GROUPS, number=2, seed=0, fits=None):
    generator = torch.Generator().manual_seed(seed)
    return draw_negatives(prompts, groups, number, generator, fits).tolist()


def test_shapes_are_checked_in_tests():
    with pytest.raises(TypeCheckError):
        draw_negatives(["a", "b"], torch.zeros(2, 1, dtype=torch.long), 1, torch.Generator())


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_negatives_are_other_groups_other_texts_and_all_different(seed, number):
    for row, negatives in enumerate(draw(number=number, seed=seed)):
        assert len(negatives) == number
        assert -1 not in negatives
        assert GROUPS[row] not in {GROUPS[j] for j in negatives}
        assert len({PROMPTS[j] for j in negatives} | {PROMPTS[row]}) == number + 1


@pytest.mark.parametrize("seed", SEEDS)
def test_every_prompt_serves_equally_often(seed):
    for column in zip(*draw(number=3, seed=seed), strict=True):
        assert set(Counter(PROMPTS[j] for j in column).values()) == {3}


@pytest.mark.parametrize("seed", SEEDS)
def test_rollouts_of_one_prompt_share_their_negatives(seed):
    negatives = draw(seed=seed)
    assert all(negatives[row] == negatives[row - row % 3] for row in range(15))


@pytest.mark.parametrize("seed", SEEDS)
def test_two_groups_with_one_text_are_one_prompt(seed):
    prompts, groups = ["a", "a", "b", "b", "a", "a", "c", "c"], [0, 0, 1, 1, 2, 2, 3, 3]
    for row, negatives in enumerate(draw(prompts, groups, 2, seed)):
        assert {prompts[j] for j in negatives} == {"a", "b", "c"} - {prompts[row]}


@pytest.mark.parametrize("seed", SEEDS)
def test_texts_of_the_own_group_are_no_negatives(seed):
    prompts, groups = ["a", "a*", "b", "b*", "c", "c*"], [0, 0, 1, 1, 2, 2]
    for row, negatives in enumerate(draw(prompts, groups, 4, seed)):
        assert {prompts[j] for j in negatives} == {p for p in prompts if p[0] != prompts[row][0]}


def test_fewer_unrelated_prompts_than_asked_leave_minus_one_at_the_end():
    for row, negatives in enumerate(draw(["a", "b", "c"], [0, 1, 2], 4)):
        assert set(negatives[:2]) == {0, 1, 2} - {row}
        assert negatives[2:] == [-1, -1]


@pytest.mark.parametrize("prompts", [[], ["a"], ["a", "a", "a"]])
def test_no_unrelated_prompt_leaves_minus_one(prompts):
    assert draw(prompts, list(range(len(prompts))), 2) == [[-1, -1]] * len(prompts)


@pytest.mark.parametrize("seed", SEEDS)
def test_negatives_that_do_not_fit_are_redrawn_then_left_out(seed):
    long = "question 4"

    def fits(row, other):
        return PROMPTS[other] != long and row != 0

    negatives = draw(number=4, seed=seed, fits=fits)
    assert negatives[0] == [-1] * 4
    assert all(PROMPTS[j] != long for row in negatives for j in row if j >= 0)
    assert all(row.count(-1) == 1 for row in negatives[1:12])  # three others fit
    assert all(-1 not in row for row in negatives[12:])  # all others fit


def test_fits_is_asked_about_unrelated_prompts_only():
    asked = []
    draw(number=4, fits=lambda row, other: asked.append((row, other)) or True)
    assert asked
    assert all(PROMPTS[row] != PROMPTS[other] for row, other in asked)


def test_message_lists_compare_by_content():
    def chat(text):
        return [{"role": "user", "content": text}]

    swapped = [{"content": "a", "role": "user"}]
    negatives = draw([chat("a"), swapped, chat("b")], [0, 1, 2], 2)
    assert negatives == [[2, -1], [2, -1], [0, -1]]
    assert prompt_key(chat("a")) == prompt_key(swapped) != prompt_key(chat("b"))


def test_draw_depends_on_its_generator_only():
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), draw(seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert draw(seed=5) == first
    assert any(draw(seed=seed) != first for seed in SEEDS)


def test_every_unrelated_prompt_is_drawn_sooner_or_later():
    drawn = {PROMPTS[draw(number=1, seed=seed)[0][0]] for seed in range(100)}
    assert drawn == set(PROMPTS[3:])


def test_shifts_are_random_and_not_only_their_starting_order():
    # Half-way round a circle of four, two prompts serve each other; one step round, they do not.
    mutual = {negatives[negatives[0][0]][0] == 0 for negatives in (draw("abcd", range(4), 1, s) for s in SEEDS)}
    assert mutual == {True, False}


def test_the_circle_is_not_the_order_of_the_batch():
    draws = [draw("abcde", range(5), 1, seed) for seed in SEEDS]
    assert any(len({(other - row) % 5 for row, [other] in enumerate(negatives)}) > 1 for negatives in draws)


def test_group_ids_may_be_a_tensor():
    generator = torch.Generator().manual_seed(0)
    assert draw_negatives(PROMPTS, torch.tensor(GROUPS), 2, generator).tolist() == draw()


@pytest.mark.parametrize(("groups", "number", "message"), [([0, 1], 0, "num_negatives=0"), ([0], 1, "2 prompts but 1")])
def test_degenerate_requests_are_refused(groups, number, message):
    with pytest.raises(ValueError, match=message):
        draw(["a", "b"], groups, number)


@pytest.mark.parametrize("seed", SEEDS)
def test_within_a_family_every_prompt_serves_equally_often_and_none_leaves(seed):
    prompts, groups = [f"q{i // 2}" for i in range(14)], [i // 2 for i in range(14)]
    families = ["sums"] * 6 + ["lists"] * 6 + [None] * 2
    negatives = draw_negatives(prompts, groups, 2, torch.Generator().manual_seed(seed), families=families).tolist()
    for row in range(12):
        assert sorted(prompts[j] for j in negatives[row]) == sorted(
            {p for p, f in zip(prompts, families, strict=True) if f == families[row]} - {prompts[row]}
        )
    assert negatives[12:] == [[-1, -1], [-1, -1]]  # alone in its family


def test_within_a_family_too_what_does_not_fit_is_redrawn():
    asked = []
    draw_negatives(
        ["a", "b", "c", "d"], range(4), 1, torch.Generator().manual_seed(0),
        lambda i, j: asked.append((i, j)) or True, ["x", "y", "x", "y"],
    )  # fmt: skip
    assert {(i % 2, j % 2) for i, j in asked} == {(0, 0), (1, 1)}
