"""What a platform answers, asks and understands (HJ 212-2017 clause 6.6): heads, segments, requests for history."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_MS
from greenmine.ingest.hj212_frame import Frame, build_frame
from greenmine.ingest.hj212_gate import Admission, Station, StationGate, is_mn
from greenmine.ingest.hj212_head import Head, head_of
from greenmine.ingest.hj212_history import OVERTIME_S, RECOUNT, RESULT_WITHIN_S, HistoryRequests, Span
from greenmine.ingest.hj212_requests import answers_to, history_request, qn_of, result_of, segment_of, stamp_of

STATION = Head("20261122160000001", "22", "2011", "123456", "STATION_1", 5)
QN = "20261122160500123"
SPAN = Span("2061", 1795334400 * 10**9, 1795338000 * 10**9)
NOBODY = Head("", "", "", "", "", 0)


def test_the_head_is_found_however_untidy_it_is() -> None:
    tidy = b"QN=20261122160000001;ST=22;CN=2011;PW=123456;MN=STATION_1;Flag=5;CP=&&x&&"
    untidy = b"QN=20261122160000001; ST=22 ;CN=2011;PW=123456;MN=STATION_1;Flag=5;MN=OTHER;CP=&&MN=THIRD;Flag=4&&"
    assert head_of(tidy) == head_of(untidy) == STATION
    assert STATION.version == 1
    assert "123456" not in repr(STATION)


@pytest.mark.parametrize("segment", [b"", b"CP=&&QN=1&&", b";;;==;", "Flag=².;".encode()])
def test_what_is_not_there_is_empty(segment: bytes) -> None:
    assert head_of(segment) == NOBODY


@given(st.binary(max_size=1024))
def test_any_segment_has_a_head_and_its_answers_fit_a_frame(segment: bytes) -> None:
    head = head_of(segment)
    if is_mn(head.mn) and len(head.pw) <= 24:
        for one in answers_to(head._replace(flag=9), 0):
            build_frame(one)


@pytest.mark.parametrize(
    ("cn", "answers"),
    [
        ("2011", ["9014"]), ("2051", ["9014"]), ("2081", ["9014"]), ("1013", ["9013", "1012"]), ("1011", ["9011"]),
        ("3015", ["9011"]), ("9011", []), ("9014", []), ("", []), ("20111", []),
    ],
)  # fmt: skip
def test_who_is_answered_what(cn: str, answers: list[str]) -> None:
    found = [head_of(one) for one in answers_to(STATION._replace(cn=cn), 0)]
    assert [head.cn for head in found] == answers
    assert all(not head.wants_answer or head.cn == "1012" for head in found)
    assert answers_to(STATION._replace(cn=cn, flag=4), 0) == []


def test_an_absurdly_long_qn_is_not_repeated() -> None:
    assert answers_to(STATION._replace(qn="1" * 990), 0) == []


def test_the_answer_keeps_the_version_and_drops_the_packets() -> None:
    (answer,) = answers_to(STATION._replace(flag=11), 0)
    assert answer == b"QN=20261122160000001;ST=91;CN=9014;PW=123456;MN=STATION_1;Flag=8;CP=&&&&"


def test_packets_and_resends_stand_in_the_segment() -> None:
    assert segment_of(STATION._replace(flag=9), "x", (2, 1), resent=True) == (
        b"QN=20261122160000001;ST=22;CN=2011;PW=123456;MN=STATION_1;Flag=11;PNUM=2;PNO=1;RF=1;CP=&&x&&"
    )


def test_times_are_those_of_beijing() -> None:
    assert qn_of(1795334400 * 10**9 + 7 * NS_PER_MS) == "20261122160000007"
    assert stamp_of(0) == "19700101080000"


@pytest.mark.parametrize(
    ("cp", "result"), [(b"QnRtn=1", 1), (b"ExeRtn=100", 100), (b"QnRtn=", None), (b"", None), (b"QnRtn=12345", None)]
)
def test_the_number_of_an_answer(cp: bytes, result: int | None) -> None:
    assert result_of(b"QN=1;CP=&&" + cp + b"&&") == result


def test_only_history_can_be_asked_for() -> None:
    with pytest.raises(ValueError, match="2051 or 2061"):
        history_request(STATION, QN, "2011", 0, 1)
    with pytest.raises(ValueError, match="before it begins"):
        history_request(STATION, QN, "2051", 1, 0)


class Line:
    """What a station got; `there` is whether it is connected."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.there = True

    def send(self, mn: str, frame: bytes) -> bool:
        assert mn == STATION.mn
        if self.there:
            self.sent.append(frame)
        return self.there


def answer(cn: str, cp: str, qn: str = QN) -> tuple[Head, bytes]:
    head = STATION._replace(qn=qn, cn=cn, st="91", flag=4)
    return head, segment_of(head, cp)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def history(line: Line) -> HistoryRequests:
    made = HistoryRequests(line.send)
    made.ask(STATION, QN, SPAN, 0.0)
    return made


def test_a_request_without_answer_is_sent_again_with_its_qn_and_then_given_up(
    line: Line, history: HistoryRequests
) -> None:
    history.on_time(OVERTIME_S - 0.1)
    assert len(line.sent) == 1
    for turn in range(1, 6):
        history.on_time(turn * OVERTIME_S)
    assert len(line.sent) == RECOUNT
    assert len(set(line.sent)) == 1
    assert (history.asked, history.unanswered, history.done) == (1, 1, 0)


def test_a_request_ends_where_the_station_has_gone(line: Line, history: HistoryRequests) -> None:
    line.there = False
    history.on_time(OVERTIME_S)
    history.on_time(2 * OVERTIME_S)
    assert history.unanswered == 1


@pytest.mark.parametrize(("result", "done", "refused"), [(1, 1, 0), (100, 1, 0), (2, 0, 1), (3, 0, 1)])
def test_a_request_that_is_taken_ends_with_its_result(
    line: Line, history: HistoryRequests, result: int, done: int, refused: int
) -> None:
    history.answered(*answer("9011", "QnRtn=1"), 1.0)
    history.on_time(RESULT_WITHIN_S)
    assert len(line.sent) == 1, "it is waited for"
    history.answered(*answer("9012", f"ExeRtn={result}"), RESULT_WITHIN_S)
    assert (history.done, history.refused, history.unanswered) == (done, refused, 0)


def test_a_result_that_never_comes_is_given_up(line: Line, history: HistoryRequests) -> None:
    history.answered(*answer("9011", "QnRtn=1"), 1.0)
    history.on_time(RESULT_WITHIN_S + 1.0)
    assert (history.unanswered, len(line.sent)) == (1, 1)


def test_a_refusal_ends_a_request_and_foreign_answers_do_not(line: Line, history: HistoryRequests) -> None:
    history.answered(*answer("9011", "QnRtn=2", qn="20261122160500124"), 1.0)
    history.answered(STATION._replace(qn=QN), b"", 1.0)
    assert history.refused == 0
    history.answered(*answer("9011", "QnRtn=2"), 1.0)
    history.on_time(RESULT_WITHIN_S)
    assert (history.refused, history.unanswered, len(line.sent)) == (1, 0, 1)


def test_the_gate_shows_no_secret_and_follows_the_policies() -> None:
    station = Station("123456", bytes(16))
    assert "123456" not in repr(station)
    gate, frame = StationGate({"A": station, "B": Station(None)}), Frame(b"", b"")
    assert gate.admit("A", "123456", frame) is Admission.GRANTED
    assert gate.admit("A", "", frame) is gate.admit("B", "", frame) is Admission.DENIED
    assert gate.admit("C", "", frame) is Admission.UNKNOWN
    assert gate.without_password == ["B"]
    gate.replace({})
    assert gate.admit("A", "123456", frame) is Admission.UNKNOWN
    assert len(gate) == 0
