"""Images, Kubernetes and Slurm files, as far as tools without a cluster can judge them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SCRIPTS = Path(sysconfig.get_path("scripts"))
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
KUBERNETES = "1.31"


def check(*command: str | Path) -> None:
    found = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_have_nothing_that_hadolint_knows_better(path):
    check(SCRIPTS / "hadolint", "--failure-threshold", "info", path)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_copies_is_there_and_not_ignored(path):
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [line.split()[1:-1] for line in path.read_text().splitlines() if re.match(r"COPY (?!--from)", line)]
    names = {name for words in copies for name in words if not name.startswith("--")}
    assert names == sent
    assert all((ROOT / name).exists() for name in names)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_image_has_the_python_and_the_extras_that_the_project_declares(path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bases = set(re.findall(r"^FROM python:(\d+\.\d+)", path.read_text(), re.MULTILINE))
    assert bases == {re.search(r">=(\d+\.\d+)", project["requires-python"])[1]}
    assert set(re.findall(r'"\.\[(\w+)\]"', path.read_text())) <= set(project["optional-dependencies"])


def test_the_slurm_script_has_nothing_that_shellcheck_knows_better():
    check(SCRIPTS / "shellcheck", DOCKER / "slurm.sh")


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "rayjob.yaml").read_text())


def test_every_pod_of_the_ray_job_fits_the_schema_of_kubernetes(job):
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        for container in pod["spec"]["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounted == {volume["name"] for volume in pod["spec"].get("volumes", [])}


JOB_FIELDS = {
    "entrypoint": str,
    "backoffLimit": int,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "submissionMode": str,
    "rayClusterSpec": dict,
}
"""Of the RayJob resource, group ray.io/v1, those that are used here."""
GROUP_FIELDS = {
    "groupName": str,
    "replicas": int,
    "minReplicas": int,
    "maxReplicas": int,
    "rayStartParams": dict,
    "template": dict,
}


def test_the_ray_job_has_the_fields_of_its_resource(job):
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert {key: type(value) for key, value in job["spec"].items()} == JOB_FIELDS
    for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        assert {key: type(value) for key, value in group.items()} == GROUP_FIELDS
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_ray_job_runs_the_ray_of_the_lock(job):
    locked = re.search(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[1]
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == locked


def test_the_ray_job_gives_shards_the_time_that_capfilt_gives_them(job):
    from pipeline.execute.stop import GRACE

    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > GRACE


def test_the_command_of_the_ray_job_is_one_of_capfilts(job):
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:2] == ["capfilt", "run"]
    assert words[-2:] == ["--address", "auto"]
