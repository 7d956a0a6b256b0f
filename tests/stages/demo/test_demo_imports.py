"""Drawing, judging, serving and reporting need no torch."""

import subprocess
import sys

LIGHT = ("scene", "render", "language", "describe", "alt_text", "world", "web", "report", "lessons")


def test_the_light_modules_do_not_import_torch():
    names = ", ".join(f"stages.demo.{name}" for name in LIGHT)
    check = f"import sys, {names}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
