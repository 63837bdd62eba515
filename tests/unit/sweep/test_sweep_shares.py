"""How many trials a site holds at a time."""

import pytest

from kinoray.errors import ResourceError
from kinoray.site import Capacity, Node, Site
from kinoray.sweep.shares import share_out

SMALL = Capacity((Node(2),))
BIG = Capacity((Node(16),))
GPUS = Capacity((Node(16, 4), Node(16, 4)))


@pytest.mark.parametrize(
    ("site", "capacity", "num_trials", "at_a_time", "each"),
    [
        (Site(), SMALL, 9, 1, "1 worker x (1 CPU + 1 decode thread)"),
        (Site(), BIG, 9, 8, "1 worker x (1 CPU + 1 decode thread)"),
        (Site(), BIG, 2, 2, "1 worker x (4 CPUs + 4 decode threads)"),
        (Site(workers=2), BIG, 9, 4, "2 workers x (1 CPU + 1 decode thread)"),
        (Site(), GPUS, 99, 8, "1 worker x (1 GPU + 3 decode threads)"),
        (Site(workers=2), GPUS, 99, 4, "2 workers x (1 GPU + 3 decode threads)"),
        (Site(gpus_per_worker=0.5), GPUS, 99, 16, "1 worker x (0.5 GPU + 1 decode thread)"),
        (Site(cpus_per_worker=0.5, decode_cpus=1), SMALL, 9, 2, "1 worker x (0.5 CPU + 1 decode thread)"),
    ],
)
def test_as_many_as_fit(site, capacity, num_trials, at_a_time, each):
    concurrency, allocation = share_out(site, capacity, wanted=None, num_trials=num_trials)
    assert (concurrency, allocation.describe()) == (at_a_time, each)
    total = allocation.reserved_cpus_per_worker * allocation.num_workers * concurrency
    assert total <= capacity.cpus


def test_fewer_may_be_wanted_and_get_more_each():
    concurrency, allocation = share_out(Site(), BIG, wanted=2, num_trials=9)
    assert (concurrency, allocation.cpus_per_worker) == (2, 4)


def test_more_than_fit_are_refused_with_the_numbers():
    with pytest.raises(ResourceError, match=r"concurrency, got 3; the site's 2 CPUs hold 1 at a time .*\[try.yaml:2\]"):
        share_out(Site(), SMALL, wanted=3, num_trials=9, set_by="  [try.yaml:2]")


def test_a_site_that_holds_none_says_why():
    with pytest.raises(ResourceError, match="2 workers x 1 CPU"):
        share_out(Site(workers=2, cpus_per_worker=1), SMALL, wanted=None, num_trials=9)
