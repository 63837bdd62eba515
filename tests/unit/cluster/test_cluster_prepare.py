"""What a preparation makes of what Ray says, without Ray."""

from types import SimpleNamespace

import pytest
from ray.exceptions import RuntimeEnvSetupError, TaskUnschedulableError, WorkerCrashedError

from kinoray.cluster import prepare as module
from kinoray.data.prepare import FACTS_SCHEMA
from kinoray.errors import ResourceError

FACTS = {**dict.fromkeys(FACTS_SCHEMA.names), "source_path": "/v/0.mp4"}


@pytest.fixture
def ray_raising(monkeypatch):
    """Ray as this module uses it, with an error in place of every result."""

    def give(error):
        def fail(ref):
            raise error

        remote = SimpleNamespace(remote=lambda task: object())
        fake = SimpleNamespace(
            remote=lambda **_: lambda work: remote, wait=lambda refs, num_returns: (refs, []), get=fail
        )
        monkeypatch.setattr(module, "ray", fake)
        return module._done([[FACTS]], list, 1)

    return give


@pytest.mark.parametrize("error", [RuntimeEnvSetupError("no such\npackage"), TaskUnschedulableError("no such package")])
def test_a_cluster_that_cannot_start_a_task_is_no_bad_video(ray_raising, error):
    with pytest.raises(ResourceError, match=r"a task of 1 videos cannot be started: .*no such package"):
        list(ray_raising(error))


def test_a_process_that_died_is_one(ray_raising):
    ((row,),) = ray_raising(WorkerCrashedError())
    assert row["error_reason"] == "crashed"
