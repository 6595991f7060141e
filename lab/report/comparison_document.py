"""A comparison, or a search for single points of failure, as one JSON document; docs/comparing.md describes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lab.analysis import compare
from lab.analysis.budget import Finding
from lab.analysis.compare import RegressionCheck
from lab.analysis.conclusion import Conclusion
from lab.analysis.reliability import Observation, Prediction
from lab.analysis.spof import Sweep
from lab.model.result import MONTH_S
from lab.report import gate_words

SCHEMA_VERSION = 2
MODEL_NOTE = "a model with assumed rates (lab/assumptions.yaml), not a measurement"


def as_document(found: Conclusion) -> dict[str, Any]:
    """All of it as JSON-ready data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": found.kind,
        "verdict": found.verdict.value,
        "why": gate_words.why(found),
        "matrix": found.matrix.to_document(),
        "differences": [asdict(each) for each in found.differences],
        "allowed_incidents": {
            "objectives": list(compare.OBJECTIVES),
            "month_s": MONTH_S,
            "cells": [asdict(each) for each in found.allowed_incidents],
        },
        "model": {"note": MODEL_NOTE, "stages": [_prediction(each) for each in found.predictions]},
        "budget": None if found.budget is None else [_finding(each) for each in found.budget],
        "baseline": None if found.regressions is None else [_regression(each) for each in found.regressions],
        "spof": None if found.sweep is None else _spof(found.sweep),
        "spent_s": found.spent_s,
    }


def _prediction(found: Prediction) -> dict[str, Any]:
    return {
        **asdict(found),
        "observations": [_observation(each) for each in found.observations],
        "month_min": found.month_min,
    }


def _observation(seen: Observation) -> dict[str, Any]:
    return {
        "column": seen.column,
        "part": seen.part,
        "predicted_s": seen.predicted_s,
        "observed_s": seen.observed_s,
        "censored": seen.censored,
        "disagreement": gate_words.disagreement_text(seen),
    }


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "row": found.row,
        "column": found.column,
        "verdict": found.verdict.value,
        "why": gate_words.budget_why(found),
    }


def _regression(found: RegressionCheck) -> dict[str, Any]:
    judged = found.judged
    return {
        "row": found.row,
        "column": found.column,
        "verdict": found.verdict.value,
        "change": judged.change.value,
        "shift": asdict(judged.shift) if judged.shift else None,
        "p_adjusted": judged.p_adjusted,
        "why": gate_words.regression_why(found),
    }


def _spof(found: Sweep) -> dict[str, Any]:
    results = [
        {
            "members": list(each.members),
            "fault": each.fault,
            "fate": each.fate.value,
            "trials": asdict(each.trials),
            "hidden": each.hidden,
            "notified": each.notified.value,
            "column": each.cell.column,
        }
        for each in found.results
    ]
    return {
        "found": list(found.found),
        "declared": list(found.declared),
        "alerts_required": found.alerts_required,
        "not_notified": [each.name for each in found.not_notified],
        "results": results,
    }
