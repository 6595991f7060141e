"""The colours of every picture, in light and in dark: told apart by lightness too, for eyes that do not tell hues apart.

Good is a pale blue, slow an amber, failed a vermilion with two more for its classes (after Okabe and Ito).
"""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#1c2430",
    "soft": "#5a6574",
    "rule": "#d5dae1",
    "good": "#93bfdf",
    "slow": "#e0a100",
    "fail-1": "#c8401b",
    "fail-2": "#6d1b4f",
    "fail-3": "#c279b4",
    "fail-other": "#555b66",
    "fault": "#f6e3dc",
    "healed": "#e3efe7",
    "primary": "#23608f",
    "standby": "#b9d2e4",
    "heat-0": "#e4eff7",
    "heat-1": "#fbe9c6",
    "heat-2": "#f8c78a",
    "heat-3": "#ec8f52",
    "heat-4": "#b93a15",
    "on-heat": "#1c2430",
    "on-heat-4": "#ffffff",
    "held": "#1f6f54",
    "refuted": "#b5341a",
    "inconclusive": "#8a6100",
}
DARK = {
    "paper": "#14181e",
    "panel": "#1d232b",
    "ink": "#e8ecf1",
    "soft": "#a3aebb",
    "rule": "#39424e",
    "good": "#4f86ad",
    "slow": "#edb72c",
    "fail-1": "#f2693f",
    "fail-2": "#d98cc6",
    "fail-3": "#9a4f8c",
    "fail-other": "#aab2bd",
    "fault": "#3a231d",
    "healed": "#1b2f26",
    "primary": "#7fb7e0",
    "standby": "#34556e",
    "heat-0": "#1d3140",
    "heat-1": "#4a3d1f",
    "heat-2": "#7a5119",
    "heat-3": "#b5641f",
    "heat-4": "#f07a4a",
    "on-heat": "#f1f3f6",
    "on-heat-4": "#14181e",
    "held": "#6cc5a1",
    "refuted": "#f58a66",
    "inconclusive": "#edb72c",
}


def variables(colours: dict[str, str]) -> str:
    """Colours as CSS variables."""
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def stylesheet() -> str:
    """Light, dark where the reader's system is, and as the page's own switch says; always light on paper."""
    return (
        f":root{{{variables(LIGHT)}color-scheme:light}}"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{variables(DARK)}color-scheme:dark}}}}"
        f"@media screen{{:root[data-theme=dark]{{{variables(DARK)}color-scheme:dark}}}}"
    )
