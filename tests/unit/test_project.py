"""Guards of the repository itself: layout, imports, versions that must agree, files that others read."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ray.autoscaler._private.util import prepare_config, validate_config

REPO = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())
JOBS = sorted((REPO / "jobs").glob("*.py"))
LAUNCHER_FILES = ("cluster.yaml", "docs/cluster/on-prem.yaml")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")


def python(code: str) -> str:
    """Runs code from the root of the checkout, where `platform/` is on the path as '' and by PYTHONPATH."""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def repository_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPO, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := REPO / name).is_file()]


def constraints() -> dict[str, Version]:
    lines = (REPO / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def requirements() -> list[Requirement]:
    project = PYPROJECT["project"]
    return [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]]


def launcher_file(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((REPO / name).read_text())
    return config


@pytest.mark.parametrize("folder", ["platform", "datasets", "jobs", "configs", "tests"])
def test_no_package_hides_another(folder: str) -> None:
    assert not (REPO / folder / "__init__.py").exists()


def test_platform_is_the_standard_librarys() -> None:
    assert python("import platform; print(platform.__file__)").endswith("/platform.py")


@pytest.mark.parametrize("module", ["kinoray", "kinoray.errors", "kinoray.recipe"])
def test_describing_needs_neither_torch_nor_ray(module: str) -> None:
    loaded = python(f"import sys, {module}; print(*{{'torch', 'torchvision', 'ray', 'mlflow'}} & set(sys.modules))")
    assert loaded == ""


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_jobs_run_by_their_own_name(job: Path) -> None:
    lines = job.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env python3"
    assert job.stat().st_mode & 0o111 == 0o111
    assert len(lines) <= 60


def test_the_job_of_the_demo_exists() -> None:
    assert REPO / "jobs" / "train.py" in JOBS


@pytest.mark.parametrize("script", [".ci/run", "docs/cluster/slurm.sh"])
def test_shell_scripts_parse_and_run_by_their_own_name(script: str) -> None:
    path = REPO / script
    assert path.stat().st_mode & 0o111 == 0o111
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_registry_host_or_machine_path_is_named() -> None:
    # Put together here, so that this file does not name them itself.
    hosts = ["pypi org", "pythonhosted org", "npmjs org", "proxy golang", "deb debian", "anaconda org", "crates io"]
    folders = [" opt pypi", " opt wheels", " work shared", " work main"]
    needles = [host.replace(" ", ".") for host in hosts] + [folder.replace(" ", "/") for folder in folders]
    pattern = re.compile("|".join(map(re.escape, needles)))
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or an archive
        found += [f"{path.relative_to(REPO)}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []


def test_constraints_satisfy_the_requirements() -> None:
    pinned = constraints()
    unmet = [
        f"{requirement}, pinned {pinned.get(canonicalize_name(requirement.name))}"
        for requirement in requirements()
        if pinned.get(canonicalize_name(requirement.name)) not in requirement.specifier
    ]
    assert unmet == []


def test_constraints_leave_the_cuda_stack_to_torch() -> None:
    assert [name for name in constraints() if name == "triton" or name.startswith(("cuda-", "nvidia-"))] == []


@pytest.mark.parametrize("file", [*LAUNCHER_FILES, "docs/cluster/kuberay-rayjob.yaml", "docs/cluster/Dockerfile"])
def test_clusters_run_the_locked_ray(file: str) -> None:
    text = (REPO / file).read_text()
    named = re.findall(r"rayproject/ray:(\d+\.\d+\.\d+)|rayVersion: \"([\d.]+)\"|kinoray:ray([\d.]+)", text)
    versions = {version for groups in named for version in groups if version}
    # Machines of one's own install from constraints.txt and name no version.
    assert versions == (set() if file.endswith("on-prem.yaml") else {str(constraints()["ray"])})


@pytest.mark.parametrize("file", LAUNCHER_FILES)
def test_rays_launcher_accepts(file: str) -> None:
    validate_config(prepare_config(launcher_file(file)))


@pytest.mark.parametrize("file", LAUNCHER_FILES)
def test_rays_launcher_sees_a_typo(file: str) -> None:
    config = launcher_file(file)
    config["idle_timeout_minuets"] = 5
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuets"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("file", LAUNCHER_FILES)
def test_launched_clusters_ask_for_a_token(file: str) -> None:
    config = launcher_file(file)
    in_container = "--env RAY_AUTH_MODE=token" in config.get("docker", {}).get("run_options", [])
    for role in ("head", "worker"):
        start = config[f"{role}_start_ray_commands"][-1]
        assert in_container or "RAY_AUTH_MODE=token" in start
    assert any(local == "~/.ray/auth_token" for local in config["file_mounts"].values())


def test_the_head_neither_trains_nor_decodes() -> None:
    config = launcher_file("cluster.yaml")
    types = config["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert "GPU" not in types["decode"]["resources"]
    assert types["train"]["resources"]["GPU"] >= 1
    assert sum(node_type.get("max_workers", 0) for node_type in types.values()) == config["max_workers"]


def test_the_rayjob_asks_for_what_its_image_and_cluster_have() -> None:
    job = yaml.safe_load((REPO / "docs/cluster/kuberay-rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    containers = [container for group in groups for container in group["template"]["spec"]["containers"]]
    assert len({container["image"] for container in containers}) == 1
    for container in containers:
        assert container["resources"]["requests"] == container["resources"]["limits"]
    in_repo = [word.removeprefix("/home/ray/kinoray/") for word in job["spec"]["entrypoint"].split() if "/" in word]
    assert [path for path in in_repo if not (REPO / path).is_file()] == []


@pytest.mark.parametrize("file", sorted((REPO / "docs" / "cluster").glob("*.yaml")), ids=lambda file: file.name)
def test_yaml_of_the_docs_parses(file: Path) -> None:
    assert isinstance(yaml.safe_load(file.read_text()), dict)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_resolve() -> None:
    pages = [path for path in repository_files() if path.suffix == ".md"]
    broken = []
    for page in pages:
        for target in (a or b for a, b in LINK.findall(page.read_text())):
            if re.match(r"[a-z]+:", target):
                continue  # outside of the repository
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
                broken.append(f"{page.relative_to(REPO)}: {target}")
    assert broken == []
