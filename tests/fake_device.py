"""A device that is not there: its tensors lie on the CPU, and only the rules of a device hold.

Tensors on "lazy", a device type that torch knows and never has, refuse what a real one refuses: to
meet tensors of another device, to be read by NumPy, and, as Apple's, to be float64. So a machine
without an accelerator sees what would fail on one.
"""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "lazy"
ANYWHERE = ("_to_copy", "copy_", "_copy_from")  # may read one device and write another
INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")  # by indices on the CPU


class Away(torch.Tensor):
    """A tensor on the device; `here` is what it holds."""

    @staticmethod
    def __new__(cls, here):
        layout = {"strides": here.stride(), "storage_offset": here.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(
            cls, here.shape, dtype=here.dtype, device=NAME, **layout
        )
        made.here = here
        return made

    def __repr__(self):
        return f"Away({self.here})"

    def __format__(self, how):
        return format(self.cpu(), how)

    def tolist(self):
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {}, double=True)


def computed(func, args, kwargs, *, double):
    """An operation of ATen on tensors here and away."""
    name = func._schema.name.removeprefix("aten::")
    tensors = [x for x in tree_leaves((args, kwargs)) if torch.is_tensor(x)]
    away = [x for x in tensors if isinstance(x, Away)]
    asked = kwargs.get("device")
    if not away and not (asked is not None and torch.device(asked).type == NAME):
        return func(*args, **kwargs)
    if name not in ANYWHERE and away:
        free = args[1] if name in INDEXED else ()
        for x in tensors:
            if not isinstance(x, Away) and x.ndim and not any(x is one for one in free):
                raise RuntimeError(f"{name}: expected all tensors to be on one device")
    there = bool(away) if asked is None else torch.device(asked).type == NAME
    if name == "copy_":
        there = isinstance(args[0], Away)
    plain, named = tree_map_only(Away, lambda x: x.here, (args, dict(kwargs)))
    if asked is not None:
        named["device"] = "cpu"
    if named.get("pin_memory"):
        named["pin_memory"] = False
    out = func(*plain, **named)
    if name.endswith("_"):  # in place: the same tensor comes back, and nothing of a list
        return args[0] if func._schema.returns else None

    def sent(x):
        if not double and x.dtype == torch.float64:
            raise TypeError(f"{name}: this device has no float64")
        return Away(x)

    return tree_map_only(torch.Tensor, sent, out) if there else out


class Rules(TorchDispatchMode):
    """Makes tensors that are asked for on the device, and holds them to its rules."""

    def __init__(self, double):
        super().__init__()
        self.double = double

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {}, double=self.double)


@contextmanager
def fake_device(*, double):
    """With the device there, and its name."""
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) goes through the mode
    try:
        with Rules(double):
            yield NAME
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)
