"""A whole config of MMAction2 as the values of a recipe, for every job that is given a ``.py`` in place of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinoray.config.layers import Layered, from_tree, override
from kinoray.errors import ConfigError
from kinoray.mmaction2.draft import Draft, Entry, Remark
from kinoray.mmaction2.loaders import Options, put_data
from kinoray.mmaction2.models import translate_model
from kinoray.mmaction2.optimizer import put_optimizer
from kinoray.mmaction2.part import Part
from kinoray.mmaction2.read import Source, read_config
from kinoray.mmaction2.running import put_running
from kinoray.mmaction2.schedule import put_schedule

NO_OPTIONS = Options()


@dataclass(frozen=True)
class Translation:
    """A config as a recipe's values.

    Attributes:
        layered: the values, with who set each of them.
        entries: the same one by one, in the recipe's order, with the keys that they were made from.
        idle: keys of the config that have no effect here, and why.
        different: keys that became something that is not quite the same, and in which way.
    """

    layered: Layered
    entries: tuple[Entry, ...]
    idle: tuple[Remark, ...]
    different: tuple[Remark, ...]


def recipe_values(path: str | Path, overrides: Sequence[str] = ()) -> Layered:
    """The values of the recipe that a config is, as ``Recipe.load`` takes them.

    Args:
        path: of the config, a ``.py``.
        overrides: such as ``optimizer.lr=0.01``; what they set needs no translation.

    Raises:
        ConfigError: lists every key that has no translation, with file and line.
    """
    return translate_config(read_config(path), overrides).layered


def translate_config(source: Source, overrides: Sequence[str] = (), options: Options = NO_OPTIONS) -> Translation:
    """Translate a config; see ``recipe_values``.

    Args:
        source: the config.
        overrides: of the recipe's values.
        options: what the config does not say.

    Raises:
        ConfigError: lists every key that has no translation, with file and line.
    """
    draft = Draft(source, [assignment.partition("=")[0].strip() for assignment in overrides])
    whole = Part.whole(source)
    whole.take("model")
    draft.put("name", source.path.stem, whole)
    _put_model(draft)
    passes = put_data(draft, whole, options)
    put_optimizer(draft, whole)
    put_schedule(draft, whole, passes)
    put_running(draft, whole, passes)
    draft.ignore(whole, "a variable of the config: nothing looks at it by itself", *whole.left)
    if draft.problems:
        count = "1 problem" if len(draft.problems) == 1 else f"{len(draft.problems)} problems"
        told = "".join(f"\n  {problem}" for problem in draft.problems)
        raise ConfigError(f"MMAction2's config {source.path}: {count}{told}")
    layered = override(from_tree(draft.tree()), overrides)
    return Translation(layered, tuple(draft.in_order()), tuple(draft.idle), tuple(draft.different))


def _put_model(draft: Draft) -> None:
    model = Part(draft.source, "model", draft.source.values.get("model") or {})
    with draft.collecting("model"):
        translated = translate_model(draft.source)
        for name, value in translated.values.items():
            draft.put(f"model.{name}", value, model)
        for name, value in translated.training.items():
            draft.put(f"training.{name}", value, model)
        for note in translated.notes:
            draft.differ(model, note)
