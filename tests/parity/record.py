"""Record the peers' arrays: ``python -m tests.parity.record [ID ...]`` in the parity environment."""

from __future__ import annotations

import sys

from tests.parity.case import TAPES, all_cases, installed_version, record


def main(wanted: list[str]) -> None:
    TAPES.mkdir(exist_ok=True)
    for case in all_cases():
        if case.theirs is None or (wanted and not any(case.id.startswith(w) for w in wanted)):
            continue
        version = installed_version(case.peer)
        if version is None:
            print(f"skipped {case.id}: {case.peer} is not installed")
            continue
        record(case, case.theirs(0), version)
        print(f"recorded {case.id} ({case.peer} {version})")


if __name__ == "__main__":
    main(sys.argv[1:])
