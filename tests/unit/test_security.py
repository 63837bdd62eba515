"""What no code of ours may do: run what comes from outside, or listen to strangers. See SECURITY.md."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = [file for folder in ("platform", "jobs", "datasets") for file in sorted((ROOT / folder).rglob("*.py"))]
RESTRICTED_PICKLE = ROOT / "platform/kinoray/data/restricted_pickle.py"
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
NEVER = {
    *(f"{module}.{name}" for module in UNPICKLERS for name in ("load", "loads", "Unpickler", "open")),
    *(f"yaml.{name}" for name in ("load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all")),
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput"),
    *("subprocess.getstatusoutput", "pandas.read_pickle", "pd.read_pickle", "torch.hub.load", "torch.jit.load"),
    *("torch.package.PackageImporter", "shutil.unpack_archive", "runpy.run_path", "runpy.run_module"),
}
ARCHIVES = {"extractall", "extract"}


def told(call: ast.Call) -> dict[str | None, object]:
    """The call's keyword arguments that are plain values."""
    return {each.arg: each.value.value for each in call.keywords if isinstance(each.value, ast.Constant)}


def why_unsafe(call: ast.Call) -> str:
    name, words = ast.unparse(call.func), told(call)
    if name in NEVER:
        return f"{name} runs what it is given"
    if name in {"torch.load", "torch.distributed.checkpoint.load"} and words.get("weights_only") is not True:
        return "torch.load without weights_only=True"
    if name in {"np.load", "numpy.load"} and words.get("allow_pickle") is not False:
        return "np.load without allow_pickle=False"
    if words.get("shell") or words.get("trust_remote_code") or words.get("allow_pickle"):
        return f"{name} with {words}"
    if isinstance(call.func, ast.Attribute) and call.func.attr in ARCHIVES and "pc." not in name:
        return f"{name} writes where an archive says"
    return ""


def why_open(call: ast.Call) -> str:
    texts = [node.value for each in call.args for node in ast.walk(each) if isinstance(node, ast.Constant)]
    name = ast.unparse(call.func).rpartition(".")[2]
    if name in {"create_server", "bind", "HTTPServer", "ThreadingHTTPServer", "TCPServer", "start_server"} and any(
        text in {"", "0.0.0.0", "::"} for text in texts
    ):
        return f"{name} at all interfaces"
    return "" if told(call).get("include_dashboard") is not True else "Ray's dashboard"


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def found(why: Callable[[ast.Call], str]) -> list[str]:
    return [f"{place}: {reason}" for file in CODE for place, call in calls(file) if (reason := why(call))]


def test_nothing_from_outside_is_run() -> None:
    assert len(CODE) > 250
    assert found(why_unsafe) == []


def test_nothing_listens_to_all() -> None:
    assert found(why_open) == []


@pytest.mark.parametrize(
    "text",
    [
        "pickle.load(file)", "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)", "exec(text)",
        "np.load(path, allow_pickle=True)", "yaml.load(text, Loader=yaml.Loader)", "subprocess.run(text, shell=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)", "tarfile.open(path).extractall(folder)",
    ],
)  # fmt: skip
def test_what_is_looked_for_is_found(text: str) -> None:
    (call,) = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and why_unsafe(node))
    assert why_unsafe(call)


@pytest.mark.parametrize("text", ["socket.create_server(('', 0))", "HTTPServer(('0.0.0.0', 80), Handler)"])
def test_listening_to_all_is_found(text: str) -> None:
    assert any(why_open(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))


def test_pickles_are_opened_at_one_place_which_makes_no_objects() -> None:
    """Elsewhere only their errors are named."""
    users = {
        file
        for file in CODE
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(each.name.partition(".")[0] in UNPICKLERS for each in node.names))
        or (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] in UNPICKLERS
            and [each.name for each in node.names] != ["UnpicklingError"]
        )
    }
    assert users == {RESTRICTED_PICKLE}


def test_loaders_of_yaml_are_safe_ones() -> None:
    loaders = {
        ast.unparse(base)
        for file in CODE
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if "Loader" in ast.unparse(base) and "yaml" in ast.unparse(base)
    }
    assert loaders == {"yaml.SafeLoader"}
