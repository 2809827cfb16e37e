"""What every reason of a refusal, every reason of a quarantine and every quality flag means, in Chinese and English.

What to do about them is in `refusal_advice`, and for flags here. `docs/quality.md` has the same words for people.
"""

from __future__ import annotations

from collections.abc import Mapping

from greenmine.core.dead_letter import DeadReason as D
from greenmine.core.quality import Quarantine as K
from greenmine.ingest.refusal_advice import advice_for

Words = tuple[str, str]

REFUSED: Mapping[str, Words] = {
    D.DENIED: ("账号无权在此主题发布", "the account has no right to publish on this topic"),
    D.RETAINED_TELEMETRY: (
        "读数以保留消息发布，收到时间不可知",
        "a reading was published as retained: when it came is unknown",
    ),
    D.TOPIC_EMPTY_LEVEL: ("主题中有空的层级", "a level of the topic is empty"),
    D.TOPIC_ENCODING: ("主题不是 UTF-8", "the topic is not UTF-8"),
    D.TOPIC_SHAPE: ("主题形式不对", "the topic has not the shape of any that is known"),
    D.TOPIC_TOO_LONG: ("主题过长", "the topic is too long"),
    D.FORMAT_NOT_SUPPORTED: ("没有对应格式的解码器", "no decoder reads the format that the topic names"),
    D.JOURNAL_CHECKSUM: (
        "日志记录校验不符，原文已损坏",
        "the journal's record fails its checksum: the bytes are damaged",
    ),
    D.SCOPE: ("替不归自己的设备说话", "the sender speaks for a device that is not its own"),
    D.UNREGISTERED: ("设备未登记", "the device is not registered"),
    D.UNKNOWN_ADDRESS: ("其他网络的地址未对应到任何设备", "no policy maps this address of another network to a device"),
    D.AMBIGUOUS_ADDRESS: ("同一地址被两台设备占用", "two devices claim the same address"),
    D.DEVICE_ID_CHARSET: ("设备标识含不允许的字符", "a device's identifier has characters that none may have"),
    D.SIMULATED: ("网络控制台模拟的数据", "an uplink that was simulated in the network's console"),
    D.EMPTY: ("报文为空或不含数值", "the message is empty, or has no values"),
    D.SIZE: ("报文过大", "the message is too large"),
    D.ENCODING: ("文字不是有效的 UTF-8", "text is not valid UTF-8"),
    D.JSON: ("不是 JSON", "it is not JSON"),
    D.PROTOBUF: ("不是 Sparkplug B 的 Protocol Buffers", "it is no Protocol Buffers message of Sparkplug B"),
    D.BASE64: ("不是 base64", "it is not base64"),
    D.DEPTH: ("嵌套过深", "it is nested too deep"),
    D.TOO_MANY_FIELDS: ("一个对象的字段过多", "an object has too many fields"),
    D.TOO_MANY_RECORDS: ("一条报文的记录过多", "the message has too many records"),
    D.DUPLICATE_KEY: ("同一名称出现两次且不一致", "a name stands twice"),
    D.MISSING_FIELD: ("缺少必需的字段", "a field that must be there is missing"),
    D.UNKNOWN_FIELD: ("字段或指标名称未知", "a field or metric that nobody knows"),
    D.TYPE: ("类型不对（如应为数字却是文字）", "of the wrong type, such as text for a number"),
    D.KIND: ("活动类别未知", "a kind of activity that is not known"),
    D.STATE: ("活动状态不是开始、结束或计划", "the state of an activity is not start, end or planned"),
    D.CHANNEL_CHARSET: ("通道名含不允许的字符", "a channel has characters that none may have"),
    D.FLAG: ("数据标记字母未知", "a data flag that is no letter of HJ 212"),
    D.NOT_FINITE: ("数值不是有限数", "NaN, infinity, or beyond a double"),
    D.RANGE: ("字段的数值超出其允许的范围", "the number of a field is beyond what the field can be"),
    D.STAT: ("统计量与其时段不匹配", "a statistic that is not known, or without its period"),
    D.UNIT: ("单位与指标不符", "the metric cannot be in this unit"),
    D.TS_FORMAT: ("时间格式不对", "the time is not in a form that is read"),
    D.TS_RANGE: ("时间不存在或超出范围", "the time does not exist, or cannot be held"),
    D.TS_ZONE: ("时间没有时区", "the time has no offset"),
    D.CLOCK_AHEAD: ("活动时间超前过多", "an activity's time is too far ahead"),
    D.CLOCK_UNSET: ("活动时间在 2000 年以前", "an activity's time is before 2000"),
    D.ZONE: ("活动区域名过长或不可显示", "an activity's zone is too long, or not printable"),
    D.NO_CODEC: ("没有规则能读这些字节", "nobody reads the bytes of this uplink"),
    D.FRAME_SHORT: ("字节数少于解码规则所需", "fewer bytes than the codec reads"),
    D.SENML_MUST_UNDERSTAND: ("含必须理解而不被理解的字段", "a label that must be understood, and is not"),
    D.SENML_NAME: ("记录没有名称", "the record has no name"),
    D.SENML_NAME_CHARSET: ("名称含不允许的字符", "the name has characters that SenML does not allow"),
    D.SENML_NAME_LEN: ("名称过长", "the name is too long"),
    D.SENML_NO_VALUE: ("记录没有数值", "the record has neither a value nor a sum"),
    D.SENML_NOT_ARRAY: ("报文不是数组", "the pack is not an array"),
    D.SENML_RECORD: ("数组成员不是 SenML 记录", "an entry is no record of SenML"),
    D.SENML_SCOPE: ("名称指向另一台设备", "the name is that of another device"),
    D.SENML_TWO_VALUES: ("一条记录有两个数值", "a record has two values"),
    D.SENML_VD: ("vd 不是 base64url", "vd is not base64url"),
    D.SENML_VERSION: ("SenML 版本不支持", "a version of SenML that is not read"),
    D.SPARKPLUG_ALIAS: ("别名未在已知的 Birth 中命名", "an alias that no known birth has named"),
    D.HEADER: ("帧外的字节", "bytes outside of any frame"),
    D.LENGTH: ("长度与内容不符", "the length does not fit"),
    D.CRC: ("校验码不符", "the CRC does not fit"),
    D.CP: ("CP 未以 && 开始和结束，或加密形式不对", "CP is not between && and &&, or not encrypted as it should be"),
    D.CN: ("命令编码缺失或未知", "the command is missing, or none"),
    D.QN: ("请求编码不是时间", "QN is no time"),
    D.QN_REUSE: ("同一 QN 有两个不同的数值", "two frames of one QN contradict each other"),
    D.MN: ("MN 缺失，或不属于该发送方", "MN is missing, or not that of the sender"),
    D.AUTH: ("密码缺失或不对", "the password is missing, or wrong"),
    D.FIELD: ("字段不合 HJ 212", "a field that HJ 212 does not have"),
    D.NUMBER: ("不是十进制数", "no decimal number"),
    D.DATA_TIME: ("DataTime 缺失或不是时间", "DataTime is missing, or no time"),
    D.PACKET: ("分包不全或互相矛盾", "packets are missing, or contradict each other"),
    D.TIMEOUT: ("帧的其余部分未按时到达", "the rest of the frame did not come in time"),
    D.SM4_KEY: ("数据加密而没有可用的密钥", "the data are encrypted, and there is no key that fits"),
    D.UNKNOWN_FACTOR: ("因子编码没有对应的指标", "a factor code that is none of our metrics"),
    D.STORE_REJECTED: ("数据库拒收该读数", "the store refused the reading"),
}

QUARANTINED: Mapping[str, Words] = {
    K.UNREGISTERED: ("设备或指标未登记", "the device or the metric is not registered"),
    K.CLOCK_AHEAD: ("数据时间超前过多（默认 5 分钟）", "its time is too far ahead (5 minutes unless set otherwise)"),
    K.CLOCK_UNSET: ("数据时间在 2000 年以前", "its time is before 2000"),
    K.MISSING: ("发送方报告没有数值", "the sender reports that there is no value"),
    K.SENTINEL: ("数值是该仪器的故障码", "a number by which this sensor says that it has no value"),
    K.UNIT_DOUBT: ("数值只可能是另一种单位", "a value that can only be in another unit than the registered one"),
}

FLAGS: Mapping[str, tuple[Words, Words]] = {
    "range": (
        ("超出物理范围", "outside of what is physically possible"),
        ("请检查仪器和登记的单位。", "Look at the instrument and at the unit that is registered."),
    ),
    "negative": (
        ("不应为负的指标为负", "negative, of a metric that cannot be"),
        ("请检查仪器零点；可用校准记录修正。", "Check the instrument's zero; a calibration fact corrects it."),
    ),
    "unregistered": (("设备或指标未登记", "the device or the metric is not registered"), advice_for("unregistered")),
    "rate": (
        ("变化快于该指标的可能", "changes faster than the metric can"),
        ("请现场核实；可能是干扰或更换部件。", "Look on site: interference, or a part was changed."),
    ),
    "spike": (
        ("孤立的尖峰", "a single peak"),
        ("偶发可忽略；频繁时请检查接线。", "Now and then it is nothing; often, check the wiring."),
    ),
    "stuck": (
        ("长时间不变", "has not changed for long"),
        ("请检查传感器是否卡住或采样中断。", "See whether the sensor is stuck or not fed any more."),
    ),
    "humid": (
        ("高湿影响光散射法", "humidity disturbs light scattering"),
        ("请使用加热采样或以标准方法复核。", "Heat the inlet, or check by the standard's method."),
    ),
    "calibration": (
        ("校准期间，或发送方标记 C", "during a calibration, or the sender's letter C"),
        ("无需处理；校准结束后恢复。", "Nothing; it ends with the calibration."),
    ),
    "maintenance": (
        ("维护期间，或发送方标记 M", "during maintenance, or the sender's letter M"),
        ("无需处理；维护结束后恢复。", "Nothing; it ends with the maintenance."),
    ),
    "manual": (
        ("手工数据，或发送方标记 S", "entered by hand, or the sender's letter S"),
        ("请保留原始记录备查。", "Keep the record that it was taken from."),
    ),
    "invalid": (
        (
            "被人员判为无效，或发送方标记 F、D、B，或 Sparkplug 质量差",
            "declared invalid by a person, or the sender's letters F, D and B, or a bad quality of Sparkplug",
        ),
        ("请检查仪器的故障、停运或通信。", "Look at the instrument: it failed, stopped, or was not reached."),
    ),
    "late": (
        ("到达时已有更新的数据", "came when a newer one was there already"),
        ("无需处理；参与统计判定，不触发即时告警。", "Nothing; verdicts count it, and nobody is paged by it."),
    ),
    "skew": (("设备时钟不对", "the device's clock is wrong"), advice_for("clock_ahead")),
    "conflict": (
        ("同一时刻已有不同的数值；保留先到的", "another value for the same moment was there; the first is kept"),
        ("请检查是否有两个程序使用同一设备名。", "See whether two programs send as the same device."),
    ),
}
"""What each flag means, and what to do."""


def meaning_of(word: str, kind: str = "") -> Words:
    """What a word of a refusal, a quarantine or a flag means, (Chinese, English); both '' for one that is not known.

    Some words are more than one of them: `kind` (`refused`, `quarantined`, `flagged`) says which is meant, and where it
    says nothing a refusal is.
    """
    flags = {name: words for name, (words, _) in FLAGS.items()}
    tables = {"refused": REFUSED, "quarantined": QUARANTINED, "flagged": flags}
    first = tables.get(kind, REFUSED)
    return next((table[word] for table in (first, *tables.values()) if word in table), ("", ""))
