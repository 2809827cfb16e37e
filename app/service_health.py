"""How the parts of a running service are: the checks behind /readyz and `doctor`, and the numbers of /metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from greenmine.ingest.disk_room import Room
from greenmine.operations import LAG_MOST_BATCHES, backlog_check, broker_drops_check
from greenmine.web.backend import Check

if TYPE_CHECKING:
    from greenmine.service import Service


Value = tuple[str, str, str, float]
"""Kind, name, help and value of a number of /metrics."""


class ServiceHealth:
    """Looks at a service's parts when it is asked; keeps nothing."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def checks(self) -> list[Check]:
        """What must be right for the service to be ready."""
        service = self._service
        lag = service.journal.last_no - service.pipeline.cursor
        trouble = service.store_writer.trouble
        found = [
            Check(
                "journal",
                service.writer.failed is None and service.writer.full is None,
                str(
                    service.writer.failed
                    or service.writer.full
                    or f"{service.writer.committed_records} records committed 已提交记录"
                ),
                "make room on the disk of the home; it goes on by itself 请清理磁盘，之后自动继续"
                if service.writer.full is not None
                else "look at the disk of the home, then restart the service 请检查磁盘后重启服务",
            ),
            Check(
                "disk",
                service.keeper.room < Room.SHORT and service.keeper.trouble is None,
                str(service.keeper.trouble or service.keeper.words or "not looked at yet 尚未检查"),
                "make room on the disk of the home; without any, nothing is acknowledged to devices "
                "请清理磁盘，否则停止确认设备消息",
            ),
            *self._loss_checks(),
            Check(
                "pipeline",
                service.thread.failed is None and lag < LAG_MOST_BATCHES,
                str(service.thread.failed or f"{lag} batches behind the journal 落后日志批次"),
                "restart the service; if it repeats, keep the home and report it "
                "请重启服务；若重复出现，请保留数据目录并反馈",
            ),
            backlog_check(service.pipeline.aside),
            Check(
                "store",
                trouble is None,
                str(trouble or f"{service.settings.store.kind} takes readings 写入正常"),
                "readings wait in the outbox and nothing is lost; bring the store back, alarms go on meanwhile "
                "数据在待写队列中不会丢失，请恢复数据库，告警照常",
            ),
            Check(
                "policies",
                bool(service.policies),
                f"{len(service.policies)} mines 座矿山",
                "name policy files in the settings 请在设置中填写策略文件",
            ),
        ]
        return [*found, *self._mqtt_checks(), *service.hj212.checks(), *service.relay.checks()]

    def _loss_checks(self) -> Iterable[Check]:
        service = self._service
        lost = service.reader.lost()
        if lost:
            batches = sum(last - first + 1 for first, last in lost)
            yield Check(
                "journal losses",
                True,
                f"{batches} batches are gone, newest {lost[-1][0]} to {lost[-1][1]} 批次缺失",
                "see `greenmine journal status`; restore the damaged file from a backup if there is one "
                "如有备份请恢复受损文件",
            )

    def _mqtt_checks(self) -> Iterable[Check]:
        service = self._service
        if service.broker is not None:
            detail = f"embedded on {service.broker.where}, {service.broker.connections} clients 个客户端"
            yield Check("mqtt", True, detail, "")
        if service.subscriber is not None:
            detail = service.subscriber.refusal or f"connected to {service.settings.mqtt.url} 已连接"
            advice = (
                "look at mqtt.url, the account's password file and the broker's log "
                "请检查 mqtt.url、密码文件和消息服务器日志"
            )
            yield Check("mqtt", service.subscriber.connected, detail, advice)
            if dropped := service.subscriber.dropped_by_broker:
                yield broker_drops_check(dropped)

    def values(self) -> Iterable[Value]:
        """Kind, name, help and value of each number."""
        yield from self._of_journal()
        yield from self._of_judging()
        yield from self._of_mqtt()
        yield from self._service.hj212.values()
        yield from self._service.relay.values()

    def _of_journal(self) -> Iterable[Value]:
        journal, writer, keeper = self._service.journal, self._service.writer, self._service.keeper
        lost = sum(last - first + 1 for first, last in self._service.reader.lost())
        room = "0 enough, 1 warn, 2 short, 3 none: nothing acknowledged."
        yield "counter", "greenmine_journal_records", "Records committed since start.", writer.committed_records
        yield "gauge", "greenmine_journal_bytes", "Size of the journal's file.", journal.size_bytes()
        yield "gauge", "greenmine_journal_lost_batches", "Batches that are known to be gone.", lost
        yield "gauge", "greenmine_journal_backlog", "Records waiting for a commit.", writer.backlog
        yield "gauge", "greenmine_archive_segments", "Segments in the archive.", len(keeper.segments)
        yield "gauge", "greenmine_disk_room", room, keeper.room

    def _of_judging(self) -> Iterable[Value]:
        service, pipeline = self._service, self._service.pipeline
        judged, told, sender = pipeline.judge.state, service.deliverer, service.downlink_sender
        lag, aside = service.journal.last_no - pipeline.cursor, pipeline.aside
        waiting, since_s = sum(one.records for one in aside), aside[0].since_ns / 1e9 if aside else 0.0
        open_gaps = sum(len(judged.sequences[one].missing) for one in list(judged.gapped))
        yield "gauge", "greenmine_pipeline_lag_batches", "Journal batches not judged yet.", lag
        yield "gauge", "greenmine_backlog_records", "Records set aside, judged beside live.", waiting
        yield "gauge", "greenmine_backlog_since_seconds", "Judged up to this time before them; 0: none.", since_s
        written = service.store_writer.written
        yield "counter", "greenmine_store_written", "Readings the store confirmed since start.", written
        yield "counter", "greenmine_notices_delivered", "Notices delivered since start.", told.delivered
        yield "counter", "greenmine_notices_refused", "Notices refused for good since start.", told.refused
        yield "counter", "greenmine_notices_retried", "Attempts that will be repeated.", told.retried
        yield "gauge", "greenmine_notices_waiting", "Notices not delivered yet.", len(judged.notices)
        yield "gauge", "greenmine_gaps_suspected", "Gaps suspected or found, and not closed.", open_gaps
        yield "counter", "greenmine_downlinks_sent", "Messages to devices that left since start.", sender.sent
        yield "counter", "greenmine_downlinks_failed", "Attempts that nobody took since start.", sender.failed
        yield "gauge", "greenmine_downlinks_waiting", "Messages to devices not sent yet.", len(judged.downlinks)

    def _of_mqtt(self) -> Iterable[Value]:
        broker, link = self._service.broker, self._service.subscriber
        if broker is not None:
            yield "gauge", "greenmine_mqtt_clients", "Clients of the embedded broker.", broker.connections
            yield "counter", "greenmine_mqtt_denied", "Publishes without a grant since start.", broker.denied
        if link is not None:
            missing = link.canaries_missing
            yield "counter", "greenmine_mqtt_canaries", "Own messages that came back.", link.canaries_back
            yield "counter", "greenmine_mqtt_canaries_missing", "Own messages that did not come back.", missing
            dropped = link.dropped_by_broker
            yield "gauge", "greenmine_mqtt_broker_dropped", "Dropped by the broker since it started.", dropped
            yield "gauge", "greenmine_mqtt_up", "Whether the external broker is connected.", link.connected
