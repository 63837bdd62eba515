"""How many trials of a sweep a site holds at a time, and what each of them has."""

from dataclasses import replace

from kinoray.errors import ResourceError
from kinoray.site import Allocation, Capacity, Site, allocate

MIN_DECODE_CPUS_BESIDE_OTHERS = 1.0
"""Of each worker, before one more trial is let in."""


def share_out(
    site: Site, capacity: Capacity, *, wanted: int | None, num_trials: int, set_by: str = ""
) -> tuple[int, Allocation]:
    """Trials at a time, and the share of each; ``site.workers`` is meant for each trial, and is one if left out.

    Args:
        site: where.
        capacity: of the whole site.
        wanted: trials at a time; None: as many as fit.
        num_trials: more than these are never needed.
        set_by: who set ``wanted``, ends the message.

    Raises:
        ResourceError: the site does not hold so many, or not even one.
    """
    most = _share(site, capacity, 1)
    num_fitting = 1
    while num_fitting < (wanted or num_trials):
        try:
            next_one = _share(site, capacity, num_fitting + 1)
        except ResourceError:
            break
        if site.decode_cpus is None and next_one.decode_cpus_per_worker < MIN_DECODE_CPUS_BESIDE_OTHERS:
            break
        num_fitting, most = num_fitting + 1, next_one
    if wanted is not None and wanted > num_fitting:
        gpus = f" and {capacity.gpus:g} GPUs" if capacity.gpus else ""
        raise ResourceError(
            f"concurrency, got {wanted}; the site's {capacity.cpus:g} CPUs{gpus} hold {num_fitting} at a time "
            f"({most.describe()} each); lower it, site.workers or site.cpus_per_worker, or leave it out{set_by}"
        )
    return num_fitting, most


def _share(site: Site, capacity: Capacity, num_trials: int) -> Allocation:
    """Of each of so many trials."""
    workers = site.workers or 1
    together = allocate(site.model_copy(update={"workers": num_trials * workers, "min_workers": None}), capacity)
    is_derived = site.cpus_per_worker is None and not together.gpus_per_worker
    if num_trials > 1 and is_derived and together.cpus_per_worker < 1:
        raise ResourceError("less than a CPU for each worker")
    return replace(together, num_workers=workers, decode_cpus=together.decode_cpus / num_trials)
