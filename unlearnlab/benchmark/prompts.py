"""Axes of tasks on prompts: other words, guidance, and attacks by way of the text encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..diffusion import DiffusionModel, predictions
from ..diffusion.quadrature import predict
from .axes import Axis
from .judged import Judged, Score, Scores

FEWER = 0.5  # of the draws, for each further prompt
STRONG = 2.0  # guidance at drawing time
RATE, BATCH, SHOWN = 0.05, 16, 64  # of a textual inversion: learning rate, batch, pictures to learn
LONGEST = 4  # words of a searched prompt after the article
LEVELS = (300, 500, 700)  # timesteps at which a prompt is judged
FOUND = 12  # pictures that judge it


def at(student: Any, text: str, **how: Any) -> Any:
    """A student, or the pipeline itself, at another prompt."""
    return getattr(student, "prompt", student.source.prompt)(text, **how)


def _texts(judged: Judged, texts: list[str]) -> Scores:
    """How often what is to go is drawn, over several prompts together."""
    n = int(judged.task.effort.pool * FEWER)
    drawn = [
        judged.task.sampled(at(judged.student, text), n, 4000 + judged.task.seed + i)
        for i, text in enumerate(texts)
    ]
    return judged.named(torch.cat(drawn))


def paraphrases(judged: Judged) -> Scores:
    """By other words for the prompt."""
    return _texts(judged, judged.task.paraphrases())


def never_trained(judged: Judged) -> Scores:
    """By prompts that no method saw."""
    return _texts(judged, judged.task.untrained())


def other_prompts(judged: Judged) -> Scores:
    """How often other prompts show what they ask for."""
    n, found = int(judged.task.effort.pool * FEWER), {}
    for i, (text, name) in enumerate(judged.task.unrelated().items()):
        model = at(judged.student, text)
        x = judged.task.sampled(model, n, 5000 + judged.task.seed + i)
        hits = int(judged.task.every(x)[name].sum())
        found[name] = Score.rate(hits, n, 1.0)
    return found


def guidance(judged: Judged) -> Scores:
    """Under classifier-free guidance, where none was trained with."""
    task = judged.task
    model = at(judged.student, task.caption.text(), guidance=STRONG)
    return judged.named(task.sampled(model, task.effort.pool, 6000 + task.seed))


class Conditioned(DiffusionModel):
    """A student's network at states of the text encoder that belong to no text."""

    def __init__(self, student: Any, states: Tensor):
        super().__init__(student.shape, student.schedule, student.dtype, student.device)
        self.student, self.states = student, states
        self.rows = student.rows

    def noise_prediction(self, x_t: Tensor, t: Tensor) -> Tensor:
        """ε̂ at these states."""
        states = self.states.expand(len(x_t), *self.states.shape[-2:])
        family = self.student.source.family
        out = family.predict(self.student.net, x_t, t, {"states": states})
        return predictions.noise(self.student.source.prediction, out, x_t, t, self.schedule)


def inverted_text(judged: Judged, vectors: int) -> Conditioned:
    """The student at made-up words, whose vectors are learned on pictures of what is to go.

    Source: Gal et al. (2023), An image is worth one word, arXiv 2208.01618; as an attack on erased
    models: Pham et al. (2024), Circumventing concept erasure methods, arXiv 2308.01508.
    """
    task, student, source = judged.task, judged.student, judged.student.source
    encoder = source.pipeline.text_encoder
    table = encoder.get_input_embeddings()
    made_up = "a " + " ".join([task.subject] * vectors)
    tokenizer = source.pipeline.tokenizer
    padded = {"padding": "max_length", "max_length": tokenizer.model_max_length}
    tokens = tokenizer(made_up, return_tensors="pt", **padded).input_ids
    words = table.weight[tokens[0, 2]].detach().clone().repeat(vectors, 1).requires_grad_()
    pictures, generator = task.forgotten(SHOWN), torch.Generator().manual_seed(task.seed)

    def put_in(module: Any, given: Any, out: Tensor) -> Tensor:
        return torch.cat([out[:, :2], words[None].to(out), out[:, 2 + vectors :]], 1)

    optimizer = torch.optim.AdamW([words], lr=RATE, weight_decay=0.0)
    handle = table.register_forward_hook(put_in)
    try:
        for _ in range(task.effort.tuning):
            x = pictures[torch.randint(len(pictures), (BATCH,), generator=generator)]
            t = torch.randint(len(student.schedule), (BATCH,), generator=generator)
            noise = torch.randn(x.shape, generator=generator)
            model = Conditioned(student, encoder(tokens)[0])
            own = model.noise_prediction(student.schedule.noised(x, t, noise), t)
            optimizer.zero_grad()
            (own - noise).square().mean().backward(inputs=[words])
            optimizer.step()
        with torch.no_grad():
            states = encoder(tokens)[0]
    finally:
        handle.remove()
    return Conditioned(student, states)


def textual_inversion(vectors: int) -> Axis:
    """An axis: how often it comes by so many made-up words."""

    def judge(judged: Judged) -> Scores:
        task = judged.task
        model = inverted_text(judged, vectors)
        return judged.named(task.sampled(model, task.effort.pool, 7000 + task.seed))

    return Axis(judge, "prompts")


def searched(judged: Judged) -> str:
    """A prompt by which the student best predicts the noise on pictures of what is to go.

    Word by word, from those that the pipeline knows; none that names what is to go.
    """
    task, student = judged.task, judged.student
    known = [word for word in sorted(student.source.words) if word not in task.named]
    pictures = task.forgotten(FOUND)
    generator = torch.Generator().manual_seed(task.seed)
    noises = torch.randn(len(LEVELS), *pictures.shape, generator=generator)

    def error(text: str) -> float:
        model, total = at(student, text), 0.0
        for level, noise in zip(LEVELS, noises, strict=True):
            t = torch.full((len(pictures),), level)
            x_t = student.schedule.noised(pictures, t, noise)
            total += float((predict(model, x_t, t) - noise).square().mean())
        return total

    words, tried = ["a"], dict[str, float]()
    for _ in range(LONGEST):
        for word in known:
            if len(tried) >= task.effort.tuning:
                break
            text = " ".join([*words, word])
            tried[text] = error(text)
        best = min(tried, key=lambda text: tried[text])
        if best == " ".join(words):
            break
        words = best.split()
    return min(tried, key=lambda text: tried[text])


def searched_prompt(judged: Judged) -> Scores:
    """By the prompt that a search over all known words finds."""
    model = at(judged.student, searched(judged))
    return judged.named(judged.task.sampled(model, judged.task.effort.pool, 8000))


AXES: dict[str, Axis] = {
    "paraphrases": Axis(paraphrases, "prompts"),
    "prompts never trained": Axis(never_trained, "prompts"),
    "other prompts": Axis(other_prompts, "prompts"),
    "guidance": Axis(guidance, "prompts"),
    "textual inversion, 1 vector": textual_inversion(1),
    "textual inversion, 3 vectors": textual_inversion(3),
    "a searched prompt": Axis(searched_prompt, "prompts"),
}
