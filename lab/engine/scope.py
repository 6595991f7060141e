"""Which containers the lab sees and may touch: its own, or besides them one Compose project that was named. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.model.topology import FOREIGN, is_system
from lab.spec.stages import PROJECT_PREFIX

STAGE_LABEL = "lab.stage"
ROLE_LABEL = "lab.role"
FOREIGN_LABEL = "lab.guest"
"""On the internet box in a foreign network: the project that it visits."""
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
FILES_LABEL = "com.docker.compose.project.config_files"
NUMBER_LABEL = "com.docker.compose.container-number"
ONE_OFF_LABEL = "com.docker.compose.oneoff"

Labels = Mapping[str, str]


def is_ours(labels: Labels | None) -> bool:
    """Whether the lab made what has these labels."""
    return bool(labels) and STAGE_LABEL in (labels or {}) and (labels or {}).get(PROJECT_LABEL, "").startswith(PROJECT_PREFIX)


class Scope:
    """The lab's own boxes, and nothing else."""

    def filters(self, stage: int | None = None) -> list[list[str]]:
        """The labels to ask Docker for, a list for each question, for the boxes of a stage or of all."""
        return [[STAGE_LABEL if stage is None else f"{STAGE_LABEL}={stage}", ROLE_LABEL]]

    def owns(self, labels: Labels | None) -> bool:
        """Whether a box with these labels may be touched."""
        return is_ours(labels)

    def labels(self, labels: Labels) -> dict[str, str]:
        """A container's labels in the lab's words."""
        return dict(labels)


@dataclass(frozen=True)
class ForeignScope(Scope):
    """The boxes of one Compose project that is not the lab's, and the internet box that visits it."""

    project: str
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What each service plays, beside itself."""

    def filters(self, stage: int | None = None) -> list[list[str]]:
        """Its boxes by Compose's label, the visitor by ours; no stage is seen."""
        if stage not in (None, FOREIGN):
            return []
        return [[f"{PROJECT_LABEL}={self.project}"], [f"{FOREIGN_LABEL}={self.project}", ROLE_LABEL]]

    def owns(self, labels: Labels | None) -> bool:
        """Whether it is a box of that project (a one-off command beside it is none), or the visitor."""
        found = labels or {}
        if is_ours(found):
            return found.get(FOREIGN_LABEL) == self.project
        return found.get(PROJECT_LABEL) == self.project and found.get(ONE_OFF_LABEL, "").lower() != "true"

    def labels(self, labels: Labels) -> dict[str, str]:
        """A box of theirs plays its service, and what roles were said; of several alike each has a name of its own."""
        if is_ours(labels):
            return dict(labels)
        service, number = labels.get(SERVICE_LABEL, ""), labels.get(NUMBER_LABEL, "1")
        return {
            **labels,
            STAGE_LABEL: str(FOREIGN),
            # What means something else here (internet, watch) is no role of theirs.
            ROLE_LABEL: " ".join(role for role in (service, *self.roles.get(service, ())) if is_system((role,))),
            SERVICE_LABEL: service if number == "1" else f"{service}#{number}",
        }
