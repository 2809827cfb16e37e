"""What the pages say, in Chinese and English, by key. `text(language, key, ...)` fills in names in braces."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    # product and frame
    "product": ("绿色矿山环境监测", "Greenmine environmental monitoring"),
    "product.short": ("绿色矿山", "Greenmine"),
    "nav.overview": ("总览", "Overview"),
    "nav.alerts": ("告警", "Alerts"),
    "nav.password": ("修改密码", "Change password"),
    "nav.log_out": ("退出登录", "Log out"),
    "nav.language": ("English", "中文"),
    "nav.main": ("主导航", "Main"),
    "nav.mine": ("本矿页面", "Pages of this mine"),
    "nav.device": ("本设备页面", "Pages of this device"),
    "nav.skip": ("跳到正文", "Skip to content"),
    "role.admin": ("管理员", "admin"),
    "role.operator": ("值班员", "operator"),
    "role.viewer": ("只读用户", "viewer"),
    "live.connecting": ("正在连接…", "Connecting…"),
    "live.on": ("实时", "Live"),
    "live.lost": ("连接中断，{time} 之后的数值可能已过时", "Connection lost; values may be old since {time}"),
    "live.ended": ("登录已失效，页面不再更新。", "Your session has ended; this page no longer updates."),
    "live.log_in": ("重新登录", "Log in again"),
    "live.off": (
        "浏览器未启用 JavaScript，页面不会自动更新，请手动刷新。",
        "JavaScript is off: this page does not update by itself; reload it.",
    ),
    "live.failed": ("没有送达服务器，请重试。", "The server could not be reached; try again."),
    "zone": ("时间均为 {zone}", "Times are in {zone}"),
    # login
    "login.title": ("登录", "Log in"),
    "login.name": ("用户名", "Name"),
    "login.password": ("密码", "Password"),
    "login.submit": ("登录", "Log in"),
    "login.refused": ("用户名或密码不正确。", "The name or the password is wrong."),
    "login.locked": (
        "登录失败次数过多，账号已暂时锁定，请稍后再试。",
        "Too many failed logins. The account is locked for a while; try again later.",
    ),
    "login.logged_out": ("您已退出登录。", "You are logged out."),
    "password.title": ("修改密码", "Change password"),
    "password.must": ("首次登录或密码被重置后，请先设置新密码。", "Set a new password before you go on."),
    "password.old": ("当前密码", "Present password"),
    "password.new": ("新密码", "New password"),
    "password.again": ("再次输入新密码", "New password again"),
    "password.submit": ("保存新密码", "Save the new password"),
    "password.differ": ("两次输入的新密码不一致。", "The two new passwords differ."),
    "password.wrong": ("当前密码不正确。", "The present password is wrong."),
    "password.weak": (
        "新密码太弱：请用更长、不常见的密码。",
        "The new password is too weak: use a longer, less common one.",
    ),
    "password.hint": ("10 到 200 个字符；不要使用常见密码。", "10 to 200 characters, and not a common one."),
    "said.password": ("密码已修改。", "Your password is changed."),
    # board
    "board.title": ("矿山总览", "Mines at a glance"),
    "board.mines": ("矿山", "Mines"),
    "board.sensors": ("监测点", "Stations"),
    "board.no_policy": ("还没有矿山", "No mine yet"),
    "board.no_policy_help": (
        "为矿山写一份策略文件并启用后，这里就会显示它的监测点、当前数值和告警。",
        "Write a policy for a mine and activate it; its stations, values and alerts then appear here.",
    ),
    "board.no_policy_step": ("先检查策略文件：", "Check the policy first:"),
    "board.quiet": ("没有未结束的告警", "No open alerts"),
    "board.quiet_help": (
        "所有已监测的指标都在限值以内，或尚未触发告警。",
        "Everything that is watched is within its limits or has not raised an alert.",
    ),
    "board.blind": ("没有未结束的告警，但有数据缺口", "No open alerts, but not all is known"),
    "board.blind_help": (
        "{n} 个监测点没有可用的最新数据，无法判断是否超限。",
        "{n} stations give no usable data now; whether they are within their limits is not known.",
    ),
    "board.more_alerts": ("查看全部 {n} 条告警", "See all {n} alerts"),
    "board.nearest": ("最接近限值", "Nearest to a limit"),
    "map.title": ("测点分布示意图", "Station map"),
    "map.mines": ("矿山分布", "Where the mines are"),
    "map.schematic": ("示意图，位置经过避让调整", "Schematic; symbols are moved apart"),
    "map.unplaced": ("未填写坐标", "No position given"),
    "map.none": ("这座矿山还没有登记设备。", "No device of this mine is registered yet."),
    "map.north": ("北", "N"),
    "map.legend": ("图例", "Legend"),
    # values
    "values.title": ("当前数值", "Values now"),
    "values.station": ("监测点", "Station"),
    "values.metric": ("指标", "Metric"),
    "values.value": ("数值", "Value"),
    "values.limits": ("限值", "Limits"),
    "values.state": ("状态", "State"),
    "values.age": ("测量时间", "Measured"),
    "values.quality": ("数据质量", "Quality"),
    "values.never": ("从未收到数据", "never received"),
    "values.no_limit": ("未设限值", "no limit"),
    "values.good": ("正常", "good"),
    "values.none": ("没有登记任何监测指标。", "No metric is registered here."),
    "age.s": ("{n} 秒前", "{n} s ago"),
    "age.m": ("{n} 分钟前", "{n} min ago"),
    "age.h": ("{n} 小时前", "{n} h ago"),
    "age.d": ("{n} 天前", "{n} d ago"),
    # charts
    "chart.title": ("变化曲线", "Course"),
    "chart.trends": ("近 6 小时变化", "The last 6 hours"),
    "chart.range": ("时间范围", "Range"),
    "chart.1h": ("1 小时", "1 h"),
    "chart.6h": ("6 小时", "6 h"),
    "chart.24h": ("24 小时", "24 h"),
    "chart.7d": ("7 天", "7 d"),
    "chart.30d": ("30 天", "30 d"),
    "chart.from": ("从", "From"),
    "chart.to": ("到", "To"),
    "chart.show": ("显示", "Show"),
    "chart.loading": ("正在读取数据…", "Reading…"),
    "chart.empty": ("这段时间没有数据", "No data in this range"),
    "chart.failed": ("曲线数据读取失败，稍后会自动重试。", "The chart could not be read; it will be tried again."),
    "chart.flagged": ("带质量标记", "flagged"),
    "chart.thinned": (
        "共 {n} 个读数，按像素显示最小值和最大值",
        "{n} readings, least and greatest of each pixel shown",
    ),
    "chart.readings": ("共 {n} 个读数", "{n} readings"),
    "chart.gaps": (
        "超过 3 个上报周期没有数据处断开。",
        "The line breaks where nothing came for more than 3 intervals.",
    ),
    "chart.script": (
        "查看曲线需要启用 JavaScript；当前数值见下表。",
        "Charts need JavaScript; the newest values are in the table.",
    ),
    "chart.json": ("下载读数 (CSV)", "Download readings (CSV)"),
    # device
    "device.kind": ("类型", "Kind"),
    "device.position": ("坐标", "Position"),
    "device.principle": ("测量原理", "Principle"),
    "device.gateway": ("网关", "Gateway"),
    "device.no_sensors": (
        "该设备没有传感器（例如网关）。",
        "This device has no sensors of its own (a gateway, for instance).",
    ),
    "device.alerts": ("该监测点的告警", "Alerts of this station"),
    # alerts
    "alerts.title": ("告警", "Alerts"),
    "alerts.open": ("未结束的告警", "Open alerts"),
    "alerts.recent": ("最近解除", "Recently cleared"),
    "alerts.all": ("全部", "All"),
    "alerts.open_only": ("未结束", "Open"),
    "alerts.filter": ("筛选", "Filter"),
    "alerts.every_mine": ("所有矿山", "All mines"),
    "alerts.none": ("没有告警", "No alerts"),
    "alerts.none_help": ("符合所选条件的告警会显示在这里。", "Alerts that fit the filter appear here."),
    "alerts.none_recent": ("最近没有解除的告警。", "Nothing has cleared lately."),
    "alerts.capped": ("仅显示最新的 {n} 条。", "Only the newest {n} are shown."),
    "alert.raised": ("触发", "Raised"),
    "alert.cleared": ("解除", "Cleared"),
    "alert.value": ("触发值", "Value"),
    "alert.last_value": ("最新判定值", "Newest judged"),
    "alert.limit": ("限值", "Limit"),
    "alert.mine": ("矿山", "Mine"),
    "alert.handling": ("处置", "Handling"),
    "alert.advice": ("处置建议", "What to do"),
    "alert.history": ("经过", "History"),
    "alert.id": ("编号", "Id"),
    "alert.acknowledged_by": ("{who} 于 {time} 确认", "Acknowledged by {who} at {time}"),
    "alert.unanswered": ("尚无人确认", "Nobody has acknowledged this yet"),
    "alert.lasting": ("已持续 {span}", "for {span}"),
    "alert.lasted": ("持续 {span}", "lasted {span}"),
    "act.acknowledge": ("确认告警", "Acknowledge"),
    "act.note": ("添加备注", "Add a note"),
    "act.resolve": ("处置完毕，结束告警", "Resolve and close"),
    "act.note_label": ("备注（可不填）", "Note (optional)"),
    "act.resolve_label": ("处置结果", "What was done"),
    "act.resolve_later": (
        "告警解除后，填写处置结果即可结束。",
        "Once its condition has cleared, write what was done to close it.",
    ),
    "act.note_needed": ("请先填写备注。", "Write the note first."),
    "act.viewer": ("您的账号只能查看。", "Your account may look but not act."),
    "act.sending": ("正在提交…", "Sending…"),
    "said.acknowledge": ("已确认。", "Acknowledged."),
    "said.note": ("备注已记录。", "The note is recorded."),
    "said.resolve": ("告警已结束。", "The alert is closed."),
    # commissioning
    "commissioning.title": ("安装调试", "Commissioning"),
    "commissioning.help": (
        "设备每发来一条消息，这里立即更新：原始报文、解码结果和需要检查的地方。",
        "Follows every message as it comes: raw, decoded, and what to look at.",
    ),
    "commissioning.troubled": ("{n} 台需要检查", "{n} to look at"),
    "commissioning.silent": ("{n} 台从未收到", "{n} never heard"),
    "commissioning.fine": ("没有发现问题", "Nothing looks wrong"),
    "commissioning.nothing": (
        "还没有收到消息。设备发来第一条消息后会显示在这里。",
        "No message yet. The first one will appear here.",
    ),
    "commissioning.gateway": ("经网关 {gateway} 发送", "speaks through gateway {gateway}"),
    "commissioning.stranger": ("未登记", "not registered"),
    "commissioning.messages": ("消息", "Messages"),
    "commissioning.last": ("最近一条", "Last"),
    "commissioning.clock": ("时钟差", "Clock difference"),
    "commissioning.behind": ("接收晚 {n} 秒", "received {n} s later"),
    "commissioning.ahead": ("设备快 {n} 秒", "device {n} s ahead"),
    "commissioning.signal": ("信号", "Signal"),
    "commissioning.battery": ("电池", "Battery"),
    "commissioning.refused": ("拒收", "Refused"),
    "commissioning.raw": ("原始报文", "Raw message"),
    "commissioning.registered": ("登记单位", "Registered unit"),
    "commissioning.probable": ("像是 {unit}", "looks like {unit}"),
    "commissioning.interval": ("上报周期", "Interval"),
    "commissioning.interval_of": ("{seen} 秒 / 登记 {registered} 秒", "{seen} s / {registered} s registered"),
    "commissioning.interval_registered": ("登记 {registered} 秒", "{registered} s registered"),
    "commissioning.waits": ("在待登记列表中，查看登记建议", "on the waiting list: see how to register it"),
    "commissioning.raw_next": (
        "以上是最近一次的数值；下一条消息到达后这里显示原始报文。",
        "These are its newest values; the next message is shown here raw.",
    ),
    # data
    "data.title": ("数据完整性", "Data account"),
    "data.help": (
        "近 24 小时每台设备应到与实到的读数。应到按策略登记的上报周期计算。",
        "What each device should have sent in the last 24 hours, by its registered interval, and what came.",
    ),
    "data.hours": ("逐台、逐小时", "By device and hour"),
    "data.device": ("设备", "Device"),
    "data.unknown_device": ("未登记的发送方", "senders not registered"),
    "data.strip": ("近 24 小时", "The last 24 hours"),
    "data.hour": ("小时", "Hour"),
    "data.complete": ("到达率", "Came"),
    "data.expected": ("应到", "Expected"),
    "data.received": ("收到", "Received"),
    "data.stored": ("已入库", "Stored"),
    "data.pending": ("待入库", "Pending"),
    "data.quarantined": ("隔离", "Quarantined"),
    "data.duplicate": ("重复", "Duplicate"),
    "data.conflict": ("冲突", "Conflict"),
    "data.dead": ("拒收", "Dead"),
    "data.missing": ("缺失", "Missing"),
    "data.sum": (
        "收到 = 已入库 + 待入库 + 隔离 + 重复 + 冲突 + 拒收，逐条相等。",
        "Received = stored + pending + quarantined + duplicate + conflict + dead, to the reading.",
    ),
    "data.cell": ("{hour} 应到 {expected}，缺失 {missing}", "{hour}: {expected} expected, {missing} missing"),
    "data.cell_none": ("{hour} 无应到读数", "{hour}: nothing expected"),
    "data.none": ("这段时间没有应到的读数，也没有收到读数。", "Nothing was expected and nothing came."),
    "data.gaps": ("编号缺口", "Gaps in numbering"),
    "data.gaps_none": ("没有发现缺口。", "No gap was found."),
    "data.gap_between": ("{first} 至 {last}", "{first} to {last}"),
    "data.gap_numbers": ("编号", "Numbers"),
    "data.gap_times": ("数据时间", "Source time"),
    "data.gap_missing": ("仍缺", "Still missing"),
    "data.gap_asked": ("已请求补传", "Asked for"),
    "data.gap_state": ("状态", "State"),
    "data.times": ("{n} 次", "{n} times"),
    "data.letters": ("拒收的报文（死信）", "Dead letters"),
    "data.letters_none": ("没有拒收的报文。", "Nothing was refused."),
    "data.letters_more": ("仅统计最新的 {n} 条。", "Only the newest {n} are counted."),
    "data.odd": ("隔离与标记的读数", "Readings kept apart or flagged"),
    "data.odd_none": ("没有被隔离或带标记的读数。", "No reading was kept apart or flagged."),
    "data.odd_word": ("原因", "Reason"),
    "data.odd_count": ("读数", "Readings"),
    "data.odd_meaning": ("含义与处理", "What it means, and what to do"),
    "data.odd_quarantined": ("隔离", "kept apart"),
    "data.odd_flagged": ("标记", "flagged"),
    "data.of_nobody": ("发送方未登记", "sender not registered"),
    "data.newest": ("最近一条：", "Newest:"),
    "data.replay": ("按现行规则重放", "Read again by today's rules"),
    "data.replay_help": (
        "原因改正后再重放；已入库的读数不会重复计入，也不会触发告警。",
        "Replay once the cause is mended; what is stored already is not counted twice, and no alarm is raised by it.",
    ),
    "data.replayed": (
        "已重放：入库 {stored} 条读数，仍拒收 {still_dead} 条，重新交给数据库 {returned} 条。",
        "Read again: {stored} readings stored, {still_dead} still dead, {returned} given to the store again.",
    ),
    # waiting list
    "waiting.title": ("待登记设备", "Waiting list"),
    "waiting.short": ("待登记", "Waiting"),
    "waiting.help": (
        "这些设备在发送数据，但没有策略登记它们。数据已保存，登记后可以补读。",
        "These devices speak and no policy registers them. What they send is kept and can be read later.",
    ),
    "waiting.count": ("{n} 台等待处理", "{n} waiting"),
    "waiting.none": ("没有待登记设备", "Nobody waits"),
    "waiting.none_help": (
        "未登记的设备发来数据后会出现在这里。",
        "A device that speaks and is not registered appears here.",
    ),
    "waiting.capped": ("仅显示最近有消息的 {n} 台。", "Only the {n} heard last are shown."),
    "waiting.first": ("首次", "First heard"),
    "waiting.last": ("最近", "Last heard"),
    "waiting.messages": ("消息", "Messages"),
    "waiting.mine": ("矿山", "Mine"),
    "waiting.values": ("收到的数值", "What it sent"),
    "waiting.no_values": ("没有可识别的数值。", "No value could be read."),
    "waiting.sample": ("最近一条报文", "Its last message"),
    "waiting.suggestion": ("登记建议（写入策略文件的 devices）", "To register it: under devices of the policy"),
    "waiting.own_topic": (
        "它使用自己的主题：把下面的建议写入本矿策略并启用，就会自动离开列表。",
        "It speaks on a topic of its own: put the suggestion into the mine's policy, and it leaves the list.",
    ),
    "waiting.which": ("它是哪台已登记设备", "Which registered device it is"),
    "waiting.choose": ("请选择…", "Choose…"),
    "waiting.replay": ("同时补读已拒收的数据", "Read what was refused so far as well"),
    "waiting.note": ("说明（可不填）", "Note (optional)"),
    "waiting.approve": ("批准", "Approve"),
    "waiting.reject": ("拒绝，不再列出", "Reject for good"),
    "said.approve": ("已批准。", "Approved."),
    "said.reject": ("已拒绝，不再列出。", "Rejected; it is not listed again."),
    # errors
    "error.id": ("错误编号", "Error id"),
    "error.id_help": ("联系管理员时请提供这个编号。", "Give this id to your administrator."),
    "error.back": ("返回总览", "Back to the overview"),
    "error.404": (
        "链接可能已过期，或该矿山、设备、告警不存在。",
        "The link may be old, or there is no such mine, device or alert.",
    ),
    "error.403": ("如需权限，请联系管理员。", "Ask an administrator if you need this."),
}

STATES: dict[str, tuple[str, str]] = {
    "unwatched": ("无监测项", "not watched"),
    "ok": ("正常", "OK"),
    "suspect": ("数据存疑", "suspect value"),
    "late": ("数据迟到", "late"),
    "no_data": ("无数据", "no data"),
    "pending": ("观察中", "pending"),
    "notice": ("提示", "notice"),
    "warning": ("预警", "warning"),
    "critical": ("严重告警", "critical"),
}
LOOKS: dict[str, tuple[str, str]] = {
    "ok": ("正常", "fine"),
    "suspect": ("需要检查", "look at it"),
    "late": ("有问题", "trouble"),
    "no_data": ("从未收到", "never heard"),
    "unwatched": ("尚无消息", "no message yet"),
}
"""How a device stands in the commissioning view."""
PRINCIPLES: dict[str, tuple[str, str]] = {
    "beta": ("β 射线吸收", "beta attenuation"),
    "light_scattering": ("光散射", "light scattering"),
    "gravimetric": ("重量法", "gravimetric"),
    "capacitance": ("电容法", "capacitance"),
    "fdr": ("频域反射", "frequency domain reflectometry"),
    "electrode": ("电极法", "electrode"),
    "glass_electrode": ("玻璃电极法", "glass electrode"),
    "electromagnetic": ("电磁法", "electromagnetic"),
    "fluorescence": ("荧光法", "fluorescence"),
    "nephelometry": ("散射光浊度法", "nephelometry"),
    "multi_parameter_sonde": ("多参数探头", "multi-parameter sonde"),
    "class_1_meter": ("1 级声级计", "class 1 sound level meter"),
    "sound_level_meter": ("声级计", "sound level meter"),
    "ultrasonic": ("超声波", "ultrasonic"),
    "thermistor": ("热敏电阻", "thermistor"),
    "tipping_bucket": ("翻斗式", "tipping bucket"),
    "electronic": ("电子式", "electronic"),
    "cosmic_ray_neutron": ("宇宙射线中子法", "cosmic-ray neutron"),
    "simulated": ("模拟", "simulated"),
    "unknown": ("未知", "unknown"),
}
"""Principles of measurement that policies name often; another stands there as the policy has it."""

NETWORKS: dict[str, tuple[str, str]] = {
    "mqtt": ("MQTT 主题", "MQTT topic"),
    "dev_eui": ("LoRaWAN DevEUI", "LoRaWAN DevEUI"),
    "mn": ("HJ 212 设备编码 MN", "HJ 212 MN"),
    "edge": ("Sparkplug 边缘节点", "Sparkplug edge node"),
}
SEVERITIES: dict[str, tuple[str, str]] = {
    "notice": ("提示", "Notice"),
    "warning": ("预警", "Warning"),
    "critical": ("严重", "Critical"),
}
KINDS: dict[str, tuple[str, str]] = {
    "dust": ("扬尘", "Dust"),
    "water": ("水质", "Water"),
    "noise": ("噪声", "Noise"),
    "soil": ("土壤", "Soil"),
    "weather": ("气象", "Weather"),
    "": ("网关", "Gateway"),
}


_SPANS = ((86_400, "天", "d"), (3600, "小时", "h"), (60, "分", "min"), (1, "秒", "s"))


def text(language: str, key: str, **names: object) -> str:
    """The words for a key.

    Raises:
        KeyError: an unknown key, or a name in braces is missing.
    """
    words = TEXTS[key][0 if language == "zh" else 1]
    return words.format(**names) if names else words


def pick(table: dict[str, tuple[str, str]], language: str, key: str) -> str:
    """The words for a member of an enumeration; the key itself where the table has none."""
    pair = table.get(key)
    return key if pair is None else pair[0 if language == "zh" else 1]


def span_text(language: str, seconds: float) -> str:
    """A length of time in its largest two units: `2 小时 5 分`, `2 h 5 min`."""
    whole = max(0, int(seconds))
    place = next((i for i, (size, _, _) in enumerate(_SPANS) if whole >= size), len(_SPANS) - 1)
    parts: list[str] = []
    for size, zh, en in _SPANS[place : place + 2]:
        count, whole = divmod(whole, size)
        if count or not parts:
            parts.append(f"{count} {zh if language == 'zh' else en}")
    return " ".join(parts)


def age_parts(seconds: float) -> tuple[str, int]:
    """The key of the words for an age, and its number."""
    whole = max(0, int(seconds))
    for key, size, below in (("age.s", 1, 120), ("age.m", 60, 7200), ("age.h", 3600, 172_800)):
        if whole < below:
            return key, whole // size
    return "age.d", whole // 86_400
