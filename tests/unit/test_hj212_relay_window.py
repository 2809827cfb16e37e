"""Messages under way to a platform: resends with the same QN, what is given up, and what goes on waiting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from greenmine.core.relay import RelayFrame, WaitingFrame
from greenmine.ingest.hj212_frame import Frame, build_frame
from greenmine.ingest.hj212_relay_window import SIZE, Window
from tests.hj212_station import answer, frame

OVERTIME_S = 10.0


@dataclass
class Terms:
    """A platform that knows one station."""

    overtime_s: float = OVERTIME_S
    recount: int = 3
    passwords: Mapping[str, str] = field(default_factory=lambda: {"A": "123456"})


def waiting(number: int, mn: str = "A", flag: int = 5) -> WaitingFrame:
    return WaitingFrame(number, RelayFrame("mine", mn, f"2026112216000{number:04d}", "22", "2011", flag, f"x={number}"))


def sent(number: int, flag: int = 5, resent: str = "") -> bytes:
    head = f"QN=2026112216000{number:04d};ST=22;CN=2011;PW=123456;MN=A;Flag={flag}"
    return frame(f"{head};{resent}CP=&&x={number}&&")


def answered(number: int, mn: str = "A") -> Frame:
    raw = answer(f"2026112216000{number:04d}", mn=mn)
    return Frame(raw[6:-6], raw)


@pytest.fixture
def window() -> Window:
    return Window(Terms(), maybe_sent=0)


def test_a_message_is_sent_and_answered(window: Window) -> None:
    assert list(window.load([waiting(1), waiting(2)], 0.0)) == [sent(1), sent(2)]
    assert window.heard(answered(2)) is None
    assert (window.take_settled(), window.take_settled()) == (([2], []), ([], []))
    assert (window.loaded_id, window.room, window.answered) == (2, SIZE - 1, 1)


def test_an_answer_for_another_station_or_message_is_none(window: Window) -> None:
    list(window.load([waiting(1)], 0.0))
    for one in (answered(2), answered(1, mn="B"), Frame(b"", b"")):
        window.heard(one)
    assert window.take_settled() == ([], [])


def test_what_gets_no_answer_is_sent_again_as_it_was(window: Window) -> None:
    first = list(window.load([waiting(1)], 0.0))
    assert list(window.due_again(OVERTIME_S - 0.1)) == []
    again = [list(window.due_again(turn * OVERTIME_S)) for turn in (1, 2)]
    assert again == [first, first]
    assert window.resent == 2
    assert list(window.due_again(3 * OVERTIME_S)) == []
    assert window.is_dead
    assert window.take_settled() == ([], []), "it goes on waiting"


def test_a_message_that_alone_gets_no_answer_is_given_up(window: Window) -> None:
    list(window.load([waiting(1), waiting(2)], 0.0))
    window.heard(answered(2))
    for turn in (1, 2, 3):
        list(window.due_again(turn * OVERTIME_S))
    assert not window.is_dead
    assert window.take_settled() == ([2], [1])


def test_from_2025_on_what_is_sent_again_says_so() -> None:
    window = Window(Terms(), maybe_sent=1)
    assert list(window.load([waiting(1, flag=9), waiting(2, flag=9)], 0.0)) == [sent(1, 9, "RF=1;"), sent(2, 9)]
    assert list(window.due_again(OVERTIME_S)) == [sent(1, 9, "RF=1;"), sent(2, 9, "RF=1;")]


def test_a_station_without_a_password_waits_and_holds_nobody_up(window: Window) -> None:
    assert list(window.load([waiting(1, mn="B"), waiting(2)], 0.0)) == [sent(2)]
    assert (window.room, window.loaded_id) == (SIZE - 1, 2)


def test_what_the_platform_asks_is_refused_and_answers_are_not_answered(window: Window) -> None:
    asked = build_frame(b"QN=20261122160000001;ST=22;CN=1011;PW=123456;MN=A;Flag=5;CP=&&&&")
    assert window.heard(Frame(asked[6:-6], asked)) == answer("20261122160000001", "9011", "QnRtn=2", mn="A")
    silent = build_frame(b"QN=20261122160000001;ST=91;CN=9013;PW=123456;MN=A;Flag=5;CP=&&&&")
    assert window.heard(Frame(silent[6:-6], silent)) is None


def test_it_wakes_for_the_first_that_is_due(window: Window) -> None:
    assert window.pause_s(0.0, 60.0) == 60.0
    list(window.load([waiting(1)], 3.0))
    list(window.load([waiting(2)], 4.0))
    assert window.pause_s(5.0, 60.0) == 8.0
    window.heard(answered(1))
    assert window.pause_s(5.0, 60.0) == 9.0
