"""sophia beside pytorch_optimizer and optax, handed the same Hessian estimates."""

from __future__ import annotations

import numpy as np
from refopt.core.rng import generator, normal, rademacher

from tests.parity.case import Arrays, Case
from tests.parity.peers.second_order import PERIOD, Quartic, _ours, _start
from tests.streams import schedule

STEPS = 40


def _kozistr(seed: int) -> Arrays:
    import torch
    from pytorch_optimizer import SophiaH

    problem, rows = Quartic(seed), []
    p = torch.nn.Parameter(torch.tensor(_start(seed)))
    o = SophiaH([p], lr=0.5, betas=(0.8, 0.6), p=0.1, eps=0.3, weight_decay=0.1, update_period=PERIOD)
    for t in range(1, STEPS + 1):
        x = p.detach().numpy().copy()
        o.param_groups[0]["lr"] = 0.5 * schedule(t)
        p.grad = torch.tensor(problem.grad(x))
        hessian = None
        if (t - 1) % PERIOD == 0:
            z = normal(generator(seed, "method", t), x)
            hessian = [torch.tensor(z * problem.hvp(x, z))]
        o.step(hessian=hessian)
        rows.append(p.detach().numpy().copy())
    return {"x": np.stack(rows)}


def _optax(seed: int) -> Arrays:
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import optax

    problem, rows = Quartic(seed), []
    handed = optax.GradientTransformationExtraArgs(
        lambda params: (), lambda updates, state, params=None, *, estimate, **_: (estimate, state)
    )
    o = optax.contrib.sophia(
        lambda n: 0.1 * schedule(n + 1), b1=0.8, b2=0.6, eps=0.1, gamma=0.5, weight_decay=0.1,
        update_interval=PERIOD, hessian_diagonal_fn=handed,
    )  # fmt: skip
    x = _start(seed)
    state = o.init(jnp.asarray(x))
    for t in range(1, STEPS + 1):
        z = rademacher(generator(seed, "method", t), x)
        step, state = o.update(
            jnp.asarray(problem.grad(x)), state, jnp.asarray(x), estimate=jnp.asarray(z * problem.hvp(x, z))
        )
        x = x + np.asarray(step)
        rows.append(x)
    return {"x": np.stack(rows)}


CASES = [
    Case(
        "sophia", "kozistr", "pytorch-optimizer",
        lambda seed: _ours(
            "sophia", seed, STEPS, dialect="kozistr", lr=0.5, beta1=0.8, beta2=0.6, limit=0.1, eps=0.3,
            weight_decay=0.1, update_every=PERIOD, schedule=schedule,
        ),
        _kozistr,
        says="pytorch_optimizer.SophiaH handed the same z * Hz, 40 steps with decay and a period of 3, to 1e-12.",
    ),
    Case(
        "sophia", "optax", "optax",
        lambda seed: _ours(
            "sophia", seed, STEPS, dialect="optax", lr=0.1, beta1=0.8, beta2=0.6, eps=0.1, gamma=0.5,
            weight_decay=0.1, update_every=PERIOD, schedule=schedule,
        ),
        _optax,
        says="optax.contrib.sophia handed the same z * Hz, 40 steps with decay and a period of 3, to 1e-12.",
    ),
]  # fmt: skip
