"""Tilt, then regress, relative to the retained model's own predictions."""

import numpy as np
import pytest
import torch
from students import SCHEDULE, Shifted, gaussian
from test_objectives import LIKE, gradient

import unlearnlab as ul
from unlearnlab.training.draws import Draws
from unlearnlab.training.objective import Denoising
from unlearnlab.training.tilt import KNOWN, Tilted

Q, Q1 = gaussian(0.0), gaussian(1.0)
POOL = 4096


def problem(threshold, retain=Q):
    return ul.Likelihood(retain, [Q1], thresholds=[threshold])


def retained_by_wrong_predictions():
    """A model whose samples and densities are Q's, and whose predictions are not."""
    wrong = ul.wrap(lambda x, t: 0.3 * Q.noise_prediction(x, t), SCHEDULE, 1)
    wrong.sample, wrong.log_density = Q.sample, Q.log_density
    return wrong


def test_its_gradient_is_that_of_denoising_with_less_noise():
    """E_q‖ε − ε̂_θ‖² − E_q‖ε̂_q − ε̂_θ‖² does not depend on θ for an exact denoiser."""
    tilted = Tilted([problem(0.2)], 256, pool=POOL)
    plain = Denoising(Q, 1, 256, tilted.samples, weights(tilted))
    for mean in (0.0, -0.7):
        ours, error = gradient(tilted, Shifted(mean), [], 60)
        theirs, wider = gradient(plain, Shifted(mean), [], 60)
        assert abs(ours - theirs) < 4 * np.hypot(error, wider)
        assert error < (0.6 if mean == 0 else 1.1) * wider
    assert abs(ours) > 8 * error  # else nothing above could fail


def weights(tilted):
    """(1, N) masses of the optimum on the pool."""
    table = torch.zeros(1, len(tilted.samples), dtype=torch.float64)
    table[:, tilted.trained.places] = tilted.trained.table
    table[:, tilted.held_out.places] = tilted.held_out.table
    return table


def test_a_student_stays_where_nothing_is_asked_for():
    """At λ = 0 the retained model is the minimiser at every sample, whatever its pool is worth."""
    wrong = retained_by_wrong_predictions()
    tilted = Tilted([problem(10.0, wrong)], 64, pool=256)
    assert tilted.start == pytest.approx(0)

    class Same(Shifted):
        def forward(self, x_t, t):
            return 0.3 * super().forward(x_t, t)

    student = Same(0.0)
    slopes = {}
    for how in (Tilted, Denoising):
        losses = how.losses(tilted, student, torch.zeros(1, 1), Draws([0], 0, part=2, like=LIKE))
        (slopes[how],) = torch.autograd.grad(next(losses).sum(), student.mean)
    assert abs(float(slopes[Tilted])) < 1e-5 < 1e-2 < abs(float(slopes[Denoising]))


class OnPool(Shifted):
    """ε̂ = 0.3ε̂_q + E_p[ε|x_t] − E_q[ε|x_t], means over a pool's samples, plus its parameter."""

    def __init__(self, tilted, start=0.0):
        super().__init__(start)
        self.x, self.log_q = tilted.known.double().flatten(), tilted.log_q
        self.ratio = tilted.ratio[0]

    def forward(self, x_t, t):
        alpha, sigma = self.schedule.at(t, x_t.double())
        q = (self.log_q - ((x_t - alpha * self.x) / sigma) ** 2 / 2).softmax(1)
        p = q * self.ratio
        of_p, of_q = (
            (mass * (x_t - alpha * self.x) / sigma).sum(1) / mass.sum(1) for mass in (p, q)
        )
        change = (of_p - of_q)[:, None].to(x_t.dtype)
        return 0.3 * Q.noise_prediction(x_t, t) + change + self.mean


def test_a_student_learns_the_change_between_the_pool_s_denoisers():
    """Whatever the retained predictions are worth, and however few samples the pool has."""
    wrong = retained_by_wrong_predictions()
    tilted = Tilted([problem(0.2, wrong)], 256, pool=64)
    assert len(tilted.known) == len(tilted.trained.places)  # all of a small pool
    slopes = {a: gradient(tilted, OnPool(tilted, a), [], 60) for a in (-0.02, 0.0, 0.02)}
    assert abs(slopes[0.0][0]) < 4 * slopes[0.0][1]
    assert slopes[-0.02][0] < -8 * slopes[-0.02][1]
    assert slopes[0.02][0] > 8 * slopes[0.02][1]


def test_a_large_pool_is_thinned_evenly():
    """Pools are Sobol sequences: every tenth sample would leave half of q out at this size."""
    known = Tilted([problem(0.2)], 16, pool=20_480).known.flatten()
    of_q = known[: len(known) // 2]  # drawn for q; the rest for q_1
    assert len(known) == KNOWN
    assert float((of_q < -0.6745).double().mean()) == pytest.approx(0.25, abs=0.05)
    assert float((of_q > 0.6745).double().mean()) == pytest.approx(0.25, abs=0.05)


def test_stacked_students_have_the_losses_of_single_ones():
    both = Tilted([problem(0.2), problem(0.1)], 16, pool=512)
    student = ul.ScoreNetwork(1, width=8)
    together = next(
        both.losses(student.stack(2), torch.zeros(2, 1), Draws([3, 4], 0, part=2, like=LIKE))
    )
    for k, threshold in enumerate((0.2, 0.1)):
        alone = Tilted([problem(threshold)], 16, pool=512)
        draws = Draws([3 + k], 0, part=2, like=LIKE)
        single = next(alone.losses(student, torch.zeros(1, 1), draws))
        assert float(together[k].detach()) == pytest.approx(float(single.detach()), rel=1e-4)


def test_samples_that_q_cannot_draw_do_no_harm():
    """q_1 is 60 standard deviations away: q's mass at half of the pool is below any double."""
    far = ul.Likelihood(Q, [gaussian(60.0)], thresholds=[0.5], statistic="ratio")
    tilted = Tilted([far], 64, pool=256)
    draws = Draws([0], 0, part=2, like=LIKE)
    assert next(tilted.losses(Shifted(0.2), torch.zeros(1, 1), draws)).isfinite().all()


def test_a_student_of_a_model_that_is_no_denoiser_is_none():
    composed = ul.ComposedModel(Q, [gaussian(-1.0, 2.0)], [0.5])
    assert not Tilted([problem(0.2, composed)], 16, pool=64).denoises
