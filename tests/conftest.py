"""Options and fixtures that several test files share."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="of the tests marked `device`")


def pytest_configure(config):
    config.addinivalue_line("markers", "device: means something on an accelerator: see --device")


@pytest.fixture(scope="session")
def device(request):
    """Where device tests put their models: --device, or "lazy" for that of `fake_device`."""
    import torch
    from fake_device import NAME, fake_device

    name = request.config.getoption("device")
    if name == NAME:
        with fake_device(double=True):
            yield name
        return
    # Convolutions in TF32 would differ from the CPU's in the third digit.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield name


@pytest.fixture(scope="session")
def untrained_folder(tmp_path_factory):
    """A pipeline of the tiny one's size as diffusers writes it."""
    from unlearnlab.stable_diffusion.tiny import untrained

    path = tmp_path_factory.mktemp("pipeline")
    untrained().save_pretrained(path)
    return path
