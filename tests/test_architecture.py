"""What the import contracts cannot see: what a worker needs, and what it must not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stages.registry import STAGES


@pytest.mark.parametrize("name", STAGES)
def test_a_spec_costs_pydantic_alone(name):
    program = (
        f"import sys, stages.{name}.spec\n"
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


def test_a_run_on_this_machine_needs_no_torch_in_the_driver():
    modules = "pipeline.session, pipeline.execute.on_ray.executor, pipeline.run, pipeline.export.command"
    program = f"import sys, {modules}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
