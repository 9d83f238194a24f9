#!/usr/bin/env python3
"""The simulator looked at itself: the same seed gives the same run, and random seeds find each planted bug.

    check.py same            each of ten seeds twice: one hash
    check.py plants [BUG…]   each planted bug is found by one of 200 seeds
"""
import os
import re
import subprocess
import sys

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
binary = os.path.join(os.environ.get("SKALD_BUILD", os.path.join(root, "build")), "tests/sim/skald-sim-small")
PLANTS = ("early_ack", "lost_tombstones", "skipped_copies", "firm_always", "lost_duty", "no_order", "other_ring")


def sim(*args):
    done = subprocess.run([binary, *args], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{binary} {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def same():
    args = ("--seeds", "1..10", "--hours", "0.02", "--verbose", "--keep-going")
    first, second = sim(*args).stdout, sim(*args).stdout
    hashes = re.findall(r"hash ([0-9a-f]{16})", first)
    if len(set(hashes)) != 10 or first != second:
        sys.exit("two runs of the same seeds differ:\n" + first + second)
    print(f"{len(hashes)} seeds run twice gave the same hashes; 1 passed, 0 failed")


def failing(*more):
    done = sim("--seeds", "1..200", "--hours", "0.02", "--keep-going", *more)
    return {int(seed): invariant for seed, invariant in re.findall(r"^seed (\d+): invariant (\d+)", done.stdout, re.M)}


def plants(wanted):
    """A seed that fails without the bug, too, has not found it."""
    without = failing()
    failed = 0
    for bug in wanted:
        found = {seed: invariant for seed, invariant in failing("--plant", bug).items() if seed not in without}
        failed += not found
        print(f"{bug}: " + (f"first found by seed {min(found)} (invariant {found[min(found)]}), by {len(found)} of {200 - len(without)}"
                            if found else "NOT FOUND by 200 seeds"))
    print(f"{len(wanted) - failed} passed, {failed} failed")
    sys.exit(failed != 0)


if __name__ == "__main__":
    what = sys.argv[1:] or [""]
    if what[0] == "same":
        same()
    elif what[0] == "plants":
        plants(what[1:] or list(PLANTS))
    else:
        sys.exit(__doc__)
