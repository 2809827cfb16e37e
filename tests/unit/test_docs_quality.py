"""Every reason of a refusal and of a quarantine and every flag stands in docs/quality.md, in both languages, as the
product says it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenmine.core.dead_letter import DeadReason
from greenmine.core.quality import Quality, Quarantine, flag_names
from greenmine.ingest.reason_words import FLAGS, QUARANTINED, REFUSED, Words, meaning_of
from greenmine.ingest.refusal_advice import ADVICE, advice_for
from greenmine.web.wording import FLAGS as SHOWN_FLAGS
from greenmine.web.wording import QUARANTINES as SHOWN_QUARANTINES

TEXT = (Path(__file__).parents[2] / "docs" / "quality.md").read_text(encoding="utf-8")
EVERY_FLAG = flag_names(sum(Quality))
HEADINGS = {"refused": ("拒收", "Refused"), "quarantined": ("隔离", "Kept apart"), "flagged": ("标记", "Flags")}


def table(heading: str) -> list[tuple[str, str, str]]:
    (section,) = re.findall(rf"^### {heading}\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE)
    return re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", section, re.MULTILINE)


@pytest.mark.parametrize(
    ("kind", "words", "rows"),
    [
        ("refused", list(DeadReason), {word: (meaning, advice_for(word)) for word, meaning in REFUSED.items()}),
        ("quarantined", list(Quarantine), {word: (m, advice_for(word)) for word, m in QUARANTINED.items()}),
        ("flagged", EVERY_FLAG, FLAGS),
    ],
)
@pytest.mark.parametrize("language", [0, 1])
def test_every_word_is_in_the_table(
    kind: str, words: list[str], rows: dict[str, tuple[Words, Words]], language: int
) -> None:
    assert set(rows) == set(words)
    found = table(HEADINGS[kind][language])
    assert found == [(word, said[language], todo[language]) for word, (said, todo) in rows.items()]


def test_every_word_has_a_meaning_and_advice_of_its_own_kind() -> None:
    for word in [*DeadReason, *Quarantine, *EVERY_FLAG]:
        zh, en = meaning_of(word)
        assert re.search(r"[\u4e00-\u9fff]", zh)
        assert en
        assert not re.search(r"[\u4e00-\u9fff]", en)
    assert {*DeadReason, *Quarantine} <= set(ADVICE)
    assert set(SHOWN_FLAGS) == set(EVERY_FLAG)
    assert set(SHOWN_QUARANTINES) == set(Quarantine)
    assert meaning_of("never heard of") == ("", "")


def test_a_word_of_several_kinds_means_what_its_kind_says() -> None:
    for kind, table in (("refused", REFUSED), ("quarantined", QUARANTINED)):
        for word, meaning in table.items():
            assert meaning_of(word, kind) == meaning
    for word, (meaning, _) in FLAGS.items():
        assert meaning_of(word, "flagged") == meaning
    assert meaning_of("clock_ahead", "quarantined") != meaning_of("clock_ahead", "refused"), "not an activity's time"
    assert meaning_of("range", "flagged") != meaning_of("range") == REFUSED["range"]
