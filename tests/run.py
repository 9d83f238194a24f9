#!/usr/bin/env python3
"""Runs the suites named on the command line (default: all of the short forms) and adds up what they say.

Each suite is a command; its cases are counted from its last summary line: doctest's "test cases: … passed | … failed",
or "N passed, N failed". A suite that ends badly without a count is one failure. The last line of this program is the
sum: `N passed, N failed`.
"""
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import time

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
build = os.environ.get("SKALD_BUILD", os.path.join(root, "build"))
logs = os.environ.get("SKALD_TEST_LOGS") or tempfile.mkdtemp(prefix="skald-test-")

UNIT = ["base", "message", "transaction", "sip", "certs", "ring", "swim", "store", "mesh", "dnsupdate", "roles",
        "registrar", "proxy", "node"]


def suites():
    out = [("tidy", ["tests/tidy"], 60)]
    for room in sorted(UNIT, key=lambda r: r not in ("store", "swim", "ring")):  # the long ones first
        program = f"{build}/tests/unit/unit_{room}"
        if os.path.exists(program):
            out.append((f"unit {room}", [program], 300))
    out += extra_suites()
    return out


def extra_suites():
    """Lines of tests/suites: NAME | SECONDS | COMMAND, run from the root with $BUILD replaced."""
    out = []
    for line in open(os.path.join(root, "tests/suites")):
        line = line.split("#")[0].strip()
        if line:
            name, limit, command = [p.strip() for p in line.split("|", 2)]
            out.append((name, ["bash", "-c", command.replace("$BUILD", build)], int(limit)))
    return out


def count(text, code):
    doctest = re.findall(r"test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed", text)
    if doctest:
        passed, failed = int(doctest[-1][1]), int(doctest[-1][2])
    else:
        plain = re.findall(r"^(\d+) passed, (\d+) failed", text, re.M)
        passed, failed = (int(plain[-1][0]), int(plain[-1][1])) if plain else (1 if code == 0 else 0, 0)
    if code != 0 and failed == 0:
        failed = 1
    return passed, failed


def run(name, command, limit):
    log = os.path.join(logs, name.replace(" ", "_").replace("/", "_") + ".log")
    started = time.monotonic()
    with open(log, "w") as f:
        process = subprocess.Popen(command, cwd=root, stdout=f, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            code = -9
            f.write(f"\nended after {limit} s\n")
    text = open(log, errors="replace").read()
    passed, failed = count(text, code)
    print(f"{'ok  ' if failed == 0 else 'FAIL'} {name:<28} {passed:5d} passed {failed:3d} failed {time.monotonic() - started:7.1f} s",
          flush=True)
    if failed:
        print("\n".join("     | " + l for l in what_failed(text)), flush=True)
    return passed, failed


def what_failed(text):
    """The lines that say which case failed and where, wherever they stand, and how the log ends (nodes' logs come last)."""
    lines = text.strip().split("\n")
    near = set(range(max(0, len(lines) - 25), len(lines)))
    for i in [i for i, l in enumerate(lines) if l.startswith(("FAIL", "Traceback")) or "ERROR:" in l][:6]:
        near |= set(range(i, min(i + 20, len(lines))))
    return [lines[i] for i in sorted(near)]


# These wait for nothing but the processor: they run side by side. All others measure or share ports, and run alone.
ALONE = ("unit mesh", "unit node")


def side_by_side(name):
    return name.startswith(("tidy", "unit", "swim soak")) and name not in ALONE


def main():
    wanted = sys.argv[1:]
    chosen = [s for s in suites() if not wanted or any(w in s[0] for w in wanted)]
    chosen.sort(key=lambda s: not side_by_side(s[0]))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        counts = list(pool.map(lambda s: run(*s), [s for s in chosen if side_by_side(s[0])]))
    counts += [run(*s) for s in chosen if not side_by_side(s[0])]
    passed, failed = sum(c[0] for c in counts), sum(c[1] for c in counts)
    print(f"logs: {logs}")
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


sys.exit(main())
