"""What to do about a refusal, by its word, in Chinese and English."""

from __future__ import annotations

_JSON = (
    "请对照报文格式修改设备或采集程序的输出。",
    "Correct what the device or its script sends; the examples show the format.",
)
_VALUE = ("请检查数值字段：只能是普通数字或空值。", "Check the value fields: plain numbers or null only.")
_TIME = (
    "时间请用带时区的 RFC 3339 或整数毫秒，并检查设备时钟。",
    "Give the time in RFC 3339 with an offset or in whole milliseconds, and check the device's clock.",
)
_TOPIC = (
    "主题请写成 mines/矿山/设备/up，标识符只用小写字母、数字和连字符。",
    "Publish on mines/MINE/DEVICE/up; identifiers have lower-case letters, digits and hyphens only.",
)
_SIZE = ("请把数据分成几条较小的消息发送。", "Split the data into several smaller messages.")
_SCOPE = (
    "请在策略文件中把该设备登记在这个网关之下。",
    "Register the device behind this gateway in the policy.",
)
_SENML = ("请对照 RFC 8428 修改 SenML 记录。", "Correct the SenML record; RFC 8428 says how.")
_FRAME = (
    "请检查 HJ 212 报文的包头、长度、校验码和包尾；现场总线或透传模块可能丢字节。",
    "Check header, length, CRC and trailer of the HJ 212 frame; a modem in between may lose bytes.",
)
_HJ_FIELD = (
    "请对照 HJ 212 检查报文的 QN、ST、CN、MN 等字段。",
    "Check QN, ST, CN, MN and the other fields of the frame against HJ 212.",
)
_AUTH = (
    "请核对设备的 MN 和密码与策略文件是否一致。",
    "Make MN and password of the device agree with the policy.",
)
_UNREGISTERED = (
    "请在待登记设备页批准，或在策略文件中登记该设备。",
    "Approve the device on the waiting list, or register it in the policy.",
)
_CODEC = (
    "请在网络服务器启用解码器，或在策略文件中写明负载的解码方式。",
    "Switch the network's decoder on, or describe the payload in the policy.",
)
_GENERAL = (
    "原始报文已保存；改正原因后可以重放。",
    "The raw message is kept; mend the cause, then it can be replayed.",
)

_GROUPS: dict[tuple[str, str], tuple[str, ...]] = {
    _JSON: ("json", "type", "missing_field", "duplicate_key", "empty", "encoding", "depth", "stat",
            "flag", "base64", "field", "metric", "kind", "state"),
    ("区域名请用不超过 64 个可显示的字符。", "Give the zone in at most 64 printable characters."): ("zone",),
    _VALUE: ("not_finite", "range", "number"),
    _TIME: ("ts_format", "ts_range", "ts_zone", "clock_ahead", "clock_unset"),
    _TOPIC: ("topic_shape", "topic_encoding", "topic_empty_level", "topic_too_long", "device_id_charset",
             "channel_charset"),
    _SIZE: ("size", "too_many_fields", "too_many_records"),
    _SCOPE: ("scope",),
    _SENML: ("senml_must_understand", "senml_name", "senml_name_charset", "senml_name_len", "senml_no_value",
             "senml_not_array", "senml_record", "senml_scope", "senml_two_values", "senml_vd", "senml_version"),
    _FRAME: ("crc", "length", "packet", "trailer", "timeout", "frame_short", "header"),
    _HJ_FIELD: ("cn", "qn", "qn_reuse", "cp", "data_time"),
    _AUTH: ("auth", "mn"),
    _UNREGISTERED: ("unregistered", "unknown_address"),
    ("请在策略文件中只让一台设备使用该地址。", "Take the address away from one of the two in the policy."): (
        "ambiguous_address",
    ),
    _CODEC: ("no_codec",),
    ("请改正字段名；由网络或网关给出的字段，请在策略的 codec 中用 fields 映射，或写入 ignore。",
     "Correct the field's name; one that a network or gateway gives is mapped in `fields` of the policy's codec, or "
     "put into its `ignore`."): ("unknown_field",),
    ("请确认网关发送的是 Sparkplug B（Protocol Buffers），并检查传输是否损坏了报文。",
     "Make sure that the gateway sends Sparkplug B (Protocol Buffers), and that nothing on the way damages it."): (
        "protobuf",
    ),
    ("系统没有与之对应的指标。若不需要，请写入策略中该站的 hj212.ignore；原始报文已保存。",
     "There is no metric for it. Where it is not needed, put it into the station's `hj212.ignore` in the policy; the "
     "raw frame is kept."): ("unknown_factor",),
    ("请核对策略文件中的 SM4 密钥与设备是否一致。",
     "Make the SM4 key that the policy names agree with the device's."): ("sm4_key",),
    ("网关引用了未知的别名；等待它重新上线（birth）或请它重发。",
     "The gateway used an alias it never named; let it send its birth again."): ("sparkplug_alias",),
    ("数据库拒收了这个读数；请核对其数值和时间，或处理数据库后重放。",
     "The store refused this reading; look at its value and time, or mend the store and replay."): ("store_rejected",),
    ("请在策略文件中登记设备实际发送的单位。", "Register the unit that the device really sends."): (
        "unit_doubt",
    ),
    ("请发送 SenML 或 greenmine 认识的单位，且与该指标相符。",
     "Send a unit that SenML or greenmine knows, and that the metric can be in."): ("unit",),
    ("请不要用保留（retain）方式发布数据。", "Publish readings without the retain flag."): ("retained_telemetry",),
    ("该账号无权在此主题发布；请使用设备自己的账号和主题。",
     "The account may not publish on this topic; let the device use its own account and topic."): ("denied",),
    ("没有适用于此主题的解码器；请检查主题末尾的格式名。",
     "No decoder reads this topic; check the format that its end names."): ("format_not_supported",),
    ("日志中的记录已损坏；请检查磁盘。", "The journal's record is damaged; check the disk."): ("journal_checksum",),
    ("网络服务器标记为模拟数据；请关闭模拟。",
     "The network marks it as simulated; switch the simulation off."): ("simulated",),
    ("仪器用这个数值表示故障；请检查仪器。",
     "The instrument says by this value that it has failed; look at it."): ("sentinel",),
    ("传感器没有给出数值；请检查接线。", "The sensor gave no value; check its wiring."): ("missing",),
}  # fmt: skip
ADVICE: dict[str, tuple[str, str]] = {word: advice for advice, words in _GROUPS.items() for word in words}
"""(Chinese, English) by the word of a refusal or the reason of a quarantine."""


def advice_for(word: str) -> tuple[str, str]:
    """What to do, (Chinese, English); general words for one that is not in ADVICE."""
    return ADVICE.get(word, _GENERAL)
