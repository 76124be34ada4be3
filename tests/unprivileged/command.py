"""The kit's command as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def kit(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What it answered, which is never a traceback; ``environment`` is added to our own."""
    answer = subprocess.run(
        [sys.executable, "-m", "kit", *words],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Traceback" not in answer.stdout + answer.stderr
    return answer
