"""What a command imports of the libraries that take seconds."""

import json
import subprocess
import sys

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "peft")
SCRIPT = f"""
import json, sys
from persongen_lib.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(json.dumps([code, [name for name in {HEAVY} if name in sys.modules]]))
"""


def heavy_of(folder, *arguments):
    """The exit code of a command in a process of its own, what it imports of HEAVY, and the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *told, last = done.stdout.splitlines()
    return *json.loads(last), told
