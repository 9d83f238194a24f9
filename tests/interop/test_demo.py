#!/usr/bin/env python3
"""tools/demo's path, asserted: real phones, their own network, DNS, TLS and audio."""
import contextlib
import os
import subprocess

import demo
from scenario import main, scenario


def spaces():
    out = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    return [line.split()[0] for line in out.split("\n") if line.startswith(f"sk{os.getpid() % 100000}-")]


@scenario("two baresip phones register by SRV, one by UDP and one by TLS, through different nodes")
def _(found):
    assert None not in found["edges"].values(), found
    assert found["edges"]["alice"] != found["edges"]["bob"], found


@scenario("a client that verifies takes the node's certificate for the domain under the cluster's CA")
def _(found):
    assert "verification OK" in found["tls"], found


@scenario("in a call each hears the other's tone")
def _(found):
    assert min(found["shares"]) >= 0.8, found


@scenario("a node that leaves is out of SRV within 2 s, the two others stay")
def _(found):
    assert sorted(row.split()[-1] for row in found["srv"]) == ["one.skald.test.", "two.skald.test."], found


@scenario("every node ends with status 0, and no namespace is left")
def _(found):
    assert found["exits"] == [0, 0, 0], found
    assert spaces() == []


@contextlib.contextmanager
def setup():
    yield demo.run()


main(setup)
