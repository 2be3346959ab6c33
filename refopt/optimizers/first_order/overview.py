"""The source that the classical family shares."""

from refopt.core.registry import Source

RUDER = Source("ruder-2016-overview", "S. Ruder", "An overview of gradient descent optimization algorithms",
    arxiv="1609.04747")  # fmt: skip
SUTSKEVER = Source("sutskever-2013-importance", "I. Sutskever, J. Martens, G. Dahl, G. Hinton",
    "On the importance of initialization and momentum in deep learning", venue="ICML, PMLR 28(3):1139-1147")  # fmt: skip
