"""Damage to YAML: an entry of a mapping is changed where it stands, and the rest of the text stays as it is."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import yaml
from fuzz_bytes import Damage, Rng, one

CANARY = "canary"
"""A folder that is made where something in a file was run."""
MANY = 5_000
NUMBERS = (
    *("-1", "0", "1", "7", "-0.0", "1e-320", "1e400", "-1e400", ".nan", ".inf", "-.inf", "1_000", "0x1F", "0o17"),
    *("9223372036854775807", "9223372036854775808", "99999999999999999999999999", "-99999999999999999999", "1e30"),
    *("9" * MANY, "0x" + "f" * MANY, "1." + "3" * MANY, "0.5", "1000000", "100000000000"),
)
OTHERS = (
    *(
        "true",
        "null",
        "~",
        '""',
        "word",
        "[]",
        "{}",
        "[1, [2, [3]]]",
        "{a: {b: c}}",
        "[null]",
        "[[]]",
        "[{}]",
        "[1, x]",
    ),
    *("2024-01-01", "2024-01-01T00:00:00Z", "12:30:45", "yes", "off", "{1: 2}", "{null: 3}", "{true: 1}", "[.nan, 1]"),
    *("{kind: nonsense}", "{kind: 3}", "{kind: null}", "{kind: []}", "{kind: 'no.such.module:Thing'}", "{kind: ':'}"),
    *("{kind: 'os:path'}", "{kind: 'os.path:join'}", "{kind: '..a:b'}", "{'': 1}", "{'a.b': 1}", "[1, 2, 3, 4, 5, 6]"),
)
TEXTS = (
    *(
        f'"{"x" * 100_000}"',
        f'"{"?" * 100_000}"',
        f'"s3://{":" * 100_000}"',
        f'"{"://" * 50_000}"',
        '"\\0"',
        '"\\ud800"',
        '"\\e[31mred"',
        '"{0} {kind} %s %d"',
        "'../../../..'",
        "/dev/zero",
    ),
    *("'a\\b'", '"two\\nlines"', "' '", "'*'", "'[bold]rich[/bold]'", "'[/]'", '"\\u202e"', "🎥", f"'{'a/' * 3000}b'"),
    *("s3://", "'http://['", "file:///dev/zero", "'://'", "~", "/", ".", "..", "a.csv", "a.parquet", "'a.csv?b=c'"),
)
TAGS = (
    *(
        f"!!python/object/apply:os.mkdir [{CANARY}]",
        f"!!python/object/new:os.mkdir [{CANARY}]",
        "!!python/name:os.mkdir",
    ),
    *("!!python/module:os", "!!binary aGk=", "!!set {a, b}", "!!timestamp 2024-01-01", "!mine x", "!!omap [a: 1]"),
    *("!<tag:example.com,2024:x> 3", "!!python/tuple [1, 2]", "!!int word", "!!float word", "!!bool 3", "!!null 3"),
)
BROKEN = (
    "*unknown",
    "'open",
    '"open',
    "[1, 2",
    "{a: 1",
    "]",
    "@x",
    "`x",
    "%x",
    "&a *a",
    "? [a]",
    "- - -",
    ": :",
    "&",
    "!",
)


@dataclass(frozen=True)
class _Entry:
    path: str
    key: yaml.Node
    value: yaml.Node

    @property
    def named(self) -> tuple[str, ...]:
        """What a message may call it: its path or the key's name, or the line that it stands on."""
        words = [part for part in self.path.split(".") if not part.isdecimal()]
        return *words[-3:], *(f".yaml:{node.start_mark.line + 1}" for node in (self.key, self.value))


@cache
def _entries(content: bytes) -> tuple[_Entry, ...]:
    found: list[_Entry] = []

    def walk(node: yaml.Node, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = f"{path}.{key.value}" if path else str(key.value)
                if not any(entry.value is value for entry in found):  # an alias is no entry to change
                    found.append(_Entry(below, key, value))
                    walk(value, below)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                walk(value, f"{path}.{number}")

    walk(yaml.compose(content.decode(), Loader=yaml.SafeLoader), "")
    return tuple(found)


def _pick(content: bytes, rng: Rng) -> tuple[str, _Entry, int, int, int]:
    """The text, one of its entries, where that begins, where its value does, and where it ends."""
    text, entry = content.decode(), one(rng, _entries(content))
    start, at = entry.key.start_mark.index, entry.value.start_mark.index
    return text, entry, start, at, start + len(text[start : entry.value.end_mark.index].rstrip())


def _replaced(content: bytes, rng: Rng, values: Sequence[str], *, is_wrong: bool = False) -> Damage:
    text, entry, _, at, end = _pick(content, rng)
    # Of values that others refer to, their names are missed where they are used.
    names = (*entry.named, *re.findall(r"&(\w+)", text[at:end]))
    return Damage(f"{text[:at]}{one(rng, values)}{text[end:]}".encode(), (names,), is_wrong)


def drop_entry(content: bytes, rng: Rng) -> Damage:
    """Leave one out."""
    text, entry, start, _, end = _pick(content, rng)
    names = (*entry.named, *re.findall(r"&(\w+)", text[start:end]))
    rest = re.sub(r"^\s*,\s*", "", text[end:]) if text[end:].lstrip(" ").startswith(",") else text[end:]
    return Damage(f"{text[:start]}{rest}".encode(), ((*names, "empty"),) if entry.path != "base" else ())


def repeat_entry(content: bytes, rng: Rng) -> Damage:
    """Say it twice."""
    text, entry, start, _, end = _pick(content, rng)
    is_flow = text[text.rfind("\n", 0, start) + 1 : start].strip(" -") != ""
    gap = ", " if is_flow else "\n" + " " * entry.key.start_mark.column
    named = (*entry.named, *re.findall(r"&(\w+)", text[start:end]))
    return Damage(f"{text[:end]}{gap}{text[start:end]}{text[end:]}".encode(), (named,), is_wrong=True)


def misspell_key(content: bytes, rng: Rng) -> Damage:
    """Swap, drop or double a letter of a key."""
    text, entry, start, _, _ = _pick(content, rng)
    key = text[start : entry.key.end_mark.index]
    at = int(rng.integers(len(key)))
    wrong = one(rng, (key[:at] + key[at + 1 :], key[:at] + key[at] + key[at:], key.upper(), f"{key}_", f"'{key} '"))
    return Damage(f"{text[:start]}{wrong}{text[start + len(key) :]}".encode(), ((*entry.named, wrong.strip("'")),))


def odd_key(content: bytes, rng: Rng) -> Damage:
    """A key that is no plain word."""
    text, entry, start, _, _ = _pick(content, rng)
    odd = one(rng, ("? [a]\n: x", "[a]", "{a: b}", "null", "1", "true", "<<", "2024-01-01", "!!python/name:os.x", "''"))
    wrong = f"{text[:start]}{odd}{text[entry.key.end_mark.index :]}"
    return Damage(wrong.encode(), ((*entry.named, odd, "recipe.yaml:", ".yaml:"),))


def new_key(content: bytes, rng: Rng) -> Damage:
    """A key that nothing knows, beside another one."""
    text, entry, start, _, _ = _pick(content, rng)
    is_flow = text[text.rfind("\n", 0, start) + 1 : start].strip(" -") != ""
    gap = ", " if is_flow else "\n" + " " * entry.key.start_mark.column
    return Damage(f"{text[:start]}unheard_of: 1{gap}{text[start:]}".encode(), (("unheard_of", *entry.named),))


def odd_number(content: bytes, rng: Rng) -> Damage:
    """Negative, huge, no number."""
    return _replaced(content, rng, NUMBERS)


def other_type(content: bytes, rng: Rng) -> Damage:
    """A value of another sort."""
    return _replaced(content, rng, OTHERS)


def odd_text(content: bytes, rng: Rng) -> Damage:
    """Long, with control characters, or a place that is none."""
    return _replaced(content, rng, TEXTS)


def foreign_tag(content: bytes, rng: Rng) -> Damage:
    """YAML that would make an object, or run something."""
    return _replaced(content, rng, TAGS, is_wrong=True)


def broken_value(content: bytes, rng: Rng) -> Damage:
    """What is no YAML."""
    damage = _replaced(content, rng, BROKEN)
    return Damage(damage.content, ((".yaml:", *damage.named[0]),))


def deep_nesting(content: bytes, rng: Rng) -> Damage:
    """Lists or mappings inside of one another."""
    depth = one(rng, (20, 200, 2_000, 50_000))
    damage = _replaced(content, rng, ("[" * depth + "]" * depth, "{a: " * depth + "1" + "}" * depth, "[" * depth))
    return Damage(damage.content, ((".yaml:", *damage.named[0]),))


def alias_bomb(content: bytes, rng: Rng) -> Damage:
    """A few lines that stand for billions of values."""
    levels = [f"&l{number} [{', '.join([f'*l{number - 1}'] * 9)}]" for number in range(1, 12)]
    maps = [
        f"&l{number} {{<<: *l{number - 1}, k{number}: [*l{number - 1}, *l{number - 1}]}}" for number in range(1, 40)
    ]
    return _replaced(content, rng, (f"[&l0 x, {', '.join(levels)}]", f"[&l0 {{a: 1}}, {', '.join(maps)}]"))


def own_alias(content: bytes, rng: Rng) -> Damage:
    """A value that holds itself."""
    return _replaced(
        content, rng, ("&own [*own]", "&own {a: *own}", "&own {<<: *own}", "&own [{<<: [*own]}]"), is_wrong=True
    )


def base_file(content: bytes, rng: Rng) -> Damage:
    """A base that is missing, no file, itself, or based on this one."""
    text = content.decode()
    stripped = re.sub(r"(?m)^base:.*\n(?: .*\n)*", "", text)
    own = one(rng, ("recipe.yaml", "sweep.yaml", "site.yaml", "mine.yaml"))
    base = one(rng, ("missing.yaml", ".", "..", "''", "3", "null", "[]", "[[]]", "[a, [b]]", "{a: b}", "loop.yaml", own,
                      "''", "/dev/null", "/dev/zero", '"\\0"', f"'{'x' * 5000}'", "s3://b/c.yaml", "empty.yaml",
                      "list.yaml", "bytes.yaml", '"\\ud800"', "~", "[~]", "true", "none/../missing.yaml"))  # fmt: skip
    beside = (
        ("loop.yaml", b"base: loop2.yaml\n"),
        ("loop2.yaml", b"base: loop.yaml\n"),
        ("empty.yaml", b""),
        ("list.yaml", b"- 1\n"),
        ("bytes.yaml", b"\xff\xfe\x00"),
    )
    named = ("base", ".yaml", f"{base}")
    return Damage(f"base: {base}\n{stripped}".encode(), (named,), beside=beside)


def other_document(content: bytes, rng: Rng) -> Damage:
    """A file that holds something else, more, or nothing."""
    text = content.decode()
    whole = (
        *("", "\n\n", "# nothing\n", "---\n", "...\n", "- a\n- b\n", "word\n", "3\n", "null\n", "{}\n", "[]\n", "\t\n"),
        *(f"---\n{text}---\n{text}", f"%YAML 9.9\n---\n{text}", f"%TAG ! x\n---\n{text}", f"{text}...\nmore: 1\n"),
        *(f"{text}\n{' ' * 3}odd: indent\n", f"{text}\n<<: 3\n", f"{text}\n? a\n", f"!mine\n{text}", f"--- |\n{text}"),
    )
    return Damage(one(rng, whole).encode())


def tabs(content: bytes, rng: Rng) -> Damage | None:
    """Tabs in place of the spaces that a line begins with."""
    lines = content.split(b"\n")
    indented = [number for number, line in enumerate(lines) if line.startswith(b"  ")]
    if not indented:
        return None
    at = one(rng, indented)
    lines[at] = b"\t" + lines[at].lstrip(b" ")
    return Damage(b"\n".join(lines), ((f":{at}", f":{at + 1}"),))


def long_line(content: bytes, rng: Rng) -> Damage:
    """Ten megabytes on one line."""
    filler = one(rng, ("x" * 10_000_000, f"[{'1, ' * 3_000_000}1]", f"'{'y ' * 5_000_000}'", f"# {'z' * 10_000_000}"))
    if filler.startswith("#"):
        return Damage(f"{filler}\n".encode() + content)
    return Damage(_replaced(content, rng, (filler,)).content)


YAML: tuple[Callable[[bytes, Rng], Damage | None], ...] = (
    *(
        drop_entry,
        repeat_entry,
        misspell_key,
        odd_key,
        new_key,
        odd_number,
        odd_number,
        other_type,
        other_type,
        odd_text,
    ),
    *(
        long_line,
        foreign_tag,
        broken_value,
        deep_nesting,
        alias_bomb,
        own_alias,
        base_file,
        base_file,
        other_document,
        tabs,
    ),
)
