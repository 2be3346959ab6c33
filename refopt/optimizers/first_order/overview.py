"""The source that the classical family shares."""

from refopt.core.registry import Source

RUDER = Source(
    key="ruder-2016-overview",
    authors="S. Ruder",
    year=2016,
    title="An overview of gradient descent optimization algorithms",
    arxiv="1609.04747",
)
SUTSKEVER = Source(
    key="sutskever-2013-importance",
    authors="I. Sutskever, J. Martens, G. Dahl, G. Hinton",
    year=2013,
    title="On the importance of initialization and momentum in deep learning",
    venue="ICML, PMLR 28(3):1139-1147",
)
