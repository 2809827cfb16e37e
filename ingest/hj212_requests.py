"""Segments that a platform sends, and those with which either side answers (HJ 212-2017 and -2025, clause 6.6, annex
C). Pure: QN and times are arguments.

The sequence of a request for the time (1013: notice answer 9013, then 1012 with the time) and what the numbers of QnRtn
and ExeRtn mean are general knowledge of the field, not checked against the standard's text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from functools import lru_cache

from greenmine.core.clock import NS_PER_MS, NS_PER_S
from greenmine.ingest.hj212_head import Head
from greenmine.ingest.hj212_segment import ANSWER_WANTED, IN_PACKETS

CHINA = timezone(timedelta(hours=8))
"""All times of HJ 212 are Beijing time."""
SYSTEM = "91"
"""ST of answers: system interaction."""
DATA_ANSWER, NOTICE_ANSWER, REQUEST_ANSWER, EXECUTION_RESULT = "9014", "9013", "9011", "9012"
SET_TIME, WANTS_TIME = "1012", "1013"
MINUTE_HISTORY, HOUR_HISTORY = "2051", "2061"
LONGEST_NAMES = 64
"""Characters of QN and ST together, beyond which a frame is not answered: the answer repeats them and has to fit."""
_RESULT = re.compile(rb"(?:QnRtn|ExeRtn)=([0-9]{1,4})(?![0-9])")


class RequestResult(IntEnum):
    """QnRtn: what becomes of a request."""

    READY = 1
    REFUSED = 2


class ExecutionResult(IntEnum):
    """ExeRtn: what became of it."""

    DONE = 1
    FAILED = 2
    NO_DATA = 100


def qn_of(time_ns: int) -> str:
    """QN of a time (ns UTC): YYYYMMDDhhmmsszzz in Beijing time."""
    millis = time_ns // NS_PER_MS
    return f"{stamp_of(time_ns)}{millis % 1000:03d}"


def stamp_of(time_ns: int) -> str:
    """YYYYMMDDhhmmss in Beijing time, as DataTime, BeginTime and SystemTime have it."""
    return _stamp(time_ns // NS_PER_S)


@lru_cache(maxsize=4096)
def _stamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).astimezone(CHINA).strftime("%Y%m%d%H%M%S")


def segment_of(head: Head, cp: str, packet: tuple[int, int] | None = None, resent: bool = False) -> bytes:
    """A data segment. `packet` is (PNUM, PNO) and sets bit D; `resent` adds RF=1, which only version 2025 has."""
    flag = head.flag | IN_PACKETS if packet else head.flag & ~IN_PACKETS
    parts = [f"QN={head.qn}", f"ST={head.st}", f"CN={head.cn}", f"PW={head.pw}", f"MN={head.mn}", f"Flag={flag}"]
    if packet:
        parts += [f"PNUM={packet[0]}", f"PNO={packet[1]}"]
    if resent:
        parts.append("RF=1")
    return ";".join([*parts, f"CP=&&{cp}&&"]).encode()


def data_answer(asked: Head) -> bytes:
    """9014 to data that wanted an answer: the QN says which."""
    return segment_of(_answering(asked, DATA_ANSWER), "")


def notice_answer(asked: Head) -> bytes:
    """9013 to a notice."""
    return segment_of(_answering(asked, NOTICE_ANSWER), "")


def request_answer(asked: Head, result: RequestResult) -> bytes:
    """9011 to a request: whether it will be carried out."""
    return segment_of(_answering(asked, REQUEST_ANSWER), f"QnRtn={int(result)}")


def execution_result(asked: Head, result: ExecutionResult) -> bytes:
    """9012 at the end of a request that was carried out."""
    return segment_of(_answering(asked, EXECUTION_RESULT), f"ExeRtn={int(result)}")


def time_setting(station: Head, qn: str, now_ns: int) -> bytes:
    """1012: sets the station's clock. `station` is any head that the station sent."""
    return segment_of(_asking(station, SET_TIME, qn), f"SystemTime={stamp_of(now_ns)}")


def history_request(station: Head, qn: str, cn: str, begin_ns: int, end_ns: int) -> bytes:
    """2051 or 2061 with BeginTime and EndTime (ns UTC, to the second): asks a station for what it has kept.

    Raises:
        ValueError: another command, or a time that ends before it begins.
    """
    if cn not in (MINUTE_HISTORY, HOUR_HISTORY):
        raise ValueError(f"history is asked for with {MINUTE_HISTORY} or {HOUR_HISTORY}, not {cn!r}")
    if end_ns < begin_ns:
        raise ValueError("the history ends before it begins")
    return segment_of(_asking(station, cn, qn), f"BeginTime={stamp_of(begin_ns)},EndTime={stamp_of(end_ns)}")


def result_of(segment: bytes) -> int | None:
    """QnRtn or ExeRtn of an answer, None where there is none."""
    found = _RESULT.search(segment)
    return int(found[1]) if found else None


def answers_to(asked: Head, now_ns: int) -> list[bytes]:
    """The segments with which a platform answers a station's frame, in order; none where none is wanted.

    Data (CN 2xxx) gets 9014, a request for the time 9013 and 1012. Other requests of a station are refused by 9011;
    answers (9xxx) are never answered, or two sides would answer each other for ever.
    """
    if not asked.wants_answer or len(asked.cn) != 4 or len(asked.qn) + len(asked.st) > LONGEST_NAMES:
        return []
    if asked.cn.startswith("2"):
        return [data_answer(asked)]
    if asked.cn == WANTS_TIME:
        return [notice_answer(asked), time_setting(asked, qn_of(now_ns), now_ns)]
    if asked.cn[0] in "13":
        return [request_answer(asked, RequestResult.REFUSED)]
    return []


def _answering(asked: Head, cn: str) -> Head:
    return asked._replace(st=SYSTEM, cn=cn, flag=asked.flag & ~(ANSWER_WANTED | IN_PACKETS))


def _asking(station: Head, cn: str, qn: str) -> Head:
    return station._replace(qn=qn, cn=cn, flag=(station.flag | ANSWER_WANTED) & ~IN_PACKETS)
