from collections.abc import Iterator

import pytest

from lab.faults import base, injection


@pytest.fixture(scope="session", autouse=True)
def state_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is broken on this machine just now says nothing in a test, neither here nor in a command that is started."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_STATE", str(folder))
        patch.setattr("lab.store.paths.STATE_FOLDER", folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def locks_of_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines that are only played leave no lock where those of real ones are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.store.lock.ENGINE_LOCKS", tmp_path_factory.mktemp("locks"))
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof is looked for once, and not awaited."""
    monkeypatch.setattr(injection, "verification", lambda fault, control, target: base.verification(fault, control, target, 0.0))
