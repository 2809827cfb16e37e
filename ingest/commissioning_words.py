"""What the findings of commissioning say, in Chinese and English, each with what to do."""

from __future__ import annotations

from greenmine.core.reading import Series
from greenmine.ingest.commissioning_findings import Finding, FindingKind
from greenmine.ingest.refusal_advice import advice_for
from greenmine.policy.duration import duration_text

SENTENCES: dict[FindingKind, tuple[str, str]] = {
    FindingKind.NEVER_HEARD: (
        "从未收到过数据。请检查供电、网络、MQTT 账号和主题。",
        "Nothing has ever come from it. Check its power, network, MQTT account and topic.",
    ),
    FindingKind.SERIES_NEVER_HEARD: (
        "{series} 已登记但没有收到。请检查传感器接线和字段名。",
        "{series} is registered and does not come. Check the sensor's wiring and the name of the field.",
    ),
    FindingKind.SILENT: (
        "{span_zh}没有消息，登记的上报周期是 {registered} 秒。请检查供电和网络。",
        "Silent for {span_en}, registered to report every {registered} s. Check its power and network.",
    ),
    FindingKind.REFUSED: (
        "最近一条消息有内容被拒收（{word}：{detail}）。{advice_zh}",
        "Part of the last message was refused ({word}: {detail}). {advice_en}",
    ),
    FindingKind.NOT_REGISTERED: (
        "{series} 没有登记，数据被隔离。请在策略文件中登记{as_zh}。",
        "{series} is not registered and is quarantined. Register it in the policy{as_en}.",
    ),
    FindingKind.CLOCK_ZONE: (
        "时间相差正好 {hours} 小时，时区很可能设错了。",
        "Its times are off by just {hours} h: most likely the time zone is set wrong.",
    ),
    FindingKind.CLOCK_AHEAD: (
        "设备时钟超前 {span_zh}。请开启网络对时。",
        "Its clock is {span_en} ahead. Let it take the time from the network.",
    ),
    FindingKind.CLOCK_BEHIND: (
        "最新数据的时间落后 {span_zh}：时钟偏慢，或正在补传旧数据。",
        "Its newest time is {span_en} old: the clock is slow, or it is sending old data.",
    ),
    FindingKind.UNIT: (
        "{series} 登记的单位是 {registered}，数值像是 {probable}。请核对设备说明书。",
        "{series} is registered in {registered}, but the numbers look like {probable}. Check the instrument's manual.",
    ),
    FindingKind.ALL_ZERO: (
        "{series} 最近 {count} 个值全是 0。请检查接线和量程。",
        "{series}: the last {count} values are all 0. Check the wiring and the range.",
    ),
    FindingKind.CONSTANT: (
        "{series} 最近 {count} 个值完全相同。请确认传感器在实际测量。",
        "{series}: the last {count} values are the same. Make sure that the sensor measures.",
    ),
    FindingKind.OUT_OF_RANGE: (
        "{series} 超出物理范围。请检查单位和量程。",
        "{series} is out of the physical range. Check the unit and the range.",
    ),
    FindingKind.FLAGGED_BY_SENDER: (
        "{series} 由发送方标记为超出量程（HJ 212 标记 T）。请检查仪器的量程。",
        "{series} is marked by its sender as beyond the instrument's range (flag T of HJ 212). Check that range.",
    ),
    FindingKind.INTERVAL: (
        "{series} 每 {span_zh}上报一次，登记的是 {registered} 秒。请统一两者。",
        "{series} comes every {span_en}, registered are {registered} s. Make the two agree.",
    ),
    FindingKind.SIGNAL: (
        "无线信号很弱。请移动天线或增加网关。",
        "The radio signal is weak. Move the antenna or add a gateway.",
    ),
    FindingKind.BATTERY: ("电池剩余 {percent}%，请更换。", "The battery is at {percent} %; change it."),
}
CONFIRMED_ZH, CONFIRMED_EN = "数据正常", "All is well"


def finding_text(language: str, finding: Finding) -> str:
    """The sentence for a finding, `zh` or `en`."""
    facts = dict(finding.facts)
    if finding.series is not None:
        facts |= _of_series(finding.series)
    seconds = facts.get("seconds")
    if isinstance(seconds, float | int):
        facts["span_zh"], facts["span_en"] = _span(seconds)
    if "hours" in facts:
        facts["hours"] = f"{facts['hours']:+d}"
    if "percent" in facts:
        facts["percent"] = f"{facts['percent']:.0f}"
    if finding.kind is FindingKind.REFUSED:
        facts["advice_zh"], facts["advice_en"] = advice_for(str(facts["word"]))
    return SENTENCES[finding.kind][0 if language == "zh" else 1].format(**facts)


def _of_series(series: Series) -> dict[str, str]:
    """How a person reads a series, and what registers its statistic."""
    name = f"{series.metric}@{series.channel}".rstrip("@")
    if series.stat == "inst":
        return {"series": name, "as_zh": "", "as_en": ""}
    period = duration_text(series.period_s)
    keys = f"stat: {series.stat}, period: {period}"
    return {"series": f"{name} {series.stat} {period}", "as_zh": f"（{keys}）", "as_en": f" ({keys})"}


def _span(seconds: float) -> tuple[str, str]:
    for size, zh, en in ((86_400, "天", "d"), (3600, "小时", "h"), (60, "分钟", "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {zh}", f"{seconds / size:.0f} {en}"
    number = f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"
    return f"{number} 秒", f"{number} s"
