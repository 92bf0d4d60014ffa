"""`%%cuda`, for cells that need a GPU."""

from __future__ import annotations

from typing import Any

SKIPPED = "skipped: this cell needs a CUDA device, and torch sees none"


def add_cuda_magic() -> None:
    """Teach a notebook `%%cuda`: such a cell runs where torch sees a CUDA device, and only there.

    Elsewhere it prints that it was skipped. Errors of a cell that runs are raised as usual. Plain
    Python, which has no magics, is left alone.
    """
    from IPython import get_ipython

    shell: Any = get_ipython()
    if shell is None:
        return

    def cuda(line: str, cell: str) -> None:
        """Run the cell if torch sees a CUDA device."""
        import torch

        if not torch.cuda.is_available():
            print(SKIPPED)
            return
        source = shell.transform_cell(cell)
        exec(compile(source, shell.compile.cache(source), "exec"), shell.user_ns)

    shell.register_magic_function(cuda, "cell", "cuda")
