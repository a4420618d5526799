"""The world that the calls of the `tools` family act on: timers, alarms, tables, tickets, mails, music and a list.

Each tool is a function that changes the world. `call` reads the arguments, checks them, and runs it; what it cannot do
it says in words of the vocabulary. Two calls mean the same when they leave the same world.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

Value = int | str

POOLS = {
    "minutes": tuple(str(5 * n) for n in range(1, 13)),
    "hour": tuple(str(n) for n in range(1, 13)),
    "people": tuple(str(n) for n in range(2, 12)),
    "count": tuple(str(n) for n in range(2, 14)),
    "volume": tuple(str(10 * n) for n in range(1, 10)),
    "label": ("tea", "pasta", "laundry", "nap", "yoga", "eggs", "bread", "study"),
    "city": ("paris", "rome", "oslo", "cairo", "lima", "delhi", "tokyo", "quito"),
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "person": ("anna", "bob", "carol", "david", "emma", "frank", "grace", "henri"),
    "topic": ("rent", "taxes", "holiday", "music", "garden", "school", "dinner", "football"),
    "song": ("yesterday", "imagine", "hallelujah", "thriller", "waterloo", "respect", "valerie", "creep"),
    "item": ("apples", "onions", "candles", "pens", "cups", "towels", "lemons", "nails"),
}
"""What a request may ask for. A tool takes any whole number where these are numbers, and these words elsewhere."""


class ToolError(Exception):
    """What a tool says when it cannot do as it is told.

    Attributes:
        argument: the argument it is about, where it is about one.
        read: the arguments that were read before it stopped.
    """

    def __init__(self, said: str, argument: str | None = None, read: dict[str, Value] | None = None):
        super().__init__(said)
        self.argument, self.read = argument, read or {}


@dataclass
class World:
    """All that tools can change; empty at first."""

    timers: dict[str, int] = field(default_factory=dict)
    alarms: dict[str, int] = field(default_factory=dict)
    tables: list[tuple[int, int]] = field(default_factory=list)
    forecasts: dict[tuple[str, str], bool] = field(default_factory=dict)
    tickets: list[tuple[str, str]] = field(default_factory=list)
    mails: list[tuple[str, str]] = field(default_factory=list)
    music: tuple[str, int] | None = None
    shopping: dict[str, int] = field(default_factory=dict)


def set_timer(world: World, minutes: int, label: str) -> None:
    """Start a timer; one of the same label starts again."""
    world.timers[label] = minutes


def set_alarm(world: World, hour: int, label: str) -> None:
    """Set an alarm; one of the same label is moved."""
    world.alarms[label] = hour


def book_table(world: World, people: int, hour: int) -> None:
    """Book one more table."""
    world.tables.append((people, hour))


def get_weather(world: World, city: str, day: str) -> None:
    """Look up whether a city will be sunny, and put that where the user sees it."""
    world.forecasts[city, day] = Random(f"{city} {day}").random() < 0.5


def buy_ticket(world: World, city: str, day: str) -> None:
    """Buy one more ticket."""
    world.tickets.append((city, day))


def send_mail(world: World, person: str, topic: str) -> None:
    """Send one more mail."""
    world.mails.append((person, topic))


def play_song(world: World, song: str, volume: int) -> None:
    """Play a song instead of what was played."""
    world.music = (song, volume)


def add_item(world: World, item: str, count: int) -> None:
    """Put some more of an item on the list."""
    world.shopping[item] = world.shopping.get(item, 0) + count


TOOLS: dict[str, Callable[..., None]] = {
    tool.__name__: tool
    for tool in (set_timer, set_alarm, book_table, get_weather, buy_ticket, send_mail, play_song, add_item)
}


def arguments_of(tool: str) -> tuple[str, ...]:
    """Return the names of a tool's arguments."""
    return tuple(inspect.signature(TOOLS[tool]).parameters)[1:]


def call(world: World, tool: str, pairs: Sequence[tuple[str, str]]) -> dict[str, Value]:
    """Run a tool on the world and return the arguments it read; on an error the world is as it was.

    Args:
        world: is changed.
        tool: its name.
        pairs: names and values of its arguments as written, in any order.

    Raises:
        ToolError: there is no such tool; an argument is unknown, missing, given twice, or no value of its kind.
    """
    if tool not in TOOLS:
        raise ToolError("no such tool")
    names = sorted(arguments_of(tool))
    for name, _ in pairs:
        if name not in names:
            raise ToolError(f"unknown argument {name}", name)
    read: dict[str, Value] = {}
    for name in names:
        given = [value for other, value in pairs if other == name]
        if not given:
            raise ToolError(f"missing argument {name}", name, read)
        value = _value(name, given[0]) if len(given) == 1 else None
        if value is None:
            raise ToolError(f"argument {name} has the wrong value", name, read)
        read[name] = value
    TOOLS[tool](world, **read)
    return read


def _value(name: str, written: str) -> Value | None:
    """Return what a written value stands for, or None when it is not of the argument's kind."""
    if not POOLS[name][0].isdigit():
        return written if written in POOLS[name] else None
    return int(written) if written.isascii() and written.isdigit() and len(written) < 10 else None
