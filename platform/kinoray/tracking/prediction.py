"""A batch prediction in MLflow: a run of its own, continued when the prediction goes on."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kinoray.predict.listing import Listing
from kinoray.predict.request import Request
from kinoray.recognizer import VideoRecognizer
from kinoray.site import Site
from kinoray.tracking.provenance import git_tags
from kinoray.tracking.run import DatasetInfo, RunTracker, ended
from kinoray.tracking.store import default_uri
from kinoray.tracking.training import recipe_params
from kinoray.video.files import without_passwords


@contextmanager
def tracked_prediction(
    site: Site,
    recognizer: VideoRecognizer,
    request: Request,
    listing: Listing,
    *,
    videos: str,
    output: str,
    resume_run_id: str | None,
) -> Iterator[RunTracker]:
    """Record a prediction; one that goes on does so in its MLflow run.

    Args:
        site: names the store and the experiment.
        recognizer: that scores.
        request: what every video goes through.
        listing: of the videos.
        videos: as the user named them.
        output: where predictions go.
        resume_run_id: of the run to continue.

    Raises:
        ResourceError: the store does not answer, or refuses the run.
    """
    recipe = recognizer.recipe
    tags = {
        "kind": "prediction",
        "model": without_passwords(request.model),
        "predictions": without_passwords(output),
        "command": without_passwords(" ".join(sys.argv)),
        **git_tags(),
    }
    window = {} if request.window is None else {"window.seconds": request.window.seconds}
    own = {"batch_size": request.batch_size, "precision": request.precision, "num_clips": request.num_clips, **window}
    params: Mapping[str, str | int | float | bool | None] = (recipe_params(recipe) if recipe else {}) | own
    place = without_passwords(videos)
    tracker = RunTracker.start(
        uri=site.tracking_uri or default_uri(site.storage_path()),
        experiment=site.experiment,
        name=f"predictions of {place}",
        params=params,
        tags=tags,
        recipe_yaml=recipe.yaml() if recipe else "",
        datasets={"videos": DatasetInfo(place, place, listing.digest, listing.num_videos, "testing")},
        resume_run_id=resume_run_id,
    )
    with ended(tracker):
        yield tracker
