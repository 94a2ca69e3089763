"""Mends two things of kafka-python 3.0 that would have a consumer stand still."""

from typing import Any

import kafka
from kafka.coordinator.base import MemberState

MENDED_RELEASES = ("3.0.",)
"""Releases of kafka-python whose coordinator was looked at."""

_NEEDED = (
    *("_join_task", "_lock", "_generation", "_enable_heartbeat", "_on_join_complete_async"),
    *("join_group_async", "need_rejoin", "rejoining", "rejoin_needed", "state", "_subscription"),
)


def keep_joined(client: Any) -> None:
    """Have a consumer's coordinator finish what it began: a join may end while nobody polls.

    kafka-python's `poll` leaves a join under way when its time is over, for the next one to wait
    on. But when the answer comes in between, the next `poll` does not look at it. It begins to join
    anew, which makes the whole group begin anew: with members that are busy between their polls
    that goes on for minutes, in which nobody reads. Or, when it joined because the topic's metadata
    had changed, it takes itself for joined, without partitions and without heartbeats, for ever.
    """
    coordinator: Any = getattr(client, "_coordinator", None)
    fits = all(hasattr(coordinator, name) for name in _NEEDED)
    if not (fits and kafka.__version__.startswith(MENDED_RELEASES)):
        return
    begin, is_needed = coordinator.join_group_async, coordinator.need_rejoin

    def need_rejoin() -> bool:
        joins = coordinator.rejoining and coordinator._subscription.partitions_auto_assigned()
        return bool(is_needed() or joins)

    async def join_group_async(timeout_ms: float | None = None) -> Any:
        task, generation = coordinator._join_task, coordinator._generation
        answered = task is not None and task.is_done and task.succeeded()
        if answered and coordinator.rejoining and not generation.is_lost():
            # What `join_group_async` itself does when the answer comes while it waits.
            coordinator._join_task = None
            with coordinator._lock:
                coordinator.rejoining = False
                coordinator.rejoin_needed = False
                coordinator.state = MemberState.STABLE
                coordinator._enable_heartbeat()
            await coordinator._on_join_complete_async(
                generation.generation_id, generation.member_id, generation.protocol, task.value
            )
        return await begin(timeout_ms=timeout_ms)

    coordinator.need_rejoin = need_rejoin
    coordinator.join_group_async = join_group_async


def free_resumed(client: Any) -> None:
    """Let the fetcher go on with what it parked of partitions that were paused and resumed.

    kafka-python takes parked records up again only when its one slot for the records at hand is
    None; but a used-up part stays in that slot, and new empty answers replace it, so a partition
    that was paused with records at hand would stand still for ever.
    """
    fetcher: Any = getattr(client, "_fetcher", None)
    parked = getattr(fetcher, "_paused_partition_records", None)
    if parked and not getattr(fetcher, "_next_partition_records", True):
        fetcher._next_partition_records = None
