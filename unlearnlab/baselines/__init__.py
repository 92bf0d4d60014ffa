"""What others do: each function has the interface of `finetune`, its loop, and returns a `Run`.

| function | data | loss | as a problem |
|---|---|---|---|
| `naive` | retained | denoising | `ForwardKL` at λ = 0 |
| `neggrad` | forgotten | minus denoising | none |
| `siss` | all, forgotten | denoising on all less on forgotten | `ForwardKL` at λ = k/n |
| `erasediff` | retained, forgotten | denoising; uniform noise on forgotten | none |
| `esd` | models | regression on a guided score | `ReverseKL` at fixed λ |
| `vdu` | forgotten | minus denoising, parameters held | none |
| `ablation` | anchor | regression on an anchor's score | none: KL(anchor‖p) |
| `salun` | retained, forgotten | the same on forgotten, denoising; in salient weights | none |
| `uce` | prompts | least squares for keys and values, in closed form | none |
| `fdivergence` | forgotten, anchor | D_f of the student's transitions from an anchor's | none |

Multipliers do not move: weights are chosen beforehand. A problem passed in says what is retained
and forgotten, and what the run is evaluated on.
"""

from .ablation import Ablation, ablation
from .erasediff import EraseDiff, erasediff
from .esd import ESD, esd
from .fdivergence import FDivergence, fdivergence
from .naive import Naive, naive
from .neggrad import NegGrad, neggrad
from .salun import SalUn, salun
from .siss import SISS, siss
from .uce import uce
from .vdu import VDU, vdu

__all__ = [
    "ESD",
    "SISS",
    "VDU",
    "Ablation",
    "EraseDiff",
    "FDivergence",
    "Naive",
    "NegGrad",
    "SalUn",
    "ablation",
    "erasediff",
    "esd",
    "fdivergence",
    "naive",
    "neggrad",
    "salun",
    "siss",
    "uce",
    "vdu",
]
