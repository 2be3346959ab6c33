"""Relatives of Adam and AdaGrad beside torch, optax, pytorch_optimizer and their authors' code."""

from __future__ import annotations

import importlib
from typing import Any

from tests.parity.case import Case
from tests.parity.libraries import run_optax, run_torch
from tests.streams import run_refopt, schedule

KINDS = ("random", "ill")


def torch_run(
    cls: str, module: str = "torch.optim", multiplier: Any = schedule, kinds: Any = KINDS, **kwargs: Any
) -> Any:
    def make(parameters: list[Any]) -> Any:
        return getattr(importlib.import_module(module), cls)(parameters, **kwargs)

    return lambda seed: run_torch(make, seed, multiplier, kinds=kinds)


def optax_run(cls: str, lr: float = 0.03, module: str = "", kinds: Any = KINDS, **kwargs: Any) -> Any:
    def make(optax: Any) -> Any:
        home = importlib.import_module(f"optax.{module}") if module else optax
        return getattr(home, cls)(lambda n: lr * schedule(n + 1), **kwargs)

    return lambda seed: run_optax(make, seed, kinds=kinds)


def optax_madgrad(seed: int) -> Any:
    """optax's MADGRAD with its step count in int64: JAX takes the root of an int32 in float32."""

    def make(optax: Any) -> Any:
        import jax

        inside = optax.contrib.madgrad(
            lambda n: 0.03 * schedule(n + 1), momentum=0.8, eps=1e-2, weight_decay=0.1
        )
        return optax.GradientTransformation(
            lambda p: jax.tree.map(lambda a: a.astype("int64") if a.dtype == "int32" else a, inside.init(p)),
            inside.update,
        )

    return run_optax(make, seed, kinds=KINDS)


def ours(name: str, kinds: Any = KINDS, multiplier: Any = schedule, **kwargs: Any) -> Any:
    return lambda seed: run_refopt(name, seed, kinds=kinds, schedule=multiplier, **kwargs)


def in_float64(run: Any) -> Any:
    """Run with torch's default dtype float64: NAdam keeps the product of its momenta in that."""

    def inside(seed: int) -> Any:
        import torch

        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return run(seed)
        finally:
            torch.set_default_dtype(before)

    return inside


BOUND = {"lr": 0.03, "final_lr": 0.02, "gamma": 0.05, "beta1": 0.8, "beta2": 0.6, "eps": 1e-2}


def fadam_kozistr(seed: int) -> Any:
    """FAdam with both of its states in float64."""
    import torch

    run = torch_run(
        "FAdam", "pytorch_optimizer", kinds=("random", "small"), lr=0.03, betas=(0.8, 0.6), clip=0.7, p=0.6,
        eps=1e-2, eps_2=0.5, momentum_dtype=torch.float64, fim_dtype=torch.float64,
    )  # fmt: skip
    return run(seed)


ADAN = {"lr": 0.03, "beta1": 0.8, "beta2": 0.7, "beta3": 0.6, "eps": 1e-2, "weight_decay": 0.1}
MIX = {"lr": 0.03, "beta1": 0.8, "beta2": 0.6, "beta3": 0.97, "eps": 1e-2, "weight_decay": 0.1}

CASES = [
    Case(
        "adagrad", "torch", "torch",
        ours("adagrad", dialect="torch", lr=0.3, eps=1e-2, rate_decay=0.01, initial=0.2, weight_decay=0.1),
        torch_run("Adagrad", lr=0.3, eps=1e-2, lr_decay=0.01, initial_accumulator_value=0.2, weight_decay=0.1),
        says="torch.optim.Adagrad with lr_decay, start 0.2, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "adagrad", "optax", "optax",
        ours("adagrad", dialect="optax", lr=0.3, eps=1e-2),
        optax_run("adagrad", lr=0.3, eps=1e-2),
        says="optax.adagrad with a large eps under a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "adadelta", "torch", "torch",
        ours("adadelta", dialect="torch", lr=0.7, rho=0.6, eps=1e-2, weight_decay=0.1),
        torch_run("Adadelta", lr=0.7, rho=0.6, eps=1e-2, weight_decay=0.1),
        says="torch.optim.Adadelta with low rho, large eps, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "adadelta", "optax", "optax",
        ours("adadelta", dialect="optax", lr=0.7, rho=0.6, eps=1e-2, weight_decay=0.1),
        optax_run("adadelta", lr=0.7, rho=0.6, eps=1e-2, weight_decay=0.1),
        says="optax.adadelta with low rho, large eps and decay under a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "rmsprop", "torch", "torch",
        ours("rmsprop", dialect="torch", lr=0.03, beta2=0.6, eps=1e-2, momentum=0.7, centered=True, weight_decay=0.1),
        torch_run("RMSprop", lr=0.03, alpha=0.6, eps=1e-2, momentum=0.7, centered=True, weight_decay=0.1),
        says="torch.optim.RMSprop, centered, with momentum, large eps, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "rmsprop", "optax", "optax",
        ours("rmsprop", dialect="optax", lr=0.03, beta2=0.6, eps=1e-2, initial=0.3, momentum=0.7, nesterov=True,
             bias_correction=True),
        optax_run("rmsprop", decay=0.6, eps=1e-2, initial_scale=0.3, momentum=0.7, nesterov=True, bias_correction=True),
        says="optax.rmsprop with Nesterov momentum, bias correction and a start of 0.3, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "rmsprop", "optax-centered", "optax",
        ours("rmsprop", dialect="optax", lr=0.03, beta2=0.6, eps=1e-2, centered=True, bias_correction=True, kinds=("random",)),
        optax_run("rmsprop", decay=0.6, eps=1e-2, centered=True, bias_correction=True, kinds=("random",)),
        says="optax.rmsprop centered with bias correction and a large eps, 200 steps on the random stream, to 1e-12.",
    ),
    Case(
        "nadam", "torch", "torch",
        ours("nadam", dialect="torch", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, momentum_decay=0.02, weight_decay=0.1),
        in_float64(torch_run("NAdam", lr=0.03, betas=(0.8, 0.6), eps=1e-2, momentum_decay=0.02, weight_decay=0.1)),
        says="torch.optim.NAdam with low betas, large eps, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "nadam", "optax", "optax",
        ours("nadam", dialect="optax", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2),
        optax_run("nadam", b1=0.8, b2=0.6, eps=1e-2),
        says="optax.nadam with low betas and large eps under a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "amsgrad", "torch", "torch",
        ours("amsgrad", dialect="torch", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1),
        torch_run("Adam", lr=0.03, betas=(0.8, 0.6), eps=1e-2, weight_decay=0.1, amsgrad=True),
        says="torch.optim.Adam(amsgrad=True) with low beta2, large eps, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "amsgrad", "optax", "optax",
        ours("amsgrad", dialect="optax", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2),
        optax_run("amsgrad", b1=0.8, b2=0.6, eps=1e-2),
        says="optax.amsgrad with low beta2 and large eps under a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "amsgrad", "overview", "optax",
        ours("amsgrad", dialect="overview", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2),
        optax_run("amsgrad", b1=0.8, b2=0.6, eps=1e-2, bias_correction_mu=False, bias_correction_nu=False),
        says="optax.amsgrad without bias corrections, which is the overview's rule (the paper's with an eps and a constant rate), 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "adabound", "official", "Luolc/AdaBound@2e928c3",
        ours("adabound", dialect="official", **BOUND, weight_decay=0.1), None,
        says="The authors' AdaBound with low beta2, large eps, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "amsbound", "official", "Luolc/AdaBound@2e928c3",
        ours("amsbound", dialect="official", **BOUND, weight_decay=0.1), None,
        says="The authors' AdaBound(amsbound=True) with low beta2, large eps, decay and a schedule, 200 steps, to 1e-12.",
    ),
    Case(
        "madgrad", "official", "facebookresearch/madgrad@0d858b9",
        ours("madgrad", dialect="official", lr=0.03, momentum=0.8, eps=1e-2, weight_decay=0.1), None,
        says="The authors' MADGRAD with coupled decay under a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "madgrad", "official-decoupled", "facebookresearch/madgrad@0d858b9",
        ours("madgrad", dialect="official", lr=0.03, momentum=0.0, eps=1e-2, weight_decay=0.1, decay="decoupled"),
        None,
        says="The authors' MADGRAD without momentum, with decoupled decay, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "madgrad", "kozistr", "pytorch-optimizer",
        ours("madgrad", dialect="official", lr=0.03, momentum=0.8, eps=1e-2, weight_decay=0.1, decay="decoupled"),
        torch_run("MADGRAD", "pytorch_optimizer", lr=0.03, momentum=0.8, eps=1e-2, weight_decay=0.1,
                  weight_decouple=True),
        says="pytorch_optimizer.MADGRAD with momentum and decoupled decay, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "madgrad", "optax", "optax",
        ours("madgrad", dialect="optax", lr=0.03, momentum=0.8, eps=1e-2, weight_decay=0.1),
        optax_madgrad,
        says="optax.contrib.madgrad with an int64 step count, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "novograd", "optax", "optax",
        ours("novograd", dialect="optax", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1),
        optax_run("novograd", b1=0.8, b2=0.6, eps=1e-2, weight_decay=0.1),
        says="optax.novograd with large eps, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "novograd", "kozistr", "pytorch-optimizer",
        ours("novograd", dialect="kozistr", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1,
             grad_averaging=True),
        torch_run("NovoGrad", "pytorch_optimizer", lr=0.03, betas=(0.8, 0.6), eps=1e-2, weight_decay=0.1,
                  grad_averaging=True),
        says="pytorch_optimizer.NovoGrad with averaged gradients, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "diffgrad", "official", "shivram1987/diffGrad@73233ba",
        ours("diffgrad", dialect="official", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1), None,
        says="The authors' diffGrad_v2 with low beta2, large eps, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "diffgrad", "kozistr", "pytorch-optimizer",
        ours("diffgrad", dialect="kozistr", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1),
        torch_run("DiffGrad", "pytorch_optimizer", lr=0.03, betas=(0.8, 0.6), eps=1e-2, weight_decay=0.1),
        says="pytorch_optimizer.DiffGrad with decoupled decay under a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "adan", "official", "sail-sg/Adan@2c65bea",
        ours("adan", dialect="official", **ADAN), None,
        says="The authors' Adan with low betas, large eps, proximal decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "adan", "official-clipped", "sail-sg/Adan@2c65bea",
        ours("adan", dialect="official", decay="decoupled", max_grad_norm=7.0, **ADAN), None,
        says="The authors' Adan(max_grad_norm, no_prox), which clips 6 % of the steps of one stream and all of the other, 200 steps each, to 1e-12.",
    ),
    Case(
        "adan", "kozistr", "pytorch-optimizer",
        ours("adan", dialect="no-prox", **ADAN),
        torch_run("Adan", "pytorch_optimizer", lr=0.03, betas=(0.8, 0.7, 0.6), eps=1e-2, weight_decay=0.1,
                  weight_decouple=True),
        says="pytorch_optimizer.Adan with decoupled decay under a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "ademamix", "official", "apple/ml-ademamix@c3d73c0",
        ours("ademamix", dialect="official", alpha_steps=120, beta3_steps=90, **MIX), None,
        says="The authors' torch AdEMAMix with both warm-ups, low betas, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "ademamix", "kozistr", "pytorch-optimizer",
        ours("ademamix", dialect="kozistr", alpha_steps=120, beta3_steps=120, **MIX),
        torch_run("AdEMAMix", "pytorch_optimizer", lr=0.03, betas=(0.8, 0.6, 0.97), eps=1e-2, weight_decay=0.1,
                  t_alpha_beta3=120),
        says="pytorch_optimizer.AdEMAMix with both warm-ups, coupled decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "ademamix", "optax", "optax",
        ours("ademamix", dialect="optax", **MIX),
        optax_run("ademamix", module="contrib", b1=0.8, b2=0.6, b3=0.97, eps=1e-2, weight_decay=0.1),
        says="optax.contrib.ademamix with constant alpha and beta3, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "adamp", "official", "clovaai/AdamP@7f6f038",
        ours("adamp", dialect="official", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, delta=1.0, weight_decay=0.1),
        None,
        says="The authors' AdamP with low betas, large delta, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "adamp", "kozistr", "pytorch-optimizer",
        ours("adamp", dialect="kozistr", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, delta=1.0, weight_decay=0.1,
             nesterov=True),
        torch_run("AdamP", "pytorch_optimizer", lr=0.03, betas=(0.8, 0.6), eps=1e-2, delta=1.0, weight_decay=0.1,
                  nesterov=True),
        says="pytorch_optimizer.AdamP with Nesterov's step, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "sgdp", "official", "clovaai/AdamP@7f6f038",
        ours("sgdp", dialect="official", lr=0.03, momentum=0.8, dampening=0.3, eps=1e-2, delta=1.0, weight_decay=0.1),
        None,
        says="The authors' SGDP with dampening, large delta, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "sgdp", "kozistr", "pytorch-optimizer",
        ours("sgdp", lr=0.03, momentum=0.8, dampening=0.3, eps=1e-2, delta=1.0, weight_decay=0.1, nesterov=True),
        torch_run("SGDP", "pytorch_optimizer", lr=0.03, momentum=0.8, dampening=0.3, eps=1e-2, delta=1.0, weight_decay=0.1,
                  nesterov=True),
        says="pytorch_optimizer.SGDP with Nesterov's step, dampening, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "fadam", "kozistr", "pytorch-optimizer",
        ours("fadam", ("random", "small"), lr=0.03, beta1=0.8, beta2=0.6, clip=0.7, power=0.6, eps=1e-2,
             eps_gradient=0.5),
        fadam_kozistr,
        says="pytorch_optimizer.FAdam in float64 with low betas, clip 0.7, decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "fadam", "port", "lessw2020/FAdam_PyTorch@c32faab",
        ours("fadam", dialect="port", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2), None,
        says="lessw2020/FAdam_PyTorch, its step count in float64, with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "gravity", "official", "dariush-bahrami/gravity.optimizer@9c12068",
        ours("gravity", lr=0.03, alpha=0.0), None,
        says="The authors' torch Gravity with alpha = 0 under a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "gravity", "official-keras", "dariush-bahrami/gravity.optimizer@9c12068",
        ours("gravity", dialect="official-keras", lr=0.03, alpha=0.0, beta=0.8), None,
        says="The update of the authors' Keras file, over NumPy in place of TensorFlow's operations, with alpha = 0 under a schedule, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "gravity", "kozistr", "pytorch-optimizer",
        ours("gravity", dialect="kozistr", alpha=0.0, beta=0.5),
        torch_run("Gravity", "pytorch_optimizer", alpha=0.0, beta=0.5),
        says="pytorch_optimizer.Gravity with alpha = 0 and low beta under a schedule, 200 steps on two streams, to 1e-12.",
    ),
]  # fmt: skip
