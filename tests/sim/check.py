#!/usr/bin/env python3
"""The simulator looked at itself: the same seed gives the same run, and random seeds find each planted bug.

    check.py same            each of ten seeds twice: one hash
    check.py plants [BUG…]   each planted bug is found by one of 200 seeds: the invariant breaks that it was planted for,
                             and the same seed passes without the bug
    check.py sip-same        the same for runs with SIP phones
    check.py sip-plants [BUG…]
"""
import os
import re
import subprocess
import sys

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
binary = os.path.join(os.environ.get("SKALD_BUILD", os.path.join(root, "build")), "tests/sim/skald-sim-small")
SEEDS = 200
PLANTS = {"early_ack": 1, "lost_tombstones": 2, "skipped_copies": 3, "lost_duty": 3, "firm_always": 4, "no_order": 7, "growing_log": 8,
          "other_ring": 9}
SIP_PLANTS = {"ghost_registrations": 1, "deaf_dns": 3, "forgotten_names": 3, "two_publishers": 3, "unknown_users": 4, "lost_answers": 5, "two_answers": 5,
              "second_invites": 5, "lost_cancels": 5, "two_farewells": 6}


def sim(*args):
    done = subprocess.run([binary, "--hours", "0.02", *args], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{binary} {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def same(kind=()):
    args = ("--seeds", "1..10", "--verbose", "--keep-going", *kind)
    first, second = sim(*args).stdout, sim(*args).stdout
    hashes = re.findall(r"hash ([0-9a-f]{16})", first)
    if len(set(hashes)) != 10 or first != second:
        sys.exit("two runs of the same seeds differ:\n" + first + second)
    print(f"{len(hashes)} seeds run twice gave the same hashes; 1 passed, 0 failed")


def first_seed(bug, invariant, kind):
    """The first that breaks the invariant with the bug and nothing without it."""
    begin = 1
    while begin <= SEEDS:
        found = re.search(rf"^seed (\d+): invariant {invariant} ", sim("--plant", bug, "--want", str(invariant), "--seeds", f"{begin}..{SEEDS}", *kind).stdout, re.M)
        if not found:
            return None
        begin = int(found[1]) + 1
        if sim("--seed", found[1], *kind).returncode == 0:
            return int(found[1])
    return None


def plants(known, wanted, kind=()):
    failed = 0
    for bug in wanted or list(known):
        seed = first_seed(bug, known[bug], kind)
        failed += seed is None
        print(f"{bug}: " + (f"NOT FOUND by {SEEDS} seeds" if seed is None else f"breaks invariant {known[bug]} at seed {seed}"))
    print(f"{len(wanted or known) - failed} passed, {failed} failed")
    sys.exit(failed != 0)


if __name__ == "__main__":
    what = sys.argv[1:] or [""]
    if what[0] == "same":
        same()
    elif what[0] == "sip-same":
        same(("--sip",))
    elif what[0] == "sip-plants" and all(bug in SIP_PLANTS for bug in what[1:]):
        plants(SIP_PLANTS, what[1:], ("--sip",))
    elif what[0] == "plants" and all(bug in PLANTS for bug in what[1:]):
        plants(PLANTS, what[1:])
    else:
        sys.exit(__doc__)
