#!/usr/bin/env python3
"""A UDP phone behind a real NAT (nft masquerade, mappings of 30 s): short grants and OPTIONS every 25 s (sip.md §4).

test_sip_nat.py: one period, about 40 s. test_sip_nat.py --whole: what three unanswered OPTIONS do, too, 2.5 minutes.
"""
import contextlib
import sys
import time

from cluster import Cluster
from lab import Lab, wait_for
from phone import NoAnswer, Phone, establish
from scenario import main, scenario
from sipbench import DOMAIN, answer_with, cancel_of, hang_up, status
from sipmsg import token

WHOLE = "--whole" in sys.argv
sys.argv = [a for a in sys.argv if a != "--whole"]
PERIOD_S, MAPPING_S, GRANT_S = 25, 30, 120
NAMES = ("a", "b", "c")


class World:
    """Three nodes and a phone's network of public addresses (RFC 5737), one network behind a NAT."""

    def __init__(self, lab, cluster):
        self.lab, self.cluster = lab, cluster
        self.street, self.gateway = lab.host("street", 101), lab.host("gateway", 102)
        self.home = lab.behind(self.gateway, "home", mapping_s=MAPPING_S)
        self.users = 0

    def phone(self, edge, host, user=None, **kw):
        if not user:
            user, self.users = f"u{self.users}", self.users + 1
        with host.inside():
            return Phone(user, DOMAIN, (self.lab.hosts[edge].ip, 5060), local_ip=host.ip, **kw)

    def metric(self, name):
        return sum(n.metric(name) for n in self.cluster.nodes)


@contextlib.contextmanager
def world():
    with Lab("198.51.100") as lab, Cluster(DOMAIN, dir=lab.dir + "/cluster") as cluster:
        for name in NAMES:
            host = lab.host(name)
            seeds = [] if name == "a" else [f"{lab.hosts['a'].ip}:4260"]
            cluster.node(name, host.ip, host, seeds=seeds, args=["--workers", "1"])
        for n in cluster.nodes:
            n.start()
        cluster.wait_active(seconds=60)
        cluster.nodes[0].cli("user", "import", "-", stdin="aor,password\n" + "".join(
            f"u{i}@{DOMAIN},secret\n" for i in range(8)))
        yield World(lab, cluster)


def granted(phone, answer):
    """Seconds granted to the phone's own contact."""
    status(answer, 200)
    mine = next(c for c in answer.all("contact") if f"@{phone.ip}:{phone.port}" in c)
    return int(mine.rsplit("expires=", 1)[1].split(";")[0])


def is_options(m):
    return m.is_request and m.method == "OPTIONS"


def answered_until(phones, end):
    """Answers OPTIONS at these phones until `end`; how many each had (retransmissions of one count once)."""
    had = {p: set() for p in phones}
    while time.monotonic() < end:
        for p in phones:
            with contextlib.suppress(NoAnswer):
                m = p.expect(is_options, 0.2)
                p.reply(m, 200, "OK", to_tag="x")
                had[p].add(m.get("cseq"))
    return {p: len(seen) for p, seen in had.items()}


@scenario("behind NAT: a plain UDP phone has 120 s and OPTIONS in 25 s, which hold its mapping; one that offers keep has neither")
def _(w):
    plain, keeper, street = w.phone("a", w.home), w.phone("a", w.home), w.phone("b", w.street)
    keeper.via = lambda branch=None, made=keeper.via: made(branch).replace(";rport", ";rport;keep")
    began = time.monotonic()
    assert granted(plain, plain.register(expires=3600)) == GRANT_S
    answer = keeper.register(expires=3600)
    assert granted(keeper, answer) == 3600 and f";keep={PERIOD_S}" in answer.get("via"), repr(answer)
    assert granted(street, street.register(expires=3600)) == 3600  # no NAT: as long as it wishes
    # Past the life of a mapping that nothing passed: the 25 s, and what the machine's load adds.
    had = answered_until([plain, street], began + MAPPING_S + 3)
    assert had[plain] == 1 and had[street] == 1, had.values()
    assert not any(is_options(m) for m in keeper.drain(0)), "OPTIONS to a phone that keeps its flow alive by itself"
    mine, theirs = establish(street, plain)
    hang_up(theirs, street)
    # The control: without packets the NAT has forgotten its mapping, and lets nothing in.
    invite = street.start_call(keeper.user)
    keeper.expect_nothing(1, lambda m: m.is_request and m.method == "INVITE")
    status(street.expect_final(street.send(cancel_of(invite))), 200)
    assert plain.register(expires=0, contacts=["*"]).status == 200


def silent_phone(w):
    """Three OPTIONS go unanswered: the flow is gone, and its binding stays till it expires."""
    began = time.monotonic()
    dumb, other, street = w.phone("a", w.home), w.phone("c", w.home), w.phone("b", w.street)
    other.user = dumb.user  # the same subscriber's second phone: it answers
    assert granted(dumb, dumb.register(expires=3600)) == GRANT_S
    status(street.register(expires=3600), 200)
    asked = set()
    while w.cluster.nodes[0].metric("skald_edge_flows_gone_total") == 0:  # a is the edge of the silent phone alone
        with contextlib.suppress(NoAnswer):
            asked.add(dumb.expect(is_options, 0.5).get("cseq"))
        assert time.monotonic() - began < GRANT_S - 3, f"the flow is still there after {len(asked)} OPTIONS"
        if len(asked) == 3 and time.monotonic() - began < 3 * PERIOD_S:  # two are lost for sure, the third is under way
            invite = street.start_call(dumb.user)
            street.ack_failure(invite, status(answer_rung(street, dumb, invite), 486))
            asked.add("rung")
    gone = time.monotonic() - began
    print(f"     gone after {gone:.1f} s")
    assert 3 * PERIOD_S < gone <= 4 * PERIOD_S + 3, gone
    assert len(asked) >= 3, asked
    rows = w.cluster.nodes[2].cli("registrations", f"{dumb.user}@{DOMAIN}")
    assert len(rows) == 1 and rows[0]["edge"] == "a", rows
    call = street.transact(street.invite_request(dumb.user))
    status(call, 480)
    dumb.expect_nothing(0.5, lambda m: m.is_request and m.method == "INVITE")
    # Another flow of the same subscriber rings, and alone.
    status(other.register(expires=3600), 200)
    invite = street.start_call(dumb.user)
    answer_with(other, 486)
    street.ack_failure(invite, status(street.expect_final(invite), 486))
    dumb.expect_nothing(0.3, lambda m: m.is_request and m.method == "INVITE")
    assert time.monotonic() - began < GRANT_S, "too slow a machine: the binding has expired before it was looked for"
    assert len(w.cluster.nodes[1].cli("registrations", f"{dumb.user}@{DOMAIN}")) == 2
    wait_for("the binding expires when it said it would", GRANT_S + 5 - (time.monotonic() - began),
             lambda: len(w.cluster.nodes[1].cli("registrations", f"{dumb.user}@{DOMAIN}")) == 1, 0.5)
    assert time.monotonic() - began > GRANT_S - 2


def answer_rung(street, phone, invite):
    seen = phone.expect_request("INVITE")
    phone.reply(seen, 486, to_tag=token(4))
    phone.expect_request("ACK")
    return street.expect_final(invite)


if WHOLE:
    scenario("behind NAT: three OPTIONS unanswered are the flow's end; calls are 480 or ring elsewhere; "
             "the binding stays its 120 s")(silent_phone)

main(world)
