"""Matrix functions beside optax, POT, pytorch_optimizer, torch and the authors' repositories."""

from __future__ import annotations

import numpy as np
import refopt
from refopt.core.registry import entry

from tests.parity.case import Arrays, Case


def _polar_inputs(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "wide": rng.standard_normal((4, 7)),
        "tall": rng.standard_normal((9, 3)),
        "square": np.diag([3.0, 0.1]),
    }


def _polar_ours(seed: int) -> Arrays:
    polar = refopt.get("polar-newton-schulz")
    return {k: polar(v, steps=5, eps=1e-8) for k, v in _polar_inputs(seed).items()}


def _polar_optax(seed: int) -> Arrays:
    import jax
    from optax.contrib._muon import orthogonalize_via_newton_schulz

    with jax.enable_x64(True):
        coefficients = jax.numpy.asarray((3.4445, -4.7750, 2.0315), dtype="float64")
        return {
            k: np.asarray(orthogonalize_via_newton_schulz(jax.numpy.asarray(v), coefficients, 5, eps=1e-8))
            for k, v in _polar_inputs(seed).items()
        }


def _schedules_ours(seed: int) -> Arrays:
    polar = refopt.get("polar-newton-schulz")
    return {
        f"{k}-{name}": polar(v, steps, name, eps_rule="clamp")
        for k, v in _polar_inputs(seed).items()
        for name, steps in (("jordan", 5), ("leloykun", 7))
    }


def _schedules_pytorch_optimizer(seed: int) -> Arrays:
    import torch
    from pytorch_optimizer.optimizer.utils.matrix import zero_power_via_newton_schulz_5

    return {
        f"{k}-{ours}": zero_power_via_newton_schulz_5(
            torch.tensor(v), steps, weights=theirs, dtype=torch.float64
        ).numpy()
        for k, v in _polar_inputs(seed).items()
        for ours, theirs, steps in (("jordan", "original", 5), ("leloykun", "quintic", 7))
    }


def _clamped_inputs(seed: int) -> Arrays:
    """Below eps in norm too, where clamping and adding differ."""
    found = _polar_inputs(seed)
    return found | {"tiny": 1e-8 * found["wide"], "small": 1e-6 * found["tall"], "zero": np.zeros((2, 3))}


def _clamped_ours(seed: int) -> Arrays:
    settings = entry("polar-newton-schulz").dialects["torch"].settings
    return {k: refopt.get("polar-newton-schulz")(v, **settings) for k, v in _clamped_inputs(seed).items()}


def _clamped_torch(seed: int) -> Arrays:
    """torch's own loop with its cast to bfloat16 taken out."""
    import torch
    from torch.optim._muon import _zeropower_via_newtonschulz

    cast = torch.Tensor.bfloat16
    torch.Tensor.bfloat16 = torch.Tensor.clone
    try:
        return {
            k: _zeropower_via_newtonschulz(torch.tensor(v), (3.4445, -4.7750, 2.0315), 5, 1e-7).numpy()
            for k, v in _clamped_inputs(seed).items()
        }
    finally:
        torch.Tensor.bfloat16 = cast


SONG = "KingJamesSong/FastDifferentiableMatSqrt@5506d70"


def spd_stack(seed: int, count: int = 3, n: int = 6) -> np.ndarray:
    """Well-conditioned covariance matrices."""
    X = np.random.default_rng(seed).standard_normal((count, n, 3 * n))
    return X @ X.swapaxes(-1, -2) / (3 * n)


def _cotangent(seed: int) -> np.ndarray:
    return np.random.default_rng(seed + 100).standard_normal((3, 6, 6))


def _taylor_ours(seed: int) -> Arrays:
    return {"root": refopt.get("sqrtm-taylor")(spd_stack(seed), 10)}


def _pade_ours(seed: int) -> Arrays:
    from refopt.matrix.taylor_pade import sqrtm_pade, sqrtm_pade_vjp

    A = spd_stack(seed)
    return {"root": sqrtm_pade(A), "gradient": sqrtm_pade_vjp(A, _cotangent(seed), steps=8)}


def _inverse_pade_ours(seed: int) -> Arrays:
    from refopt.matrix.taylor_pade import invsqrtm_pade, invsqrtm_pade_vjp

    A = spd_stack(seed)
    gradient = invsqrtm_pade_vjp(A, _cotangent(seed), steps=8, scale="batch")
    return {"root": invsqrtm_pade(A), "gradient": gradient}


def _coupled_ours(seed: int) -> Arrays:
    from refopt.matrix.newton_schulz import sqrtm_newton_schulz_vjp

    A, C = spd_stack(seed), _cotangent(seed)
    C = C + C.swapaxes(-1, -2)
    settings = dict(entry("sqrtm-newton-schulz").dialects["official"].settings)
    out = {"root": refopt.get("sqrtm-newton-schulz")(A, **settings)}
    for steps in (2, 3, 7):
        at = {**settings, "steps": steps}
        out[f"root{steps}"] = refopt.get("sqrtm-newton-schulz")(A, **at)
        out[f"gradient{steps}"] = sqrtm_newton_schulz_vjp(A, C, **at)
    return out


def _eigh_ours(seed: int) -> Arrays:
    return {"root": refopt.get("sqrtm-eigh")(spd_stack(seed))}


def _eigh_pot(seed: int) -> Arrays:
    from ot.backend import NumpyBackend

    return {"root": np.stack([NumpyBackend().sqrtm(a) for a in spd_stack(seed)])}


def _root_ours(seed: int) -> Arrays:
    root = refopt.get("inverse-pth-root")
    return {f"p{p}": root(spd_stack(seed)[0], p, tol=1e-10) for p in (1, 2, 3, 4)}


def _root_pytorch_optimizer(seed: int) -> Arrays:
    import torch
    from pytorch_optimizer.optimizer.utils.matrix import compute_power_schur_newton

    A = torch.tensor(spd_stack(seed)[0])
    return {
        f"p{p}": compute_power_schur_newton(A, p, error_tolerance=1e-10, ridge_epsilon=0.0).numpy()
        for p in (1, 2, 3, 4)
    }


def shampoo_statistics(seed: int) -> Arrays:
    """Definite, rank deficient (a few gradients) and tiny matrices, as Shampoo meets them."""
    G = np.random.default_rng(seed).standard_normal((6, 3))
    definite = spd_stack(seed)[0]
    return {"definite": definite, "deficient": G @ G.T, "tiny": 1e-9 * definite}


def _shampoo_ours(seed: int) -> Arrays:
    settings = entry("inverse-pth-root").dialects["precondition"].settings
    return {
        f"{name}-p{p}": refopt.get("inverse-pth-root")(A, p, **settings)
        for name, A in shampoo_statistics(seed).items()
        for p in (2, 4, 6)
    }


def _meta_ours(method: str, names: tuple[str, ...]):
    settings = entry("inverse-pth-root").dialects[method].settings

    def run(seed: int) -> Arrays:
        root = refopt.get("inverse-pth-root")
        found = shampoo_statistics(seed)
        return {f"{name}-p{p}": root(found[name], p, **settings) for name in names for p in (1, 2, 4, 6)}

    return run


def _anil_ours(seed: int) -> Arrays:
    settings = entry("inverse-pth-root").dialects["official"].settings
    return {
        f"{name}-p{p}": refopt.get("inverse-pth-root")(A, p, **settings)
        for name, A in shampoo_statistics(seed).items()
        for p in (2, 4, 6)
    }


def batch_norm_inputs(seed: int) -> list[tuple[str, float, float, Arrays]]:
    """Name, theta, scale and matrices: close together, and so spread that the maps fold."""
    found = []
    kinds = (("plain", 1.0, 0.4, 0.3), ("power", 0.5, 0.4, 0.3), ("folded", 1.0, 3.0, 0.9))
    for name, theta, scale, spread in kinds:
        X, W, M = (spd_stack(seed + k, count, 4) for k, count in enumerate((6, 1, 1)))
        eye = np.eye(4)
        parts = {"X": spread * X + (1 - spread) * eye, "W": W[0] + eye, "M": M[0] + eye / 2}
        found.append((name, theta, scale, parts))
    return found


def _batch_norm_ours(seed: int) -> Arrays:
    from refopt.matrix.spd_batchnorm import BuresBatchNorm

    out = {}
    for name, theta, scale, parts in batch_norm_inputs(seed):
        X, W, M = parts["X"], parts["W"], parts["M"]
        norm = BuresBatchNorm(theta=theta, mean_steps=1, variance_about="identity", fold=True)
        out[f"{name}-train"], running = norm.train(X, W, norm.init(W), scale=scale, M=M)
        out[f"{name}-evaluate"] = norm.evaluate(X, W, running, scale=scale, M=M)
        out[f"{name}-mean"], out[f"{name}-variance"] = running.mean, np.asarray(running.variance)
    return out


def svt_inputs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    low_rank = rng.uniform(-1, 1, (12, 2)) @ rng.uniform(-1, 1, (2, 9)) / 2
    return low_rank + 0.1 * rng.standard_normal((12, 9)), rng.random((12, 9)) < 0.6


def _svt_ours(seed: int) -> Arrays:
    Z, mask = svt_inputs(seed)
    return {"estimate": refopt.get("svt")(Z, mask, rule="sampling", variance=0.1)}


def regression_inputs(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((8, 5))


def _newton_ours(seed: int) -> Arrays:
    X = regression_inputs(seed)
    settings = dict(entry("inverse-newton").dialects["official"].settings)
    out = {"default": refopt.get("inverse-newton")(X.T @ X, **settings)}
    for steps in (1, 6, 12):
        out[f"steps{steps}"] = refopt.get("inverse-newton")(X.T @ X, **{**settings, "steps": steps})
    return out


HADAMARD_ORDERS = (1, 2, 8, 12, 20, 24, 28, 36)


def features(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((20, 12)) * np.geomspace(3, 0.1, 12) @ rng.standard_normal((12, 12)) + 1.0


def _hadamard_ours(seed: int) -> Arrays:
    from refopt.matrix.hadamard import hadamard_matrix

    out = {f"order{n}": hadamard_matrix(n).astype(np.int8) for n in HADAMARD_ORDERS}
    # Undoing the rotation leaves the principal components, whose signs are the eigensolver's.
    rows = refopt.get("hadamard-standardize")(features(seed))
    return out | {"components": np.abs(rows @ out["order12"]) / np.sqrt(12)}


LIP4CONV = "blaisedelattre/lip4conv@7d11545"


def norm_inputs(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "tall": rng.standard_normal((7, 4)), "wide": rng.standard_normal((3, 6)),
        "kernel": rng.standard_normal((3, 2, 3, 3)), "wide-kernel": rng.standard_normal((2, 4, 3, 3)),
    }  # fmt: skip


def _gram_ours(seed: int) -> Arrays:
    gram, inputs = refopt.get("spectral-norm-gram"), norm_inputs(seed)
    return {k: np.array([gram(inputs[k], steps) for steps in range(1, 9)]) for k in ("tall", "wide")}


def _conv_ours(seed: int) -> Arrays:
    bound, inputs = refopt.get("conv-spectral-norm-gram"), norm_inputs(seed)
    steps = range(1, 7)
    return {
        f"{k}-{padding}": np.array([bound(inputs[k], 8, s, padding=padding) for s in steps])
        for k in ("kernel", "wide-kernel")
        for padding in ("circular", "zero")
    }


def _power_ours(seed: int) -> Arrays:
    A = norm_inputs(seed)["tall"]
    sigma = refopt.get("spectral-norm-power")(A, 16, start=np.ones(4) / 2, eps=1e-12)
    return {"normalised": A / sigma}


def _power_torch(seed: int) -> Arrays:
    import torch
    from torch.nn.utils.parametrizations import _SpectralNorm

    A = torch.tensor(norm_inputs(seed)["tall"])
    layer = _SpectralNorm(A, eps=1e-12)
    layer._v = torch.full((4,), 0.5, dtype=torch.float64)
    layer._power_method(A, 15)
    return {"normalised": layer(A).numpy()}


def _bures_ours(seed: int) -> Arrays:
    A, B = spd_stack(seed, 4), spd_stack(seed + 1, 4)
    return {"distance": refopt.get("bures-wasserstein-distance")(A, B)}


def _bures_pot(seed: int) -> Arrays:
    from ot.gaussian import bures_distance

    pairs = zip(spd_stack(seed, 4), spd_stack(seed + 1, 4))
    return {"distance": np.array([bures_distance(a, b) for a, b in pairs])}


_WEIGHTS = np.array([0.5, 0.3, 0.2])


def _mean_ours(seed: int) -> Arrays:
    mean, C = refopt.get("bures-wasserstein-mean"), spd_stack(seed)
    return {f"step{k}": mean(C, _WEIGHTS, steps=k, iteration="pot") for k in range(1, 13)}


def _mean_pot(seed: int) -> Arrays:
    import contextlib
    import io

    from ot.gaussian import bures_barycenter_fixpoint

    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has not converged
        return {
            f"step{k}": bures_barycenter_fixpoint(spd_stack(seed), _WEIGHTS, num_iter=k, eps=0.0)
            for k in range(1, 13)
        }


def _exp_ours(seed: int) -> Arrays:
    return {"exponential": refopt.get("spd-exp")(spd_stack(seed) - 2 * spd_stack(seed + 1))}


def _exp_torch(seed: int) -> Arrays:
    import torch

    return {"exponential": torch.matrix_exp(torch.tensor(spd_stack(seed) - 2 * spd_stack(seed + 1))).numpy()}


META = "facebookresearch/optimizers@f606606"

CASES = [
    Case(
        "polar-newton-schulz",
        "optax",
        "optax",
        _polar_ours,
        _polar_optax,
        says="optax's orthogonalization in float64, five steps, to 1e-12 of the largest entry.",
    ),
    Case(
        "polar-newton-schulz",
        "torch",
        "torch",
        _clamped_ours,
        _clamped_torch,
        says="torch's function without its cast to bfloat16, matrices below eps too, to 1e-12.",
    ),
    Case(
        "sqrtm-newton-schulz",
        "official",
        SONG,
        _coupled_ours,
        None,
        says="The authors' layer, 2, 3, 5 and 7 steps, its backward pass too, to 1e-12.",
    ),
    Case(
        "inverse-pth-root",
        "meta-newton",
        META,
        _meta_ours("meta-newton", ("definite", "tiny")),
        None,
        says="Meta's coupled Newton root, p = 1, 2, 4, 6, to 1e-12.",
    ),
    Case(
        "inverse-pth-root",
        "meta-eigen",
        META,
        _meta_ours("meta-eigen", ("definite", "tiny")),
        None,
        says="Meta's root by eigendecomposition, p = 1, 2, 4, 6, to 1e-12.",
    ),
    Case(
        "inverse-pth-root",
        "official",
        "google-research/google-research@01aac34",
        _anil_ours,
        None,
        rtol=1e-9,
        why="eps times the condition number 1e6 that the ridge leaves, grown over 20 steps",
        says="google-research's Shampoo with its own ridge, to 1e-9.",
    ),
    Case(
        "polar-newton-schulz",
        "pytorch-optimizer",
        "pytorch_optimizer",
        _schedules_ours,
        _schedules_pytorch_optimizer,
        says="pytorch_optimizer's two schedules with the clamped norm in float64, to 1e-12.",
    ),
    Case(
        "spectral-norm-gram",
        "official",
        LIP4CONV,
        _gram_ours,
        None,
        says="The authors' gram_iteration_on_matrix for 1 to 8 steps, to 1e-12.",
    ),
    Case(
        "conv-spectral-norm-gram",
        "official",
        LIP4CONV,
        _conv_ours,
        None,
        says="The authors' circular and size-free bounds for 1 to 6 steps, to 1e-12.",
    ),
    Case(
        "spectral-norm-power",
        "torch",
        "torch",
        _power_ours,
        _power_torch,
        says="torch's spectral_norm parametrization from the same start, to 1e-12.",
    ),
    Case(
        "bures-wasserstein-distance",
        "pot",
        "POT",
        _bures_ours,
        _bures_pot,
        says="POT's bures_distance, to 1e-12.",
    ),
    Case(
        "bures-wasserstein-mean",
        "pot",
        "POT",
        _mean_ours,
        _mean_pot,
        says="POT's fixed point, every one of 12 steps, to 1e-12.",
    ),
    Case("spd-exp", "torch", "torch", _exp_ours, _exp_torch, says="torch.matrix_exp, to 1e-12."),
    Case(
        "spd-power",
        "gbwbn",
        "jjscc/GBWBN@1ec3232",
        _batch_norm_ours,
        None,
        says="The authors' batch normalisation, built on it, training and evaluation, to 1e-12.",
    ),
    Case(
        "svt",
        "official",
        "cindyyzhang/ME-IF@d7507fb",
        _svt_ours,
        None,
        says="The authors' USVT on a masked 12 x 9 matrix, to 1e-12.",
    ),
    Case(
        "inverse-newton",
        "official",
        "DeqingFu/transformers-icl-second-order@c99333c",
        _newton_ours,
        None,
        says="The authors' newton_inv after 1, 3, 6 and 12 steps, to 1e-12.",
    ),
    Case(
        "hadamard-standardize",
        "official",
        "NVlabs/RADIO@c0f3701",
        _hadamard_ours,
        None,
        says="The authors' Hadamard matrices of eight orders exactly, and their PHI-S to 1e-12.",
    ),
    Case("sqrtm-eigh", "pot", "POT", _eigh_ours, _eigh_pot, says="POT's nx.sqrtm on NumPy, to 1e-12."),
    Case(
        "sqrtm-taylor",
        "official",
        SONG,
        _taylor_ours,
        None,
        says="The authors' matrix_taylor_polynomial, to 1e-12.",
    ),
    Case(
        "sqrtm-pade",
        "official",
        SONG,
        _pade_ours,
        None,
        says="The authors' MPA_Lya, forward and (dialect official, 8 steps) backward, to 1e-12.",
        shows=("lyapunov-sign",),
    ),
    Case(
        "invsqrtm-pade",
        "official",
        SONG,
        _inverse_pade_ours,
        None,
        says="The authors' MPA_Lya_Inv, forward and (whole-batch scale) backward, to 1e-12.",
    ),
    Case(
        "inverse-pth-root",
        "precondition",
        "google-research/precondition@239a8cd",
        _shampoo_ours,
        None,
        rtol=1e-9,
        why="eps times the condition number 1e6 that the ridge leaves, grown over 20 steps",
        says="google-research/precondition's own root, its ridge included, to 1e-9.",
    ),
    Case(
        "inverse-pth-root",
        "pytorch-optimizer",
        "pytorch_optimizer",
        _root_ours,
        _root_pytorch_optimizer,
        says="pytorch_optimizer's compute_power_schur_newton in float64, to 1e-12.",
    ),
]
