"""The tools family runs its calls: what a call does, what it refuses, and that grades are of the world reached."""

import json
from random import Random

import pytest

from credit.tiny.families import split_words, tools
from credit.tiny.task import TinyTask
from credit.tiny.toolworld import POOLS, TOOLS, ToolError, World, arguments_of, call
from credit.tiny.vocabulary import vocabulary

RIGHT = {
    "set_timer": ({"minutes": "5", "label": "tea"}, World(timers={"tea": 5})),
    "set_alarm": ({"hour": "7", "label": "yoga"}, World(alarms={"yoga": 7})),
    "book_table": ({"people": "4", "hour": "8"}, World(tables=[(4, 8)])),
    "get_weather": ({"city": "rome", "day": "monday"}, World(forecasts={("rome", "monday"): False})),
    "buy_ticket": ({"city": "rome", "day": "monday"}, World(tickets=[("rome", "monday")])),
    "send_mail": ({"person": "bob", "topic": "rent"}, World(mails=[("bob", "rent")])),
    "play_song": ({"song": "imagine", "volume": "30"}, World(music=("imagine", 30))),
    "add_item": ({"item": "pens", "count": "3"}, World(shopping={"pens": 3})),
}


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_a_tool_does_one_thing_whatever_the_order_of_its_arguments(tool):
    arguments, reached = RIGHT[tool]
    for pairs in (list(arguments.items()), list(arguments.items())[::-1]):
        world = World()
        assert sorted(call(world, tool, pairs)) == sorted(arguments)
        assert world == reached
    assert set(arguments_of(tool)) == set(tools.TOOLS[tool].arguments) == set(arguments)


def test_effects_add_up_as_they_would():
    world = World()
    for minutes, label in ((5, "tea"), (10, "tea"), (20, "nap")):
        call(world, "set_timer", [("minutes", str(minutes)), ("label", label)])
    for count in (2, 3):
        call(world, "add_item", [("item", "pens"), ("count", str(count))])
    for volume in (10, 90):
        call(world, "play_song", [("song", "creep"), ("volume", str(volume))])
    for _ in range(2):
        call(world, "buy_ticket", [("city", "oslo"), ("day", "friday")])
    assert world == World(
        timers={"tea": 10, "nap": 20}, shopping={"pens": 5}, music=("creep", 90), tickets=[("oslo", "friday")] * 2
    )


@pytest.mark.parametrize(
    ("tool", "pairs", "said", "read"),
    [
        ("open_door", [], "no such tool", {}),
        ("set_timer", [("minutes", "5"), ("name", "tea")], "unknown argument name", {}),
        ("set_timer", [("minutes", "5")], "missing argument label", {}),
        ("set_timer", [("label", "tea")], "missing argument minutes", {"label": "tea"}),
        ("set_timer", [("label", "5"), ("minutes", "tea")], "argument label has the wrong value", {}),
        ("set_timer", [("label", "tea"), ("minutes", "nap")], "argument minutes has the wrong value", {"label": "tea"}),
        ("set_timer", [("label", "tea"), ("minutes", "-5")], "argument minutes has the wrong value", {"label": "tea"}),
        ("set_timer", [("label", "tea"), ("minutes", "५")], "argument minutes has the wrong value", {"label": "tea"}),
        ("set_timer", [("label", "tea"), ("minutes", "9" * 5000)], "argument minutes has the wrong value",
         {"label": "tea"}),
        ("set_timer", [("label", "tea"), ("minutes", "5"), ("minutes", "5")], "argument minutes has the wrong value",
         {"label": "tea"}),
        ("buy_ticket", [("city", "monday"), ("day", "rome")], "argument city has the wrong value", {}),
    ],
)  # fmt: skip
def test_what_a_tool_cannot_do_it_says_and_leaves_the_world_alone(tool, pairs, said, read):
    world = World(timers={"tea": 1})
    with pytest.raises(ToolError) as error:
        call(world, tool, pairs)
    assert (str(error.value), error.value.read) == (said, read)
    assert world == World(timers={"tea": 1})
    assert set(split_words(said)) <= set(vocabulary())


def compared(meta, tool, pairs):
    """What is wrong with a call by comparing it with the one asked for, nothing being run."""
    if tool not in TOOLS:
        return "no such tool"
    if tool != meta["tool"]:
        return f"{tool} is the wrong tool"
    given, wanted = dict(pairs), meta["arguments"]
    for name in given:
        if name not in wanted:
            return f"unknown argument {name}" if name in {*POOLS, *tools.ALIASES.values()} else "unknown argument"
    for name in sorted(wanted):
        if name not in given:
            return f"missing argument {name}"
        if given[name] != wanted[name]:
            return f"argument {name} has the wrong value"
    return None


def mangled(meta, rng):
    """A call with up to three mistakes, names in any order and no argument given twice."""
    tool = meta["tool"] if rng.random() < 0.7 else rng.choice([*TOOLS, "tea"])
    pairs = dict(meta["arguments"])
    for _ in range(rng.randrange(4)):
        mistake, name = rng.randrange(3), rng.choice([*pairs, "hour"])
        if mistake == 0 and len(pairs) > 1:
            pairs.pop(name, None)
        elif mistake == 1:
            pairs[name] = rng.choice([value for pool in POOLS.values() for value in pool] + ["zzz", "1000"])
        else:
            pairs[rng.choice([*POOLS, *tools.ALIASES.values(), "zzz"])] = pairs.pop(name, "5")
    return tool, rng.sample(list(pairs.items()), len(pairs))


def test_the_world_reached_says_what_comparing_calls_would_say():
    rng, said = Random(0), set()
    for row in TinyTask(0, ("tools",)).rows("test"):
        meta = json.loads(row["meta"])
        for _ in range(20):
            tool, pairs = mangled(meta, rng)
            completion = f"so call {tool} {{ {' , '.join(f'{name} : {value}' for name, value in pairs)} }}"
            grade = tools.grade(row, completion)
            assert grade.feedback == compared(meta, tool, pairs), completion
            assert grade.score == float(grade.feedback is None)
            said.add(grade.feedback and " ".join(grade.feedback.split()[-3:]))
    assert {None, "no such tool", "the wrong tool", "the wrong value", "unknown argument"} <= said


def test_equal_effects_are_equal_and_an_argument_given_twice_is_named():
    meta = {"tool": "set_timer", "arguments": {"minutes": "5", "label": "tea"}}
    row = {"meta": json.dumps(meta, sort_keys=True)}
    assert tools.grade(row, "call set_timer { label : tea , minutes : 05 }").score == 1.0
    twice = tools.grade(row, "call set_timer { label : tea , minutes : 5 , minutes : 5 }")
    assert (twice.score, twice.feedback) == (0.0, "argument minutes has the wrong value")
