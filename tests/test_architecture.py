"""What the import contracts cannot see: what a worker needs, and what it must not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stages.registry import STAGES

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("room", sorted(path.parent.name for path in ROOT.glob("stages/*/spec.py")))
def test_a_spec_costs_pydantic_alone(room):
    program = (
        f"import sys, stages.{room}.spec\n"
        "heavy = {'torch', 'ray', 'transformers', 'pyarrow', 'numpy', 'duckdb', 'pandas'} & set(sys.modules)\n"
        "print(*heavy)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_computes_run_where_there_is_no_ray():
    modules = [STAGES[name].compute.split(":")[0] for name in sorted(STAGES)]
    program = f"import sys\nsys.modules['ray'] = None\nimport {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_model_is_can_be_asked_without_torch():
    heavy = "{'torch', 'transformers', 'timm', 'open_clip', 'huggingface_hub'}"
    program = f"import sys, stages.models.families\nprint({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_run_on_this_machine_needs_no_torch_in_the_driver():
    modules = "pipeline.session, pipeline.execute.on_ray.executor, pipeline.run, pipeline.export.command"
    program = f"import sys, {modules}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_file_is_read_in_one_go():
    files = [path for room in ("pipeline", "stages") for path in sorted((ROOT / room).rglob("*.py"))]
    assert not [path for path in files if len(path.read_text().splitlines()) > 300]
