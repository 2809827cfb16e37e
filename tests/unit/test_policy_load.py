"""From files to a policy: merging with the region, and problems at the file and line that wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenmine.core.errors import PolicyError
from greenmine.policy.load import EXAMPLES, LoadedPolicy, check_file, check_region, load_policy
from greenmine.policy.model import MeanRule, ThresholdRule

REGION = """\
schema: 1
mine:
  region: "150622"
  timezone: Asia/Shanghai
  noise_class: 3
  air_grade: 2
valid_from: 2026-01-01
standards: [GB 12348-2008/boundary, GB 3095-2026/ambient-air]
quality: {max_ahead: 4m, lateness: 6m}
contacts:
  - {id: bureau, name: {zh: 局, en: Bureau}, channels: [{kind: console}]}
rules:
  - {id: dust, kind: threshold, severity: warning, metric: pm10, raise: 250, clear: 200}
  - {id: noise, kind: mean, window: 10m, severity: notice, metric: laeq, raise: 65, clear: 60}
"""

MINE = """\
schema: 1
extends: regions/150622.yaml
mine:
  id: shifan
  name: {zh: 示范, en: Demo}
  enterprise: {zh: 示范, en: Demo}
  location: [110.2, 39.7]
devices:
  - id: d1
    sensors:
      - {kind: dust, principle: beta, metrics: {pm10: {unit: ug/m3, interval: 10s}}}
      - {kind: noise, principle: class_1_meter, metrics: {laeq: {unit: dB, interval: 10s}}}
"""


class Folder:
    """A folder of policies: write the files, then load."""

    def __init__(self, root: Path) -> None:
        self.mine = root / "policies" / "shifan.yaml"
        self.region = root / "policies" / "regions" / "150622.yaml"
        self.region.parent.mkdir(parents=True)
        self.region.write_text(REGION, encoding="utf-8")

    def load(self, text: str = MINE) -> LoadedPolicy:
        self.mine.write_text(text, encoding="utf-8")
        return load_policy(self.mine)

    def problems(self, text: str) -> list[tuple[str, int | None, str, str]]:
        with pytest.raises(PolicyError) as caught:
            self.load(text)
        return [(Path(p.file).name, p.line, p.field, p.message) for p in caught.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_region_and_mine_are_merged(folder: Folder) -> None:
    loaded = folder.load()
    policy = loaded.policy
    assert (policy.mine.id, policy.mine.region, policy.mine.timezone) == ("shifan", "150622", "Asia/Shanghai")
    assert [rule.id for rule in policy.rules] == ["dust", "noise"]
    assert (policy.quality.max_ahead, policy.quality.lateness) == (240, 360)
    assert loaded.files == [folder.mine, folder.region]
    assert loaded.warnings == []


def test_the_mine_wins_key_by_key(folder: Folder) -> None:
    policy = folder.load(MINE + "quality: {max_ahead: 1m}\nstandards: [GB 12348-2008/boundary]\n").policy
    assert (policy.quality.max_ahead, policy.quality.lateness) == (60, 360)
    assert [choice.part for choice in policy.standards] == ["GB 12348-2008/boundary"]


def test_an_item_with_the_same_id_replaces_the_whole_item(folder: Folder) -> None:
    mine = MINE + (
        "rules:\n"
        "  - {id: zebra, kind: absence, severity: notice, intervals: 3}\n"
        "  - {id: dust, kind: threshold, severity: critical, metric: pm10, raise: 300, clear: 100}\n"
    )
    policy = folder.load(mine).policy
    assert [rule.id for rule in policy.rules] == ["dust", "noise", "zebra"]
    dust = policy.rules[0]
    assert isinstance(dust, ThresholdRule)
    assert (dust.raise_level, dust.severity.value) == (300, "critical")
    assert isinstance(policy.rules[1], MeanRule)


def test_two_items_of_the_region_with_one_id(folder: Folder) -> None:
    dust = next(line for line in REGION.splitlines(keepends=True) if "id: dust" in line)
    folder.region.write_text(REGION + dust, encoding="utf-8")
    (problem,) = folder.problems(MINE)
    assert problem[:3] == ("150622.yaml", REGION.count("\n") + 1, "rules[2].id")
    assert [rule.id for rule in folder.load(MINE + "rules:\n" + dust).policy.rules] == ["dust", "noise"]


def test_drop_takes_the_regions_item_away(folder: Folder) -> None:
    assert [rule.id for rule in folder.load(MINE + "rules:\n  - {id: dust, drop: true}\n").policy.rules] == ["noise"]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("{id: dusk, drop: true}", "no 'dusk' in the region's file to drop; did you mean 'dust'?"),
        ("{drop: true}", "no None in the region's file"),
        ("{id: dust, drop: false}", "just {id: ..., drop: true}"),
        ("{id: dust, drop: true, kind: threshold}", "just {id: ..., drop: true}"),
    ],
)
def test_a_wrong_drop(folder: Folder, item: str, words: str) -> None:
    text = MINE + f"rules:\n  - {item}\n"
    (problem,) = folder.problems(text)
    assert problem[:3] == ("shifan.yaml", line_of(text, item), "rules[0]")
    assert words in problem[3]


def test_the_order_of_the_file_is_not_the_order_of_the_policy(folder: Folder) -> None:
    before = folder.load().policy
    lines = REGION.splitlines(keepends=True)
    folder.region.write_text("".join([*lines[:-2], lines[-1], lines[-2]]), encoding="utf-8")
    assert folder.load().policy == before


def test_a_problem_cites_the_file_that_wrote_the_value(folder: Folder) -> None:
    region = REGION.replace("clear: 200", "clear: 260").replace("max_ahead: 4m", "max_ahead: 4")
    folder.region.write_text(region, encoding="utf-8")
    mine = MINE.replace("interval: 10s}}}\n      - {kind: noise", "interval: 10}}}\n      - {kind: noise")
    mine += "rules:\n  - {id: dew, kind: mean, window: 5m, severity: notice, metric: pm10, raise: 9}\n"
    found = folder.problems(mine)
    assert [(name, line, where) for name, line, where, _ in found] == [
        ("150622.yaml", line_of(region, "max_ahead"), "quality.max_ahead"),
        ("150622.yaml", line_of(region, "id: dust"), "rules[0]"),
        ("shifan.yaml", line_of(mine, "unit: ug/m3"), "devices[0].sensors[0].metrics.pm10.interval"),
        ("shifan.yaml", line_of(mine, "id: dew"), "rules[0].clear"),
    ]
    assert found[3][3] == "is missing; add it"


def test_checks_across_sections_cite_the_file_that_wrote_the_value(folder: Folder) -> None:
    mine = MINE[: MINE.index("      - {kind: noise")]
    (problem,) = folder.problems(mine)
    assert problem[:3] == ("150622.yaml", line_of(REGION, "id: noise"), "rules[1]")
    assert "{id: noise, drop: true}" in problem[3]


def test_problems_of_both_files_are_told_together(folder: Folder) -> None:
    folder.region.write_text(REGION.replace("schema: 1", "schema: 2") + "extends: x.yaml\n", encoding="utf-8")
    messages = [message for *_, message in folder.problems(MINE)]
    assert any("newer than this greenmine knows (1)" in message for message in messages)
    assert any("cannot extend another" in message for message in messages)


@pytest.mark.parametrize("key", ["id: x", "name: {zh: a, en: b}", "location: [110, 39]", "permit: p"])
def test_a_region_does_not_say_what_is_the_mines(folder: Folder, key: str) -> None:
    region = REGION.replace("  noise_class: 3\n", f"  noise_class: 3\n  {key}\n")
    folder.region.write_text(region, encoding="utf-8")
    (problem,) = folder.problems(MINE)
    assert problem[:3] == ("150622.yaml", line_of(region, key), f"mine.{key.partition(':')[0]}")


@pytest.mark.parametrize(
    ("extends", "words"),
    [
        ("/etc/passwd.yaml", "relative to this file"),
        ("C:/x.yaml", "relative to this file"),
        ("regions\\x.yaml", "relative to this file"),
        ("../../x.yaml", "leads out"),
        ("regions/../../../x.yaml", "leads out"),
        ("regions/none.yaml", "there is no"),
        ("regions", "must name a region's file"),
        ("5", "must name a region's file"),
        ("''", "must name a region's file"),
    ],
)
def test_extends_stays_in_its_tree(folder: Folder, extends: str, words: str) -> None:
    outside = folder.mine.parent.parent.parent / "x.yaml"
    outside.write_text(REGION, encoding="utf-8")
    (problem,) = folder.problems(MINE.replace("regions/150622.yaml", extends))
    assert problem[:3] == ("shifan.yaml", 2, "extends")
    assert words in problem[3]


def test_extends_does_not_follow_a_link_out(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "x.yaml"
    outside.write_text(REGION, encoding="utf-8")
    (folder.mine.parent / "link.yaml").symlink_to(outside)
    (problem,) = folder.problems(MINE.replace("regions/150622.yaml", "link.yaml"))
    assert "leads out" in problem[3]


def test_extends_may_be_one_level_above(folder: Folder) -> None:
    (folder.mine.parent.parent / "county.yaml").write_text(REGION, encoding="utf-8")
    assert folder.load(MINE.replace("regions/150622.yaml", "../county.yaml")).policy.mine.region == "150622"


def test_policies_in_a_linked_folder(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder.load()
    link = tmp_path_factory.mktemp("etc") / "policies"
    link.symlink_to(folder.mine.parent)
    assert load_policy(link / "shifan.yaml").policy.mine.id == "shifan"


def test_the_shipped_region_is_found(folder: Folder) -> None:
    folder.region.unlink()
    mine = MINE + "\n".join(
        [
            "valid_from: 2026-01-01",
            "rules:",
            *(f"  - {{id: {rule}, drop: true}}" for rule in ("ph-low", "ph-high", "turbidity-high")),
            "",
        ]
    )
    assert folder.load(mine).files == [folder.mine, EXAMPLES / "regions" / "150622.yaml"]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("", "is missing; write `schema: 1`"),
        ("schema: 2\n", "newer than this greenmine knows (1); update greenmine"),
        ("schema: 0\n", "must be 1"),
        ("schema: '1'\n", "must be 1"),
        ("schema: true\n", "must be 1"),
        ("schema: 1.0\n", "must be 1"),
    ],
)
def test_schema_version(folder: Folder, schema: str, words: str) -> None:
    (problem,) = folder.problems(MINE.replace("schema: 1\n", schema))
    assert problem[:3] == ("shifan.yaml", 1, "schema")
    assert words in problem[3]


RULE = "rules:\n  - {id: x, kind: threshold, severity: notice, metric: pm10, raise: 20, clear: 10}\n"


@pytest.mark.parametrize(
    ("old", "new", "where", "words"),
    [
        ("clear: 10", "clear: 10, hol: 5s", "rules[0].hol", "unknown key 'hol'; did you mean 'hold'?"),
        (
            "clear: 10",
            "clear: 10, zz: 5s",
            "rules[0].zz",
            "unknown key 'zz'; remove it (known here: activity_margin, advice, channel",
        ),
        ("raise: 20", "raise_level: 20", "rules[0].raise_level", "did you mean 'raise'?"),
        ("raise: 20", "raise_level: 20", "rules[0].raise", "is missing"),
        ("threshold", "treshold", "rules[0]", "unknown kind 'treshold'; write one of 'threshold', 'mean', 'absence'"),
        ("kind: threshold, ", "", "rules[0]", "`kind` is missing; write one of absence, mean, threshold"),
        ("severity: notice", "severity: loud", "rules[0].severity", "'notice', 'warning' or 'critical'"),
        ("raise: 20", "raise: '20'", "rules[0].raise", "must be a number without quotes, not '20'"),
        ("raise: 20", "raise: true", "rules[0].raise", "must be a number without quotes, not true"),
        ("raise: 20", "raise: null", "rules[0].raise", "must be a number without quotes, not nothing"),
        ("id: x", "id: 7", "rules[0].id", "must be text, not 7; put it in quotes"),
        ("id: x", "id: X", "rules[0].id", "'X' is not an identifier; write 1 to 63 of a-z"),
        ("id: x", "id: x, devices: ['*']", "rules[0].devices[0]", "no wildcards or regular expressions"),
        ("id: x", "id: x, devices: []", "rules[0].devices", "is empty"),
        ("id: x", "id: x, devices: d1", "rules[0].devices", "must be a list"),
        ("id: x", "id: x, hold: 5", "rules[0].hold", "with its unit"),
        ("id: x", "id: x, hold: {s: 5}", "rules[0].hold", "with its unit"),
        ("id: x", "id: x, title: hello", "rules[0].title", "must be keys and values, not 'hello'"),
        ("id: x", "id: x, title: {zh: 中}", "rules[0].title.en", "is missing"),
        ("id: x", "id: x, title: {zh: 中, en: ''}", "rules[0].title.en", "is empty; write something"),
        ("  - {id: x", "  - 5\n  - {id: x", "rules[0]", "must be keys and values, not 5"),
        ("rules:\n", "rulez:\n", "rulez", "did you mean 'rules'?"),
        ("rules:\n", "valid_from: 20260101\nrules:\n", "valid_from", "write a date as 2026-01-01"),
        ("rules:\n", "valid_from: 2026-01-01T00:00:00\nrules:\n", "valid_from", "write it as 2026-01-01"),
        ("rules:\n", "valid_from: 2026-02-30\nrules:\n", "valid_from", "2026-02-30"),
        ("rules:\n", "templates: {A b: {zh: 中, en: e}}\nrules:\n", "templates.A b", "is not an identifier"),
        ("rules:\n", "templates: {a: {zh: 中, em: e}}\nrules:\n", "templates.a.em", "did you mean 'en'?"),
        ("rules:\n", "quality:\nrules:\n", "quality", "must be keys and values, not nothing"),
        ("rules:\n", "quality: {unusable: range}\nrules:\n", "quality.unusable", "must be a list"),
    ],
)
def test_problems_in_plain_words(folder: Folder, old: str, new: str, where: str, words: str) -> None:
    text = (MINE + RULE).replace(old, new)
    assert text != MINE + RULE
    found = {field: (line, message) for _, line, field, message in folder.problems(text)}
    assert where in found
    line, message = found[where]
    assert line == line_of(text, new.splitlines()[0] if new else "- {id: x")
    assert words in message


CONTACTS = "contacts:\n  - {id: me, name: {zh: 我, en: I}, channels: [{kind: console}]}\n"


@pytest.mark.parametrize(
    ("channel", "where", "words"),
    [
        ("{kind: sms}", "", "unknown kind 'sms'; write one of 'console', 'email', 'webhook'"),
        ("{kind: email, to: nobody}", ".to", "not one e-mail address"),
        ("{kind: email, to: a@b, cc: c@d}", ".cc", "unknown key 'cc'"),
        ("{kind: webhook, url: 'https://hooks.example.com/abc'}", ".url", "write secret:NAME"),
        ("{kind: webhook}", ".url", "is missing"),
    ],
)
def test_problems_of_channels(folder: Folder, channel: str, where: str, words: str) -> None:
    (problem,) = folder.problems(MINE + CONTACTS.replace("{kind: console}", channel))
    assert problem[2] == f"contacts[0].channels[0]{where}"
    assert words in problem[3]


@pytest.mark.parametrize(
    ("old", "new", "where", "words"),
    [
        ("[110.2, 39.7]", "[39.7, 110.2]", "mine.location[1]", "[longitude, latitude]"),
        ("[110.2, 39.7]", "[110.2]", "mine.location[1]", "is missing"),
        ("[110.2, 39.7]", "[110.2, 39.7, 1200]", "mine.location", "at most 2"),
        ("[110.2, 39.7]", "here", "mine.location", "must be [longitude, latitude]"),
        ("id: shifan", "id: shifan\n  region: 150622", "mine.region", "must be text, not 150622; put it in quotes"),
        ("id: shifan", "id: shifan\n  region: '15'", "mine.region", "six digits"),
        ("id: shifan", "id: shifan\n  noise_class: true", "mine.noise_class", "whole number"),
        ("id: shifan", "id: shifan\n  noise_class: 7", "mine.noise_class", "write 0, 1, 2, 3 or 4"),
        ("id: shifan", "id: shifan\n  air_grade: 1.0", "mine.air_grade", "whole number"),
        ("  id: shifan\n", "", "mine.id", "is missing"),
        ("id: d1", "id: d1\n    address: {dev_eui: '12'}", "devices[0].address.dev_eui", "16 hexadecimal digits"),
        ("id: d1", "id: d1\n    address: {edge: g}", "devices[0].address.edge", "write group/edge"),
        ("id: d1", "id: d1\n    address: {mn: 'a-b'}", "devices[0].address.mn", "HJ 212 MN"),
        ("principle: beta", "principle: Beta", "devices[0].sensors[0].principle", "not a principle"),
        ("principle: beta", "principle: beta, channel: A", "devices[0].sensors[0].channel", "nothing, or 1 to 63"),
    ],
)
def test_problems_of_mine_and_devices(folder: Folder, old: str, new: str, where: str, words: str) -> None:
    text = MINE.replace(old, new)
    assert text != MINE
    found = {field: message for _, _, field, message in folder.problems(text)}
    assert words in found[where]


def test_warnings_do_not_refuse(folder: Folder) -> None:
    loaded = folder.load(MINE + RULE.replace("id: x", "id: a") + RULE.split("\n", 1)[1].replace("id: x", "id: b"))
    assert [(Path(w.file).name, w.field) for w in loaded.warnings] == [("shifan.yaml", "rules[1]")]


def test_check_region_takes_a_region_and_finds_its_faults(folder: Folder) -> None:
    check_region(folder.region)
    region = REGION.replace("raise: 65", "raise: sixty").replace("pm10", "pm11").replace("noise_class: 3", "noise: 3")
    folder.region.write_text(region, encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        check_region(folder.region)
    assert [(p.line, p.field) for p in caught.value.problems] == [
        (line_of(region, "noise: 3"), "mine.noise"),
        (line_of(region, "id: dust"), "rules[0].metric"),
        (line_of(region, "id: noise"), "rules[1].raise"),
    ]


def test_a_mines_file_is_no_region(folder: Folder) -> None:
    folder.load()
    with pytest.raises(PolicyError, match=r"(?s)cannot extend another.*belongs into the mine's own file"):
        check_region(folder.mine)


def test_check_file_takes_both(folder: Folder) -> None:
    folder.load(MINE + RULE.replace("id: x", "id: a") + RULE.split("\n", 1)[1].replace("id: x", "id: b"))
    assert [problem.field for problem in check_file(folder.mine)] == ["rules[1]"]
    assert check_file(folder.region) == []
    folder.region.write_text(REGION.replace("schema: 1", "schema: 1\nfoo: 1"), encoding="utf-8")
    for path in (folder.mine, folder.region):
        with pytest.raises(PolicyError, match=r"150622\.yaml:2: foo: unknown key 'foo'"):
            check_file(path)
