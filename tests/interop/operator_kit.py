"""What the operator's scenarios share: three unlike nodes, and the command line as a person or a script uses it."""
import contextlib
import json
import os
import subprocess

from cluster import Cluster, skald
from lab import Timeout
from phone import Phone

DOMAIN = "skald.test"
ZONES = {"a": "east", "b": "west", "c": "west"}
CAPACITY = {"a": 100, "b": 200, "c": 100}


def _start(network, args):
    c = Cluster(DOMAIN)
    try:
        c.network = network
        for i, name in enumerate(ZONES):
            c.node(name, f"{network}.{11 + i}", seeds=[] if i == 0 else [f"{network}.11:4260"], args=[
                "--workers", "1", "--dns-port", "5353", "--zone", ZONES[name], "--capacity", str(CAPACITY[name])]
                + args.get(name, []))
        c.start_all(seconds=25)
    except Exception:
        c.__exit__(Exception)
        raise
    c.by_name = {n.name: n for n in c.nodes}
    return c


@contextlib.contextmanager
def unlike_nodes(network, **args):
    try:
        c = _start(network, args)
    except Timeout:  # a machine too busy for a LAN's timers: once more
        c = _start(network, args)
    with c:
        yield c


def shell(*argv, stdin=None, **kw):
    """One command as typed: (exit code, standard output, standard error)."""
    done = subprocess.run([skald] + list(argv), input=stdin or "", capture_output=True, text=True, timeout=60, **kw)
    return done.returncode, done.stdout, done.stderr


def ask(node, *argv, stdin=None):
    return shell(*argv, "--control", node.control, stdin=stdin)


def answer(node, *argv, stdin=None):
    """What `--json` prints of a command that succeeds."""
    code, out, err = ask(node, *argv, "--json", stdin=stdin)
    assert code == 0 and err == "", (argv, code, err)
    return json.loads(out)


def refused(node, code, words, *argv, stdin=None):
    """The same refusal for people and for machines: exit code, nothing on standard output, error and hint."""
    for machine in ([], ["--json"]):
        got, out, err = ask(node, *argv, *machine, stdin=stdin)
        assert got == code and out == "", (argv, got, out, err)
        text = err
        if machine:
            said = json.loads(err)
            assert set(said) <= {"error", "hint"} and said["error"], said
            text = said["error"] + " " + said.get("hint", "")
        for word in words.split("|"):
            assert word in text, (argv, word, err)


def phone(c, user, edge, number=101, **kw):
    return Phone(user, DOMAIN, (c.by_name[edge].address, 5060), local_ip=f"{c.network}.{number}", **kw)


def private_file(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text)
    return path
