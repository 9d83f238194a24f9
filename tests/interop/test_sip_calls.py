#!/usr/bin/env python3
"""Calls through three nodes with four workers each: set-up, forking, what answers win, what passes in a dialog."""
import re
import ssl

from cluster import wait_for
from phone import SDP, Dialog, Phone, Wire, establish, tls_context
from scenario import main, scenario
from sipbench import DOMAIN, Bench, answer_with, cancel_of, cancelled, hang_up, re_invite, status
from sipmsg import token


def forked(bench, count, register_kw=()):
    """A caller, and `count` phones of one callee at edges b, c, a, …"""
    caller = bench.phone("a", register=True)
    first = bench.phone("b", register=True)
    rest = [bench.phone("cab"[i % 3], user=first.user, register=True) for i in range(count - 1)]
    return caller, [first] + rest


def failure(caller, invite):
    final = caller.expect_final(invite)
    caller.ack_failure(invite, final)
    return final


def edge_hosts(dialog):
    return [re.search(r"@([^;:>]+)", r).group(1) for r in dialog.routes]


@scenario("a call through two edges: each phone's first Route names its own edge; BYE by the caller")
def _(bench):
    p, q = bench.pair("a", "b")
    mine, theirs = establish(p, q)
    assert edge_hosts(mine)[0] == bench.nodes["a"].address and edge_hosts(theirs)[0] == bench.nodes["b"].address, \
        (mine.routes, theirs.routes)
    assert mine.target == q.contact[1:-1] and theirs.target == p.contact[1:-1]
    hang_up(mine, q)


@scenario("BYE by the callee ends the call as well")
def _(bench):
    p, q = bench.pair("c", "a")
    _, theirs = establish(p, q)
    hang_up(theirs, p)


@scenario("re-INVITE by the caller, then by the callee, then BYE, through two edges")
def _(bench):
    p, q = bench.pair("a", "c")
    mine, theirs = establish(p, q)
    seen = re_invite(mine, theirs)
    assert seen.get("max-forwards") in ("68", "69")
    re_invite(theirs, mine)
    re_invite(mine, theirs)
    hang_up(theirs, p)


for one in ("udp", "tcp", "tls"):
    for other in ("udp", "tcp", "tls"):
        @scenario(f"{one} calls {other}: the call stands, re-INVITEs pass both ways, BYE ends it")
        def _(bench, one=one, other=other):
            p, q = bench.pair("a", "b", one, other)
            mine, theirs = establish(p, q)
            re_invite(mine, theirs)
            re_invite(theirs, mine)
            hang_up(mine, q)


@scenario("one node serves all stages of a call, and every other split of edges and owners does as well")
def _(bench):
    owners = {}
    while bench.free and not (len(owners) == 3 and any(len(users) >= 2 for users in owners.values())):
        user = bench.user()
        owner = bench.nodes["a"].cli("owner", f"{user}@{DOMAIN}")["owner"]
        owners.setdefault(owner, []).append(user)
        if all(len(owners.get(o, ())) >= 2 for o in "abc"):
            break
    same = next((users for users in owners.values() if len(users) >= 2), None)
    where = next(iter(o for o, u in owners.items() if len(u) >= 2))
    assert same, owners
    p = bench.phone(where, user=same[0], register=True)
    q = bench.phone(where, user=same[1], register=True)
    mine, theirs = establish(p, q)
    assert len(mine.routes) == 2, mine.routes  # one Record-Route for each side, here too (RFC 5658)
    re_invite(theirs, mine)
    hang_up(mine, q)
    for other, users in owners.items():
        for edge in "abc":
            r = bench.phone(edge, user=users[-1], register=True)
            if r.user != p.user:
                mine, theirs = establish(p, r)
                hang_up(theirs, p)
            r.register(expires=0)


@scenario("two phones on one flow call each other, and BYE from either side finds the other")
def _(bench):
    p = bench.phone("a", register=True)
    q = Phone(bench.user(), DOMAIN, None, wire=p.wire)
    q.inbox = p.inbox
    assert q.register().status == 200
    for first, second in ((p, q), (q, p)):
        mine, theirs = establish(first, second)
        hang_up(theirs, first)
        mine, theirs = establish(first, second)
        hang_up(mine, second)


@scenario("a subscriber calls itself: the same phone rings, and the dialog's two sides stay apart")
def _(bench):
    p = bench.phone("b", register=True)
    mine, theirs = establish(p, p)
    re_invite(theirs, mine)
    hang_up(mine, p)


@scenario("a call to two phones: the one that answers wins, the other's CANCEL says who (RFC 3326)")
def _(bench):
    caller, (one, two) = forked(bench, 2)
    invite = caller.start_call(one.user)
    a, b = one.expect_request("INVITE"), two.expect_request("INVITE")
    two.reply(b, 180, "Ringing", to_tag=token(4))
    caller.expect_status(invite, 180)
    one_ok = one.reply(a, 200, "OK", to_tag=token(4), body=SDP.format(ip=one.ip))
    cancel = cancelled(two, b)
    assert "cause=200" in cancel.get("reason", "") and "completed elsewhere" in cancel.get("reason"), repr(cancel)
    ok = status(caller.expect_final(invite), 200)
    mine = Dialog(caller, invite, ok, True)
    mine.ack()
    one.expect_request("ACK")
    hang_up(Dialog(one, a, one_ok, False), caller)


@scenario("two phones that answer at once: both 2xx reach the caller, each dialog has its own way")
def _(bench):
    caller, phones = forked(bench, 2)
    invite = caller.start_call(phones[0].user)
    seen = [q.expect_request("INVITE") for q in phones]
    sent = [q.reply(i, 200, "OK", to_tag=token(4), body=SDP.format(ip=q.ip)) for q, i in zip(phones, seen)]
    oks = [status(caller.expect_final(invite), 200) for _ in phones]
    assert len({o.tag("to") for o in oks}) == 2
    for ok in oks:
        mine = Dialog(caller, invite, ok, True)
        mine.ack()
        q = phones[[s.tag("to") for s in sent].index(ok.tag("to"))]
        q.expect_request("ACK")
        hang_up(mine, q)


@scenario("the caller's CANCEL reaches every phone with its Reason, and all ends with one 487")
def _(bench):
    caller, phones = forked(bench, 3)
    invite = caller.start_call(phones[0].user)
    seen = [q.expect_request("INVITE") for q in phones]
    for q, i in zip(phones, seen):
        q.reply(i, 180, "Ringing", to_tag=token(4))
    caller.expect_status(invite, 180)
    cancel = caller.send(cancel_of(invite, [("Reason", 'Q.850;cause=16;text="changed my mind"')]))
    status(caller.expect_final(cancel), 200)
    for q, i in zip(phones, seen):
        assert "changed my mind" in cancelled(q, i).get("reason", "")
    status(failure(caller, invite), 487)
    caller.expect_nothing(0.3, lambda m: m.status and m.status >= 200)


@scenario("a CANCEL before any phone has answered waits for a provisional answer (§9.1)")
def _(bench):
    p, q = bench.pair("a", "b")
    invite = p.start_call(q.user)
    seen = q.expect_request("INVITE")
    status(p.expect_final(p.send(cancel_of(invite))), 200)
    q.expect_nothing(0.3, lambda m: m.is_request and m.method == "CANCEL")
    q.reply(seen, 180, "Ringing", to_tag=token(4))
    cancelled(q, seen)
    status(failure(p, invite), 487)


@scenario("a CANCEL that fits no INVITE is 481")
def _(bench):
    p, q = bench.pair("a", "b")
    stray = cancel_of(p.invite_request(q.user))
    status(p.expect_final(p.send(stray)), 481)


@scenario("busy everywhere is 486; one busy while the other rings tells the caller nothing yet")
def _(bench):
    caller, (one, two) = forked(bench, 2)
    invite = caller.start_call(one.user)
    answer_with(one, 486, "Busy Here")
    caller.expect_nothing(0.3, lambda m: m.status and m.status >= 200)
    answer_with(two, 486, "Busy Here")
    status(failure(caller, invite), 486)


@scenario("603 from one phone cancels the others at once, and the caller gets 603 (§16.7 step 5)")
def _(bench):
    caller, (one, two) = forked(bench, 2)
    invite = caller.start_call(one.user)
    seen = two.expect_request("INVITE")
    two.reply(seen, 180, "Ringing", to_tag=token(4))
    answer_with(one, 603, "Decline")
    cancelled(two, seen)
    status(failure(caller, invite), 603)


@scenario("3xx goes to the caller with its contacts and is not followed")
def _(bench):
    p, q = bench.pair("a", "b")
    invite = p.start_call(q.user)
    answer_with(q, 302, "Moved", [("Contact", "<sip:elsewhere@example.org>")])
    final = status(failure(p, invite), 302)
    assert "elsewhere@example.org" in final.get("contact")


for answers, wanted in (((404, 486), (404, 486)), ((500, 486), (486,)), ((302, 486), (302,)), ((503, 503), (500,)),
                        ((503,), (500,)), ((415, 404), (415,)), ((488,), (488,)), ((480,), (480,))):
    @scenario(f"phones answer {answers}: the caller gets {' or '.join(map(str, wanted))} (§16.7 step 6)")
    def _(bench, answers=answers, wanted=wanted):
        caller, phones = forked(bench, len(answers))
        invite = caller.start_call(phones[0].user)
        for q, code in zip(phones, answers):
            answer_with(q, code)
        status(failure(caller, invite), *wanted)


@scenario("MESSAGE passes between subscribers, OPTIONS to a subscriber is answered by its phone")
def _(bench):
    p, q = bench.pair("a", "b")
    for method, body in (("MESSAGE", "hello"), ("OPTIONS", "")):
        ask = p.request(method, q.aor, body=body, content_type="text/plain", contact=False)
        p.send(ask)
        ask = p.send(p.authorized(ask, status(p.expect_final(ask), 407)))
        seen = q.expect_request(method)
        assert seen.body == body and seen.uri == q.contact[1:-1]
        q.reply(seen, 200, "OK", to_tag="x", headers=[("Allow", "INVITE, BYE")])
        assert status(p.expect_final(ask), 200).get("allow") == "INVITE, BYE"


@scenario("INFO, UPDATE, PRACK, REFER and NOTIFY pass in a dialog, both ways")
def _(bench):
    p, q = bench.pair("b", "c", "tcp", "udp")
    mine, theirs = establish(p, q)
    for side, other in ((mine, q), (theirs, p)):
        for method in ("INFO", "UPDATE", "PRACK", "REFER", "NOTIFY", "MESSAGE"):
            extra = [("Refer-To", "<sip:x@example.org>")] if method == "REFER" else \
                [("Event", "refer"), ("Subscription-State", "active")] if method == "NOTIFY" else []
            ask = side.send(method, headers=extra)
            other.reply(other.expect_request(method), 202 if method == "REFER" else 200)
            status(side.phone.expect_final(ask), 200, 202)
    hang_up(mine, q)


@scenario("a 2xx that the callee repeats is acknowledged again: both pass without any state")
def _(bench):
    p, q = bench.pair("a", "b")
    invite = p.start_call(q.user)
    seen = q.expect_request("INVITE")
    sent = q.reply(seen, 200, "OK", to_tag="again", body=SDP.format(ip=q.ip))
    mine = Dialog(p, invite, status(p.expect_final(invite), 200), True)
    for _ in range(2):
        q.send(sent)
        status(p.expect_final(invite), 200)
        mine.ack()
        q.expect_request("ACK")
    hang_up(mine, q)


@scenario("a retransmitted INVITE rings nobody twice and is answered by what was said last")
def _(bench):
    p, q = bench.pair("a", "b")
    invite = p.start_call(q.user)
    seen = q.expect_request("INVITE")
    q.reply(seen, 180, "Ringing", to_tag="r")
    p.expect_status(invite, 180)
    p.send(invite)
    p.expect_status(invite, 180)
    q.expect_nothing(0.3, lambda m: m.is_request and m.method == "INVITE")
    q.reply(seen, 486, "Busy Here", to_tag="r")
    status(failure(p, invite), 486)


@scenario("a subscriber without a phone is 480, one that does not exist is 404")
def _(bench):
    p = bench.phone("a", register=True)
    status(p.transact(p.invite_request(bench.user())), 480)
    status(p.transact(p.invite_request("no-such-user")), 404)


@scenario("after unregistering, and after the connection is gone, the callee is 480")
def _(bench):
    p, q = bench.pair("a", "b", "udp", "tcp")
    q.wire.close()
    status(p.transact(p.invite_request(q.user)), 480)
    r = bench.phone("c", register=True)
    r.register(expires=0)
    status(p.transact(p.invite_request(r.user)), 480)


@scenario("tel: is a subscriber of the default domain")
def _(bench):
    bench.cluster.add_user("+4912345")
    p, q = bench.phone("a", register=True), bench.phone("b", user="+4912345", register=True)
    mine, _ = establish(p, q, uri="tel:+4912345")
    hang_up(mine, q)


@scenario("a Request-URI that names a node, or its address, stands for the domain")
def _(bench):
    p, q = bench.pair("a", "b")
    for host in (f"c.{DOMAIN}", bench.nodes["c"].address, f"{bench.nodes['a'].address}:5060"):
        mine, _ = establish(p, q, uri=f"sip:{q.user}@{host}")
        hang_up(mine, q)


@scenario("an INVITE with compact header names is forwarded and answered (RFC 3261 §7.3.3)")
def _(bench):
    p, q = bench.pair("a", "b")
    invite = p.start_call(q.user)
    q.reply(q.expect_request("INVITE"), 486, to_tag="x")
    status(failure(p, invite), 486)
    ask = p.authorized(p.invite_request(q.user), status(p.transact(p.invite_request(q.user), authenticate=False), 407))
    text = ask.encode().decode()
    for name, letter in (("Via", "v"), ("From", "f"), ("To", "t"), ("Call-ID", "i"), ("Contact", "m"),
                         ("Content-Type", "c"), ("Content-Length", "l")):
        text = re.sub(rf"(?m)^{name}:", f"{letter}:", text)
    p.wire.send(text.encode())
    q.reply(q.expect_request("INVITE"), 200, "OK", to_tag="x", body=SDP.format(ip=q.ip))
    hang_up(Dialog(p, ask, status(p.expect_final(ask), 200), True), q)


@scenario("a phone behind a NAT is reached by its flow: its Contact and Via may say what they like (RFC 3581)")
def _(bench):
    p, q = bench.phone("a"), bench.phone("b")
    for x in (p, q):
        x.ip, x.port = "10.1.2.3", 9999
        x.via = lambda branch=None: f"SIP/2.0/UDP 10.1.2.3:9999;branch={branch or 'z9hG4bK' + token()}"
        assert x.register().status == 200
    mine, theirs = establish(p, q)
    assert mine.target == f"sip:{q.user}@10.1.2.3:9999"
    re_invite(theirs, mine)
    hang_up(mine, q)


@scenario("a phone that unregisters in a call keeps the call")
def _(bench):
    p, q = bench.pair("a", "b")
    mine, theirs = establish(p, q)
    for x in (p, q):
        assert x.register(expires=0).status == 200
    re_invite(mine, theirs)
    hang_up(theirs, p)


@scenario("a callee whose connection is gone in a call: 500 with Retry-After, neither 481 nor 503 (sip.md §6)")
def _(bench):
    p, q = bench.pair("a", "b", "udp", "tcp")
    mine, _ = establish(p, q)
    q.wire.close()
    answer = status(p.transact(mine.request("INFO")), 500)
    assert answer.get("retry-after")


@scenario("a TLS phone that checks for another name, or trusts other authorities, does not connect")
def _(bench):
    for tls, name in ((bench.tls, "sip.other.test"), (tls_context(), DOMAIN)):
        try:
            Wire("tls", (f"{bench.network}.99", 0), bench.edge("a", "tls"), tls, name)
        except ssl.SSLCertVerificationError:
            continue
        raise AssertionError(f"connected as {name}")
    for name in (DOMAIN, f"a.{DOMAIN}"):
        Wire("tls", (f"{bench.network}.99", 0), bench.edge("a", "tls"), bench.tls, name).close()


@scenario("`skald calls` shows a call while it stands, at every node, and no longer")
def _(bench):
    p, q = bench.pair("a", "b")
    mine, _ = establish(p, q)
    def shown(node):
        return [c for c in node.cli("calls") if mine.call_id in str(c)]
    for node in bench.nodes.values():
        row = wait_for("the call is shown", 2, lambda: shown(node))[0]
        assert p.user in row["caller"] and q.user in row["callee"] and sorted(row["edges"]) == ["a", "b"], row
    hang_up(mine, q)
    for node in bench.nodes.values():
        wait_for("the call is gone", 2, lambda: not shown(node))


main(lambda: Bench("127.0.22", users=150))
