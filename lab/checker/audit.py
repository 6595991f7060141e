"""The verdict on the writes: what was acknowledged against what the databases hold. Pure.

Users are served from one database, the one that accepts writes. What it does not have is lost, whoever else has it. A standby
holds a copy: once it has caught up, a difference is a finding of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from lab.model.history import Arrival, DatabaseAudit
from lab.model.result import WritesAudit

PRIMARY = "primary"
Orders = Mapping[str, int]


def audit_writes(
    writes: Iterable[Arrival],
    final_orders: Mapping[str, Orders | None],
    databases: Mapping[str, DatabaseAudit] | None = None,
) -> WritesAudit:
    """Compare each write's outcome with the final content of the database that users are served from.

    `final_orders` has the count of each key for each database, None for one that could not be read; `databases` says what each
    was then. While a database could not be read, or it is not known which one users are served from, nothing is called lost.
    In journals from before that was noted a key counts as often as in the database that has it most often.
    """
    outcome = {write.key: write.effect for write in writes}
    served_by = _served_by(final_orders, databases or {})
    why = _why_incomplete(final_orders, databases or {}, served_by)
    primary = final_orders.get(served_by) if served_by else None
    final = _counted([primary] if primary is not None else list(final_orders.values()))
    lost = tuple(key for key, said in outcome.items() if said == "ok" and not final[key]) if not why else ()
    caught_up = {name for name, each in (databases or {}).items() if each.caught_up} if primary is not None and not why else set()
    standbys = [name for name in final_orders if databases and name != served_by]
    return WritesAudit(
        attempted=len(outcome),
        acknowledged=sum(said == "ok" for said in outcome.values()),
        lost=len(lost),
        unexpected=sum(1 for key, count in final.items() if count and outcome.get(key, "fail") == "fail"),
        duplicate=sum(count > 1 for count in final.values()),
        indeterminate_committed=sum(said == "info" and final[key] > 0 for key, said in outcome.items()),
        lost_keys=lost,
        complete=not why,
        why_incomplete=why,
        served_by=served_by,
        differing={name: _differing(final, final_orders[name] or {}) for name in standbys if name in caught_up},
        not_compared=tuple(name for name in standbys if name not in caught_up),
    )


def _served_by(final_orders: Mapping[str, Orders | None], databases: Mapping[str, DatabaseAudit]) -> str:
    """The database that users are served from: the only one, or the one that accepts writes; empty where that is none, or several."""
    if len(final_orders) == 1:
        return next(iter(final_orders))
    primaries = [name for name, each in databases.items() if each.role == PRIMARY and name in final_orders]
    return primaries[0] if len(primaries) == 1 else ""


def _why_incomplete(final_orders: Mapping[str, Orders | None], databases: Mapping[str, DatabaseAudit], served_by: str) -> str:
    """Why it can't be said what was lost; empty where it can."""
    unread = [name for name, orders in final_orders.items() if orders is None]
    if not final_orders:
        return "no database was read"
    if unread:
        return f"{' and '.join(unread)} could not be read"
    if databases and not served_by:
        primaries = [name for name, each in databases.items() if each.role == PRIMARY]
        return f"{' and '.join(primaries)} all accepted writes" if primaries else "no database accepted writes"
    return ""


def _counted(contents: Iterable[Orders | None]) -> Counter[str]:
    """How often each key was executed: as often as in the database that has it most often."""
    final: Counter[str] = Counter()
    for orders in contents:
        for key, count in (orders or {}).items():
            final[key] = max(final[key], count)
    return final


def _differing(final: Mapping[str, int], orders: Orders) -> int:
    """How many keys a copy has more often, or less often."""
    return sum(final.get(key, 0) != orders.get(key, 0) for key in {*final, *orders})
