"""What README and docs say is what the program does: commands, options, manifests, defaults."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from pipeline.cli import app
from pipeline.manifest.load import load_manifest
from pipeline.session import graph_alone
from pipeline.watch.picture import mermaid
from stages.download.spec import DownloadRecipe, DownloadRun

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"capfilt (?:run|retry|plan|status|query|compact|export|forget|clean|validate)\b[^`\n]*")


def pages(kind: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text()
        if kind == "command":
            found += [(page.name, command) for command in COMMAND.findall(text)]
        else:
            blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
            found += [(page.name, block) for block in blocks if "output:" in block]
    return found


@pytest.mark.parametrize(("page", "command"), pages("command"))
def test_commands_and_their_options_exist(page, command):
    words = shlex.split(command.partition("#")[0].replace("…", ""))
    group: Any = typer.main.get_command(app)
    options = {name for parameter in group.commands[words[1]].params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    manifest = words[2] if len(words) > 2 else ""
    assert not manifest.startswith("manifests/") or "*" in manifest or (ROOT / manifest).exists()


@pytest.mark.parametrize(("page", "manifest"), pages("manifest"))
def test_manifests_are_fine(page, manifest, tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(manifest)
    load_manifest(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_picture_of_the_house_is_what_the_command_prints():
    page = (ROOT / "docs/architecture.md").read_text()
    (drawn,) = re.findall(r"```mermaid\n(.*?)```", page, re.DOTALL)
    assert drawn.rstrip() == mermaid(*graph_alone(ROOT / "manifests/quickstart.yaml"))
    for folder in re.findall(r"`((?:pipeline|stages)/[\w/]*)`", page):
        assert (ROOT / folder).exists(), folder


def test_the_crawlers_bounds_are_those_of_the_program():
    rows = re.findall(r"^\| `(run: )?(\w+)` \| (\S+) \|", (ROOT / "docs/crawler.md").read_text(), re.MULTILINE)
    assert len(rows) >= 15
    for run, key, told in rows:
        default = (DownloadRun if run else DownloadRecipe).model_fields[key].default
        found = None if told == "none" else yaml.safe_load(told.strip("`"))
        assert (list(default) if isinstance(default, tuple) else default) == found, key
