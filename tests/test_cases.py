"""The runner of cases tells right from wrong, and outlives a case that hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cases import find_cases, judge

ROOT = Path(__file__).parents[1]


def write_case(folder: Path, name: str, script: str) -> Path:
    case = folder / name
    case.mkdir(parents=True)
    (case / "try.sh").write_text(script)
    return case


def test_a_case_gets_the_command_and_an_empty_folder_and_is_right_if_it_exits_with_0(tmp_path):
    case = write_case(tmp_path, "01-fine", 'echo first; [ -z "$(ls -A "$2")" ] && touch "$2/x" && echo "with $1"')
    verdict = judge(case, Path("/somewhere/capfilt"))
    assert (verdict.right, verdict.words) == (True, "with /somewhere/capfilt")


def test_a_case_that_exits_with_another_code_or_hangs_is_wrong(tmp_path):
    assert not judge(write_case(tmp_path, "02", "echo fault; exit 1"), Path("capfilt")).right
    hanging = judge(write_case(tmp_path, "03", "sleep 60 & wait"), Path("capfilt"), seconds=0.2)
    assert (hanging.right, hanging.words) == (False, "not done within 0.2 s")


def test_cases_are_found_by_their_script_and_left_out_by_how_their_names_begin(tmp_path):
    for name in ("01-a", "02-b", "10-c"):
        write_case(tmp_path, name, "exit 0")
    (tmp_path / "no-case").mkdir()
    assert [case.name for case in find_cases(tmp_path, ["02"])] == ["01-a", "10-c"]


def test_the_command_counts_and_exits_with_1_if_one_is_wrong(tmp_path):
    write_case(tmp_path, "01-fine", "echo good")
    write_case(tmp_path, "02-not", "echo bad; exit 3")
    program = [sys.executable, str(ROOT / "tests/cases.py"), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "1 of 2 right"
    assert subprocess.run([*program, "--without", "02"], capture_output=True, check=False).returncode == 0
