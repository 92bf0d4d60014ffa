"""On a device without float64, as Apple's are: the device tests hold on the fake one as well."""

import pytest
import torch
from device_models import FEW, MODELS, gaussian, network
from fake_device import fake_device
from test_device import (  # noqa: F401  collected here again, with the device below
    test_a_gaussian_is_known_in_closed_form,
    test_chains_are_those_of_a_cpu,
    test_digits_are_chosen_where_they_are,
    test_exact_draws_are_those_of_a_cpu,
    test_labels_and_images_may_lie_anywhere,
    test_lemma_2,
    test_lemma_3,
    test_predictions_are_those_of_a_cpu,
    test_samples_of_a_distribution_may_lie_anywhere,
    test_solve_on_a_pool,
)
from test_device_pipelines import (  # noqa: F401
    here,
    runs,
    test_a_student_trains_as_on_a_cpu,
    test_latents_and_pictures_are_those_of_a_cpu,
    test_the_tiny_pipeline_can_be_trained_there,
    there,
)
from test_device_training import (  # noqa: F401
    test_a_model_on_the_cpu_trains_after_one_elsewhere,
    test_a_seed_gives_the_same_run_as_on_a_cpu,
    test_a_stopped_run_goes_on_bit_for_bit,
    test_fit_takes_samples_wherever_they_are,
    test_students_side_by_side_are_what_each_is_alone,
    test_the_student_is_evaluated_there,
    test_what_a_user_gives_may_lie_anywhere,
)

from unlearnlab.diffusion import precision


@pytest.fixture(scope="module")
def device():
    with pytest.MonkeyPatch.context() as patch, fake_device(double=False) as name:
        patch.setattr(precision, "WITHOUT_FLOAT64", {*precision.WITHOUT_FLOAT64, name})
        yield name


WAYS = {
    "double": lambda x: x.double(),
    "to(dtype)": lambda x: x.to(torch.float64),
    "to(tensor)": lambda x: torch.ones(2, dtype=torch.float64).to(x),
    "made there": lambda x: torch.zeros(2, dtype=torch.float64, device=x.device),
    "from numbers": lambda x: torch.tensor([1.0], dtype=torch.float64, device=x.device),
    "sent there": lambda x: torch.ones(2, dtype=torch.float64).to(x.device),
    "by a sum": lambda x: x.sum(dtype=torch.float64),
}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "to(tensor)"])
def test_float64_is_refused(way, device):
    with pytest.raises(TypeError, match="no float64"):
        WAYS[way](torch.ones(2, device=device))
    assert WAYS["to(tensor)"](torch.ones(2, device=device)).dtype == torch.float32
    assert torch.ones(2, device=device).cpu().double().dtype == torch.float64


def test_other_devices_are_refused(device):
    x = torch.ones(2, device=device)
    with pytest.raises(RuntimeError, match="one device"):
        x + torch.ones(2)
    with pytest.raises((RuntimeError, TypeError), match="numpy"):
        x.numpy()
    assert (x * torch.tensor(2.0)).tolist() == [2.0, 2.0]  # a number has no device


def test_what_forgets_about_it_fails(device, monkeypatch):
    """Taken for a device with float64, nothing works: these tests would see it."""
    monkeypatch.setattr(precision, "WITHOUT_FLOAT64", set())
    with pytest.raises(TypeError, match="no float64"):
        gaussian(0.0, device)
    for name in ("network", "data"):
        with pytest.raises(TypeError, match="no float64"):
            MODELS[name](device).sample(4, sampler="ddim", steps=2)
    with pytest.raises(TypeError, match="no float64"):
        network(device).fit(FEW.repeat(9, 1), steps=1, progress=False)


def test_real_devices():
    assert precision.widest(torch.device("cuda")) == torch.float64
    assert precision.widest(torch.device("mps")) == torch.float32
    assert precision.widest(torch.device("cpu")) == torch.float64
