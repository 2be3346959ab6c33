"""The exhibits; docs/museum.md says the same in words."""

from __future__ import annotations

from tests.museum import rules
from tests.museum.exhibit import Exhibit, together
from tests.museum.rules import wrong

TENSORFLOW = "the wheel needs TensorFlow; run by the release's own module over a stand-in for it"

# Methods of norms and products are slow, and see no more on many leaves.
FEW = {"vector": (7,), "wide": (3, 5)}
MATRICES = {"wide": (3, 5), "tall": (6, 2)}

EXHIBITS = (
    Exhibit(
        id="sgdp-look-ahead-kept",
        release="pytorch-optimizer==2.7.0", fixed="pytorch-optimizer==2.8.0",
        where="kozistr/pytorch_optimizer #139",
        wrong="Nesterov's look-ahead is computed, and then projected, in the momentum buffer itself",
        method="sgdp", dialect="paper", diagnosis=("look-ahead-kept-projected",),
        right=rules.sgdp, buggy=wrong(rules.sgdp), given={"nesterov": True, "shapes": FEW},
    ),
    Exhibit(
        id="lion-one-buffer",
        release="pytorch-optimizer==2.7.0", fixed="pytorch-optimizer==2.8.0",
        where="kozistr/pytorch_optimizer #135",
        wrong="step and momentum are two names of one tensor: both averages are taken in it, then its sign",
        method="lion", dialect="paper", diagnosis=("lion-buffer-shared",),
        right=rules.lion, buggy=wrong(rules.lion, "shared"),
    ),
    Exhibit(
        id="lion-coupled-decay",
        release="bitsandbytes==0.49.2", fixed="bitsandbytes==0.50.0",
        where="bitsandbytes-foundation/bitsandbytes #1992",
        wrong="the decay is added to the gradient, inside the sign",
        method="lion", dialect="paper", diagnosis=("decay=coupled",),
        right=rules.lion, buggy=wrong(rules.lion, "coupled"),
    ),
    Exhibit(
        id="adan-root-in-place",
        release="pytorch-optimizer==2.6.1", fixed="pytorch-optimizer==2.7.0",
        where="the two releases' adan.py (`sqrt_()`), beside kozistr/pytorch_optimizer #134",
        wrong="the root of the average of squares is taken in place, so that the next step averages into it",
        method="adan", dialect="official", diagnosis=("official", "second-average-rooted-in-place"),
        right=rules.adan, buggy=wrong(rules.adan, "rooted"),
    ),
    Exhibit(
        id="adan-weight",
        release="optax==0.2.8", fixed="",
        where="google-deepmind/optax #1715, open",
        wrong="the gradient's change is weighed with 1 - b2, where the paper's weight is optax's b2",
        method="adan", dialect="no-prox",
        diagnosis=("no-prox", "difference-weight-complement"),
        right=wrong(rules.adan, "", proximal=False),
        buggy=wrong(rules.adan, "complement", proximal=False),
    ),
    Exhibit(
        id="sgdw-constant-decay",
        release="torch-optimizer==0.3.0", fixed="",
        where="jettify/pytorch-optimizer #454, PR #455 open",
        wrong="the decay is one number for all entries, not times the parameter",
        method="sgdw", dialect="timm", diagnosis=("official", "weight-decay-constant"),
        right=rules.sgdw, buggy=wrong(rules.sgdw),
    ),
    Exhibit(
        id="diffgrad-aliased",
        release="torch-optimizer==0.0.1a7", fixed="torch-optimizer==0.0.1a9",
        where="jettify/pytorch-optimizer #55, shivram1987/diffGrad #2",
        wrong="the last gradient is kept without a copy: where the memory is used again, its change is zero",
        method="diffgrad", dialect="official", diagnosis=("official", "previous-gradient-aliased"),
        right=rules.diffgrad, buggy=wrong(rules.diffgrad),
    ),
    Exhibit(
        id="lars-decay-dropped",
        release="timm==0.5.4", fixed="timm==0.6.7",
        where="huggingface/pytorch-image-models, commit cdcd0a92",
        wrong="`grad.add(p, alpha=weight_decay)` is not in place and its result is dropped",
        method="lars", dialect="timm", diagnosis=("timm", "weight-decay-in-the-norm-alone"),
        right=rules.lars, buggy=wrong(rules.lars), given={"shapes": FEW},
    ),
    Exhibit(
        id="muon-branches-swapped",
        release="pytorch-optimizer==3.9.0", fixed="pytorch-optimizer==4.1.0",
        where="introduced by kozistr/pytorch_optimizer #373",
        wrong="use_adjusted_lr=True gives Jordan's factor, and False Moonlight's",
        method="muon", dialect="paper", diagnosis=("scale=match-rms",),
        right=rules.muon, buggy=wrong(rules.muon), given={"momentum_form": "average", "shapes": MATRICES},
    ),
    Exhibit(
        id="prodigy-counted-twice",
        release="pytorch-optimizer==3.9.0", fixed="pytorch-optimizer==4.1.0",
        where="introduced by kozistr/pytorch_optimizer #463",
        wrong="the step is counted at the start and at the end of a call, which skews the bias correction",
        method="prodigy", dialect="paper", diagnosis=("prodigy-counter-twice",),
        right=together("prodigy", rules.prodigy, ("lr",)),
        buggy=together("prodigy, counted twice", wrong(rules.prodigy), ("lr",)),
        given={"bias_correction": True},
    ),
    Exhibit(
        id="scion-gradient",
        release="pytorch-optimizer==3.6.0", fixed="pytorch-optimizer==3.6.1",
        where="kozistr/pytorch_optimizer #385",
        wrong="the step is the oracle's for the gradient; the momentum is kept and never used",
        method="scion", dialect="kozistr", diagnosis=("kozistr", "oracle-of-the-gradient"),
        right=rules.scion, buggy=wrong(rules.scion), given={"norm": "sign", "shapes": MATRICES},
    ),
    Exhibit(
        id="adam-eps-subtracted",
        release="keras==2.12.0", fixed="keras==2.13.1",
        where="keras-team/keras, commit 2f003f9f",
        wrong="the legacy NonFusedAdam divides by sqrt(v) - epsilon",
        method="adam", dialect="torch", diagnosis=("torch", "eps-subtracted"),
        right=wrong(rules.adam, "", eps_hat=True),
        buggy=wrong(rules.adam, "eps subtracted", eps_hat=True),
        given={"eps_corrected": False}, why_not=TENSORFLOW,
    ),
    Exhibit(
        id="rmsprop-centered-on-squares",
        release="keras==2.10.0", fixed="keras==2.11.0",
        where="keras-team/keras, commit 32b15912",
        wrong="the mean that centers averages g², and its square is taken out of the stored average for good",
        method="rmsprop", dialect="keras", diagnosis=("torch", "centered-mean-of-squares"),
        right=rules.rmsprop_centered, buggy=wrong(rules.rmsprop_centered),
        given={"centered": True}, why_not=TENSORFLOW,
    ),
    Exhibit(
        id="adagrad-first-gradient",
        release="pennylane==0.19.1", fixed="pennylane==0.20.0",
        where="PennyLaneAI/pennylane #1928",
        wrong="the place in the list of gradients is never advanced: every argument takes the first",
        method="adagrad", dialect="paper", diagnosis=("first-gradient-for-all",),
        right=together("adagrad", rules.adagrad, ("lr", "eps")),
        buggy=together("adagrad, first gradient", wrong(rules.adagrad), ("lr", "eps")),
        given={"shapes": {"first": (5,), "second": (5,)}},
    ),
    Exhibit(
        id="adam-eps-before-correction",
        release="geoopt==0.3.1", fixed="geoopt==0.4.0",
        where="geoopt/geoopt PR #181",
        wrong="epsilon stands beside the root of the average that is not yet corrected",
        method="adam", dialect="torch", diagnosis=("torch", "eps_corrected=False"),
        right=rules.adam, buggy=wrong(rules.adam, "eps uncorrected"),
    ),
    Exhibit(
        id="nadam-product",
        release="torch==1.13.1", fixed="torch==2.0.0",
        where="pytorch/pytorch #92699",
        wrong="the product of momenta one step ahead has this step's momentum once more",
        method="nadam", dialect="torch", diagnosis=("torch", "next-momentum-product-too-long"),
        right=rules.nadam, buggy=wrong(rules.nadam, "product"),
        why_not="another torch than 2.13.0 is not installed",
    ),
    Exhibit(
        id="amsgrad-maximum-dropped",
        release="torch==1.12.1", fixed="torch==1.13.0",
        where="pytorch/pytorch #78807, #82523",
        wrong="foreach=True: the maximum is not taken in place, and the stored one stays zero",
        method="amsgrad", dialect="torch", diagnosis=("torch", "maximum-missing"),
        right=rules.amsgrad, buggy=wrong(rules.amsgrad),
        why_not="another torch than 2.13.0 is not installed",
    ),
    Exhibit(
        id="nadam-decay-times-gradient",
        release="mxnet (2017)", fixed="",
        where="apache/mxnet #8925",
        wrong="`grad *= rescale_grad + wd * weight`: the decay multiplies the gradient",
        method="nadam", dialect="torch", diagnosis=("torch", "weight-decay-multiplies-gradient"),
        right=rules.nadam, buggy=wrong(rules.nadam, "decay times gradient"),
        why_not="no wheel of that year runs on Python 3.11",
    ),
)  # fmt: skip
