"""One private Ray for all tests of this folder."""

from collections.abc import Iterator

import pytest

from kinoray.cluster.session import session
from kinoray.site import Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two workers that take turns on the CPUs of a small machine."""
    storage = tmp_path_factory.mktemp("runs")
    return Site(workers=2, cpus_per_worker=0.5, decode_cpus=1, local_cpus=2, storage=str(storage))


@pytest.fixture(scope="session", autouse=True)
def running_ray(site: Site) -> Iterator[None]:
    """Connected for the whole session."""
    with session(site):
        yield
