"""The verdict on the writes: what was acknowledged against what the databases hold. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from lab.model import Arrival, WritesAudit


def audit_writes(writes: Iterable[Arrival], final_orders: Mapping[str, Mapping[str, int] | None]) -> WritesAudit:
    """Compare each write's outcome with the final content of every database.

    `final_orders` has the count of each key for each database, None for one that could not be read. A key
    counts as executed as often as in the database that has it most often: replicas hold copies, not
    executions. While a database could not be read nothing is called lost that it may hold.
    """
    outcome = {write.key: write.outcome for write in writes}
    final: Counter[str] = Counter()
    for orders in final_orders.values():
        for key, count in (orders or {}).items():
            final[key] = max(final[key], count)
    complete = bool(final_orders) and all(orders is not None for orders in final_orders.values())
    lost = tuple(key for key, said in outcome.items() if said == "ok" and not final[key]) if complete else ()
    return WritesAudit(
        attempted=len(outcome),
        acknowledged=sum(said == "ok" for said in outcome.values()),
        lost=len(lost),
        unexpected=sum(1 for key, count in final.items() if count and outcome.get(key, "fail") == "fail"),
        duplicate=sum(count > 1 for count in final.values()),
        recovered=sum(said == "info" and final[key] > 0 for key, said in outcome.items()),
        lost_keys=lost,
        complete=complete,
    )
