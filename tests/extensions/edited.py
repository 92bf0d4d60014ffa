"""A closed-form edit of cross-attention: what a concept says becomes what another one says."""

import torch

from unlearnlab.training import judge


def edit(problem, student, *, strength=1.0):
    """ΔW = (V − WC)Cᵀ(CCᵀ + I/strength)⁻¹, C the states of what is forgotten, V = WC₀ of q's.

    The least squares of ‖(W + ΔW)C − V‖² and ‖ΔW‖²/strength, for keys and values of every
    attention to the text; written into the LoRA by a singular value decomposition.
    """
    pupil = student.for_training().requires_grad_(False)
    pupil.condition(problem.retain)
    said = torch.cat(
        [pupil.source.states(one.text)["states"][0] for one in problem.forget]
    ).T.double()
    aim = torch.cat(
        [pupil.source.states(problem.retain.text)["states"][0]] * len(problem.forget)
    ).T.double()
    gram = said @ said.T + torch.eye(len(said)).to(said) / strength
    for name, layer in pupil.net.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            weight = layer.base_layer.weight.double()
            change = torch.linalg.solve(gram, ((weight @ (aim - said)) @ said.T).T).T
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            left, size, right = torch.linalg.svd(change, full_matrices=False)
            root = size[: len(a)].sqrt()
            a.data.copy_(root[:, None] * right[: len(a)])
            b.data.copy_(left[:, : len(a)] * root)
    return judge(problem, pupil)
