"""What is said of a sweep in words and tables: values of a trial, the leaderboard, and description pages."""

import csv
import io
from collections.abc import Mapping, Sequence

from kinoray.config.text import flatten
from kinoray.metrics import SMALLER_IS_BETTER
from kinoray.sweep.file import Sweep
from kinoray.sweep.space import Label
from kinoray.sweep.trials import Trial, TrialState
from kinoray.tracking.run import Scalar
from kinoray.video.files import without_passwords

NUM_BEST_TOLD = 5


def public_label(label: Label) -> Label:
    """Without the password of a URI: everyone who sees the run reads it."""
    return without_passwords(label) if isinstance(label, str) else label


def shown_label(label: Label) -> str:
    """A label as tables show it."""
    return f"{label:g}" if isinstance(label, float) else str(public_label(label))


def short_paths(paths: Sequence[str]) -> dict[str, str]:
    """Dotted path -> its last word, or the whole where that is a number or another path's too."""
    lasts = [path.rpartition(".")[2] for path in paths]
    return {
        path: path if last.isdecimal() or lasts.count(last) > 1 else last
        for path, last in zip(paths, lasts, strict=True)
    }


def shown_values(trial: Trial, *, with_seed: bool = False) -> str:
    """What a trial sets, in a few words: ``lr 0.03, schedule cosine``."""
    short = short_paths(tuple(trial.labels))
    words = [f"{short[path]} {shown_label(label)}" for path, label in trial.labels.items()]
    return ", ".join(words + ([f"seed {trial.seed}"] if with_seed else []))


def shown_metric(metric: str, value: float | None) -> str:
    """A metric of a trial; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.4f}" if metric in SMALLER_IS_BETTER else f"{value:.2%}"


def swept_paths(states: Sequence[TrialState]) -> tuple[str, ...]:
    """The paths that some trial sets, in the order of the space."""
    return tuple(dict.fromkeys(path for state in states for path in state.trial.labels))


def has_several_seeds(states: Sequence[TrialState]) -> bool:
    """Whether the seed is needed to tell trials apart."""
    return len({state.trial.seed for state in states}) > 1


def space_params(sweep: Sweep) -> dict[str, Scalar]:
    """What the sweep file sets, as params ``sweep.*`` of the sweep's run."""
    values = {f"sweep.{path}": value for path, value in flatten(sweep).items() if value not in {None, "{}", "[]"}}
    return {path: public_label(value) for path, value in values.items()}


def leaderboard_csv(states: Sequence[TrialState], metric: str, run_ids: Mapping[str, str]) -> str:
    """A row for each trial.

    Args:
        states: the best first.
        metric: that ranks them.
        run_ids: trial name -> MLflow run, of those that have one.
    """
    paths = swept_paths(states)
    header = ["rank", "trial", "status", *paths, "seed", f"best_{metric}", "best_epoch", f"last_{metric}", "epochs"]
    header += ["seconds", "train_seconds", "attempts", "checkpoint", "run_id", "error"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for rank, state in enumerate(states, start=1):
        trial, best_epoch = state.trial, None if state.best_epoch is None else state.best_epoch + 1
        labels = [public_label(trial.labels.get(path, "")) for path in paths]
        result = [
            state.best,
            best_epoch,
            state.value,
            state.epoch,
            f"{state.seconds:.1f}",
            f"{state.train_seconds:.1f}",
        ]
        place = [state.attempts, state.checkpoint, run_ids.get(trial.name, ""), state.error]
        writer.writerow([rank, trial.name, state.status, *labels, trial.seed, *result, *place])
    return text.getvalue()


def describe_trial(state: TrialState, metric: str) -> str:
    """Markdown for the page of a trial that is over."""
    end = f"after epoch {state.epoch}" if state.status != "finished" else ""
    blocks = [
        " ".join(filter(None, [f"**{state.status.capitalize()}**", end, f"({state.error})" if state.error else ""]))
    ]
    blocks.append(shown_values(state.trial, with_seed=True))
    if state.best is not None and state.best_epoch is not None:
        blocks.append(f"Best {metric}: {shown_metric(metric, state.best)} in epoch {state.best_epoch + 1}")
        blocks.append(f"Checkpoint: `{state.checkpoint}`")
    blocks.append("Resolved recipe: `recipe.yaml` under Artifacts")
    return "\n\n".join(blocks)


def describe_sweep(
    states: Sequence[TrialState],
    metric: str,
    *,
    status: str,
    error: str = "",
    model: str = "",
    trials_page: str = "",
) -> str:
    """Markdown for the page of a sweep.

    Args:
        states: the best first.
        metric: that ranks them.
        status: of the sweep's run.
        error: why it ended early.
        model: URI of the best one, if it is stored.
        trials_page: of the MLflow server, that shows all trials.
    """
    counts = {
        name: sum(state.status == name for state in states) for name in ("finished", "pruned", "failed", "running")
    }
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    blocks = [f"**{status.capitalize()}**{f': {error}' if error else ''}; trials: {told or 'none yet'}"]
    best = [state for state in states if state.best is not None][:NUM_BEST_TOLD]
    if best:
        rows = "\n".join(
            f"| {state.trial.name} | {shown_values(state.trial, with_seed=has_several_seeds(states))} | "
            f"{shown_metric(metric, state.best)} | {state.status} |"
            for state in best
        )
        blocks.append(f"### Best by {metric}\n\n| trial | values | {metric} | |\n|---|---|---|---|\n{rows}")
        blocks.append("To train the best anew: `python jobs/train.py best_recipe.yaml`, the file under Artifacts")
        blocks.append(f"Checkpoint: `{best[0].checkpoint}`" + (f", model: `{model}`" if model else ""))
    if trials_page:
        blocks.append(f"[All trials side by side](#/{trials_page})")
    blocks.append("Everything by trial: `leaderboard.csv` under Artifacts")
    return "\n\n".join(blocks)
