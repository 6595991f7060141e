"""The stage files, as all tests here read them."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
import yaml

from lab.spec.stages import STAGES_FOLDER


def number_of(folder: str) -> int:
    return int(folder.partition("-")[0])


# By folder; the second file of a stage by its path, as in 4-database-replication/compose.automatic.yaml.
FILES = {
    str(file.relative_to(STAGES_FOLDER)).removesuffix("/compose.yaml"): file
    for file in sorted([*STAGES_FOLDER.glob("*/compose.yaml"), *STAGES_FOLDER.glob("*/compose.*.yaml")])
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    folder: yaml.safe_load(file.read_text(encoding="utf-8")) for folder, file in FILES.items()
}
FOLDERS = sorted(DOCUMENTS, key=lambda folder: (number_of(folder), folder))
FIRST = [folder for folder in FOLDERS if "/" not in folder]
SECOND = [folder for folder in FOLDERS if "/" in folder]
SERVICES = [(folder, name) for folder in FOLDERS for name in DOCUMENTS[folder]["services"]]

each_stage = pytest.mark.parametrize("folder", FOLDERS)
each_service = pytest.mark.parametrize(("folder", "name"), SERVICES, ids=[f"{folder}/{name}" for folder, name in SERVICES])


def service(folder: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENTS[folder]["services"][name]
    return found


def own_addresses(folder: str, name: str) -> set[str]:
    """Every fixed address of a box."""
    return {address for _, address, owner in addresses(folder) if owner == name}


def reserved(folder: str) -> set[str]:
    """Addresses that a network gives to no box: one that moves."""
    configs = [config for network in DOCUMENTS[folder]["networks"].values() for config in network["ipam"]["config"]]
    return {address for config in configs for address in config.get("aux_addresses", {}).values()}


def addresses(folder: str) -> list[tuple[str, str, str]]:
    """(network, address, service) of every fixed address."""
    return [
        (network, settings["ipv4_address"], name)
        for name, body in DOCUMENTS[folder]["services"].items()
        for network, settings in body["networks"].items()
        if settings and "ipv4_address" in settings
    ]


def subnets(folder: str) -> dict[str, list[Any]]:
    return {
        name: [ip_network(config["subnet"]) for config in network["ipam"]["config"]]
        for name, network in DOCUMENTS[folder]["networks"].items()
    }
