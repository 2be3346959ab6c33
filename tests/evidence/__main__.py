"""``python -m tests.evidence``: collect the evidence."""

from tests.evidence.collect import main

main()
