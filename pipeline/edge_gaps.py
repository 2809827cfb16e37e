"""Gaps in the numbers of Sparkplug edge nodes: one sequence a node, over all that is behind it.

The numbers (0 to 255, then 0 again) begin anew with each birth of the node, which so is the boot. A rebirth, which the
session asks for, says what is true now and brings nothing back; what a node kept meanwhile comes as historical values
under new numbers. Such values fill a gap by their source times; a node that keeps nothing leaves it open until it
expires.
"""

from __future__ import annotations

from greenmine.core.gap import Stream
from greenmine.ingest.decode_sparkplug import SparkplugMessage
from greenmine.ingest.record import Batch
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.gaps import Gaps
from greenmine.pipeline.sparkplug_session import SEQ_VALUES, EdgeNode
from greenmine.pipeline.state import JudgeState

EDGE_STREAM = "edge:"


class EdgeGaps:
    """Shows the messages of edge nodes to the gaps."""

    def __init__(self, state: JudgeState, gaps: Gaps) -> None:
        self._state = state
        self._gaps = gaps
        self._generation = -1
        self._streams: dict[str, Stream | None] = {}

    def follow(self, before: EdgeNode, after: EdgeNode, message: SparkplugMessage, batch: Batch, fx: Effects) -> None:
        """A live message that moved its node's session from `before` to `after`."""
        stream = self._stream(after.node)
        birth = after.births.get("")
        if stream is None or message.seq is None or birth is None:
            return
        time_ns = batch.received_ns if message.time_ns is None else message.time_ns
        self._gaps.observe(stream, message.seq, str(birth.record_id), time_ns, batch.clock_ns, fx, SEQ_VALUES)
        if message.historical and message.seq != before.seq:  # one that comes twice brings nothing new
            self._gaps.came_unnumbered(stream, sorted(message.historical), batch.clock_ns, fx)

    def _stream(self, node: str) -> Stream | None:
        """Under the node itself where it is a device of ours, else under the first device behind it."""
        if self._generation != self._state.generation:
            self._generation = self._state.generation
            self._streams.clear()
        if node not in self._streams:
            registry = self._state.registry
            owner = registry.addresses.get(("edge", node)) or min(registry.behind(node), default=None)
            self._streams[node] = None if owner is None else Stream(*owner, f"{EDGE_STREAM}{node}")
        return self._streams[node]
