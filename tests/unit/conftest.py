from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def locks_of_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines that are only played leave no lock where those of real ones are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.store.lock.ENGINE_LOCKS", tmp_path_factory.mktemp("locks"))
        yield
