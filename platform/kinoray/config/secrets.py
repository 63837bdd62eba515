"""Secrets in texts: cut out of what is shown, refused in what is kept."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from kinoray.errors import ConfigError

_OPTION = r"[^=&?\s]*(?:signature|sig|token|secret|password|passwd|pwd|passphrase|credential|key)"
# A URI that was taken for a path has lost one of its slashes. Patterns take time in proportion to the text, so that no
# file can make one of them take minutes: repeated parts are bounded, or end where the next match may begin.
_CUTS = (
    (re.compile(r"\b(s3|abfss?)(://?)[^/@\s:]*:[^@\s]{1,512}@"), r"\1\2***@"),  # their keys hold slashes
    (re.compile(r"\b([A-Za-z][\w+.-]{0,63})(://?)(?=[^/@\s:]*:)[^/@\s]*@"), r"\1\2***@"),
    (re.compile(r"\b(https?)(://?)[^/@\s]+@"), r"\1\2***@"),  # a token may stand for the user
    (re.compile(rf"(?i)([?&]{_OPTION}=)[^&\s]+"), r"\1***"),
)


def without_passwords(text: str) -> str:
    """A text whose URIs hold no password, secret key or signature: messages are read by everyone who sees the run."""
    for pattern, shown in _CUTS:
        text = pattern.sub(shown, text)
    return text


def check_no_secrets(
    values: Mapping[str, Any], origins: Mapping[str, str], what: str, allowed: Collection[str]
) -> None:
    """See to it that no value is a URI with a secret in it: recipes are copied into MLflow and into every checkpoint.

    Args:
        values: nested mappings and lists.
        origins: dotted path -> who set it.
        what: the values are, begins the message.
        allowed: dotted paths of values that are copied nowhere.

    Raises:
        ConfigError: names every such value.
    """
    found = [
        f"\n  {path}: holds a secret, got {without_passwords(text)}"
        + (f"  [{without_passwords(origins[path])}]" if path in origins else "")
        for path, text in _texts(values, "")
        if path not in allowed and without_passwords(text) != text
    ]
    if found:
        raise ConfigError(
            f"{without_passwords(what)}: a URI should hold no secret, for MLflow and every checkpoint would keep it; "
            "give credentials by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or ~/.aws, and download "
            f"first what has a signed address{''.join(found)}"
        )


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text among the values, with its dotted path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, child in items:
            yield from _texts(child, f"{path}.{key}" if path else str(key))
