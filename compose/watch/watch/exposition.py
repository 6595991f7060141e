"""Metrics as Prometheus reads them: https://prometheus.io/docs/instrumenting/exposition_formats/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Sample = tuple[Mapping[str, str], float]


def metric(name: str, samples: Iterable[Sample], help_: str) -> str:
    """A metric with its samples; a counter where its name says so. Empty without any sample."""
    kind = "counter" if name.endswith("_total") else "gauge"
    lines = [f"{name}{_labels(labels)} {value:.10g}\n" for labels, value in samples]
    return "".join([f"# HELP {name} {help_}\n# TYPE {name} {kind}\n", *lines]) if lines else ""


def _labels(labels: Mapping[str, str]) -> str:
    said = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{said}}}" if said else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
