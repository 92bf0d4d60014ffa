"""Commands in processes of their own, started as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def launched(processes, *arguments):
    """`python arguments`, where there are several processes by torch's launcher; must succeed."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(several if processes > 1 else []), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
