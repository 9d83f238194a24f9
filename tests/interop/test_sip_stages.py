#!/usr/bin/env python3
"""What the edge answers by itself, how far a request may go, and which tokens open which doors (sip.md §1, §2)."""
import re

from phone import SDP, Dialog, NoAnswer, Wire, establish
from scenario import main, scenario
from sipbench import DOMAIN, Bench, hang_up, receive, status
from sipmsg import Message, token


def ask(phone, method, uri, **kw):
    return phone.transact(phone.request(method, uri, **kw))


def outsider(bench, edge, user="zoe", **kw):
    """A UA of another domain, without a binding."""
    return bench.phone(edge, user=user, domain="example.org", **kw)


@scenario("OPTIONS to the domain, to a node and to its address is answered by the edge, at Max-Forwards 0 too")
def _(bench):
    p = outsider(bench, "a")
    for uri in (f"sip:{DOMAIN}", f"sip:a.{DOMAIN}", f"sip:{bench.nodes['a'].address}"):
        for hops in (70, 0):
            answer = status(ask(p, "OPTIONS", uri, max_forwards=hops), 200)
            assert answer.get("allow") and answer.get("accept") and answer.get("supported") is not None, repr(answer)


@scenario("any other request at Max-Forwards 0 is 483, and one without the header gets 70")
def _(bench):
    p, q = bench.pair("a", "b")
    for method in ("INVITE", "MESSAGE", "OPTIONS"):
        status(ask(p, method, q.aor, max_forwards=0), 483)
    bare = p.invite_request(q.user)
    bare.headers = [(n, v) for n, v in bare.headers if n != "Max-Forwards"]
    p.send(bare)
    first = status(p.expect_final(bare), 407)
    p.ack_failure(bare, first)
    p.send(p.authorized(bare, first))
    seen = q.expect_request("INVITE")
    assert 60 <= int(seen.get("max-forwards")) <= 70
    q.reply(seen, 486, to_tag="x")


@scenario("Max-Forwards is decremented at the edge and at the owner, and nowhere else")
def _(bench):
    p, q = bench.pair("a", "b")
    invite = p.start_call(q.user, max_forwards=10)
    seen = q.expect_request("INVITE")
    assert seen.get("max-forwards") == "8", seen.get("max-forwards")
    q.reply(seen, 486, to_tag="x")
    p.expect_final(invite)


@scenario("the phone sees its own Via beneath few of ours, and none of our parameters or inner Routes")
def _(bench):
    p, q = bench.pair("a", "b")
    invite = p.start_call(q.user)
    seen = q.expect_request("INVITE")
    assert seen.all("via")[-1].startswith(f"SIP/2.0/UDP {p.ip}:{p.port}") and len(seen.all("via")) <= 5
    assert not seen.all("route") and "stage=" not in repr(seen) and "secret" not in repr(seen)
    assert seen.all("via")[0].startswith("SIP/2.0/UDP") and len(seen.all("record-route")) == 2
    q.reply(seen, 486, to_tag="x")
    p.expect_final(invite)


@scenario("a request to the domain without user part is 404, an unknown scheme 416, Proxy-Require 420")
def _(bench):
    p = bench.phone("b", register=True)
    status(ask(p, "INVITE", f"sip:{DOMAIN}"), 404)
    status(ask(p, "INVITE", "mailto:someone@skald.test"), 416)
    answer = ask(p, "INVITE", f"sip:{p.user}@{DOMAIN}", headers=[("Proxy-Require", "magic")])
    assert "magic" in status(answer, 420).get("unsupported")


@scenario("what belongs into a dialog is 481 outside of one; PUBLISH and SUBSCRIBE that nobody serves are 489")
def _(bench):
    p, q = bench.pair("a", "b")
    for method in ("NOTIFY", "BYE", "INFO", "UPDATE", "PRACK"):
        status(ask(p, method, q.aor), 481)
    for method in ("PUBLISH", "SUBSCRIBE"):
        status(ask(p, method, q.aor, headers=[("Event", "presence")]), 489)


@scenario("an unknown method goes the way of MESSAGE")
def _(bench):
    p, q = bench.pair("a", "c")
    request = p.request("FROBNICATE", q.aor)
    p.send(request)
    request = p.send(p.authorized(request, status(p.expect_final(request), 407)))
    q.reply(q.expect_request("FROBNICATE"), 501, "Not Implemented", to_tag="x")
    status(p.expect_final(request), 501)


@scenario("in a dialog without token: a To tag that nobody knows is 481, and an ACK of that kind is answered by silence")
def _(bench):
    p, q = bench.pair("a", "b")
    status(ask(p, "BYE", q.aor, to_tag="made-up"), 481)
    p.send(p.request("ACK", q.aor, to_tag="made-up"))
    p.expect_nothing(0.3)
    q.expect_nothing(0.1)


@scenario("a preloaded Route that names the domain, the node or its address is an outbound proxy setting, and dropped")
def _(bench):
    p, q = bench.pair("a", "b")
    for host in (DOMAIN, f"a.{DOMAIN}", f"{bench.nodes['a'].address}:5060"):
        invite = p.start_call(q.user, routes=[f"<sip:{host};lr>"])
        seen = q.expect_request("INVITE")
        assert not seen.all("route")
        q.reply(seen, 486, to_tag="x")
        p.ack_failure(invite, status(p.expect_final(invite), 486))


@scenario("a preloaded Route with a token is 403, whoever brings it")
def _(bench):
    p, q = bench.pair("a", "b")
    mine, theirs = establish(p, q)
    for routes in (mine.routes, theirs.routes, mine.routes[:1]):
        for who in (p, outsider(bench, "a"), outsider(bench, "c")):
            status(ask(who, "INVITE", f"sip:{q.user}@{DOMAIN}", routes=routes), 403)
    hang_up(mine, q)


@scenario("a preloaded Route with a token that does not open is 403, in a dialog 481")
def _(bench):
    p, q = bench.pair("a", "b")
    route = f"<sip:{'A' * 90}@{bench.nodes['a'].address};lr>"
    status(ask(p, "INVITE", q.aor, routes=[route]), 403)
    status(ask(p, "BYE", q.aor, to_tag="x", routes=[route]), 481)


@scenario("a token of another dialog opens nothing: 481, and the phone hears nothing")
def _(bench):
    p, q = bench.pair("a", "b")
    thief = bench.phone("a", register=True)
    mine, theirs = establish(p, q)
    for routes in (mine.routes, theirs.routes):
        for call_id, tags in (("other@test", ("x", "y")), (mine.call_id, ("x", "y"))):
            for edge in "abc":
                bye = thief.request("BYE", mine.target, call_id=call_id, from_tag=tags[0], to_tag=tags[1], routes=routes)
                thief.wire.send(bye.encode(), bench.edge(edge))
                status(thief.expect_final(bye), 481)
    for heard in (p, q):
        heard.expect_nothing(0.2, lambda m: m.is_request)
    hang_up(mine, q)


@scenario("a request in a dialog cannot leave for a host that no Contact of it named: 403")
def _(bench):
    p, q = bench.pair("a", "b")
    mine, theirs = establish(p, q)
    victim = Wire("udp", (p.ip, 0), None)
    kept, mine.target = mine.target, "sip:bill@{}:{}".format(*victim.local)
    alone = mine.routes
    # Only the caller's own Record-Route is kept: the Request-URI would decide.
    for routes in (alone[:1],):
        mine.routes = routes
        info = mine.send("INFO")
        assert p.expect_final(info).status in (403, 481)
    assert receive(victim, 0.3) is None
    mine.routes, mine.target = alone, kept
    hang_up(mine, q)


@scenario("a dialog goes on through another edge, over another flow, by its tokens alone")
def _(bench):
    p, q = bench.pair("a", "b")
    mine, theirs = establish(p, q)
    info = mine.request("INFO")
    p.wire.send(info.encode(), bench.edge("c"))
    q.reply(q.expect_request("INFO"), 200)
    status(p.expect_final(info), 200)
    hang_up(theirs, p)


@scenario("a Request-URI that is a Record-Route of ours is replaced by the last Route (RFC 3261 §16.4)")
def _(bench):
    p, q = bench.pair("a", "b")
    mine, theirs = establish(p, q)
    strict = mine.request("INFO")
    inner = [v for n, v in strict.headers if n == "Route"]
    strict.start = f"INFO {inner[0].strip('<>')} SIP/2.0"
    strict.headers = [(n, v) for n, v in strict.headers if n != "Route"]
    strict.headers[2:2] = [("Route", r) for r in inner[1:] + [f"<{mine.target}>"]]
    p.send(strict)
    seen = q.expect_request("INFO")
    assert seen.uri == mine.target, seen.start
    q.reply(seen, 200)
    status(p.expect_final(strict), 200)
    hang_up(mine, q)


def forwarded(bench, invite, edge, uri):
    """The callee's proxy sends the call back into the cluster, from a socket of its own: its Via, `uri`."""
    wire = bench.phone(edge, user="proxy", domain="example.org")
    via = ("Via", wire.via())
    again = Message(f"INVITE {uri} SIP/2.0", [via] + invite.headers, invite.body)
    again.set("Max-Forwards", str(int(invite.get("max-forwards")) - 1))
    wire.send(again)
    return wire, again


def next_of(proxy, callee, request):
    """What comes first: the callee rings, or the forwarded request ends."""
    for _ in range(40):
        for phone in (proxy, callee):
            try:
                return phone.expect(lambda m: m.status is not None and m.status >= 200 and phone is proxy or
                                    m.is_request and m.method == "INVITE", 0.1)
            except NoAnswer:
                pass
    raise NoAnswer("neither rings nor ends")


@scenario("a call forwarded back to the same subscriber is a loop: 482")
def _(bench):
    p, q = bench.pair("a", "b")
    p.start_call(q.user)
    seen = q.expect_request("INVITE")
    for edge in "abc":
        proxy, again = forwarded(bench, seen, edge, q.aor)
        status(proxy.expect_final(again), 482)
    q.expect_nothing(0.2, lambda m: m.is_request and m.method == "INVITE")
    q.reply(seen, 486, to_tag="x")


@scenario("a call forwarded back to another subscriber is a spiral: it rings there, without a challenge")
def _(bench):
    p, q = bench.pair("a", "b")
    r = bench.phone("c", register=True)
    p.start_call(q.user)
    seen = q.expect_request("INVITE")
    proxy, again = forwarded(bench, seen, "b", r.aor)
    third = r.expect_request("INVITE")
    assert len([v for v in third.all("record-route")]) >= 3, third.all("record-route")
    r.reply(third, 486, to_tag="y")
    status(proxy.expect_final(again), 486)
    q.reply(seen, 486, to_tag="x")


@scenario("a loop that names the subscriber by a node's address ends in its second round, by the hash in our Via")
def _(bench):
    p, q = bench.pair("a", "b")
    p.start_call(q.user)
    seen = q.expect_request("INVITE")
    for edge in "bca":
        uri = q.aor.replace(DOMAIN, bench.nodes[edge].address)
        proxy, again = forwarded(bench, seen, edge, uri)
        first = next_of(proxy, q, again)
        if first.is_request:  # it was told apart from the first one: a spiral, once
            proxy, last = forwarded(bench, first, edge, uri)
            status(proxy.expect_final(last), 482)
            q.reply(first, 486, to_tag="z")
        else:
            status(first, 482)
    q.reply(seen, 486, to_tag="x")


@scenario("two phones that forward to each other's subscriber for ever are stopped")
def _(bench):
    p, q = bench.pair("a", "b")
    r = bench.phone("c", register=True)
    p.start_call(q.user)
    seen, final = q.expect_request("INVITE"), None
    for turn in range(40):
        target, phone = (r, r) if turn % 2 == 0 else (q, q)
        proxy, again = forwarded(bench, seen, "abc"[turn % 3], target.aor)
        try:
            seen = phone.expect_request("INVITE", 0.5)
        except Exception:
            final = proxy.expect_final(again)
            break
    assert final and final.status in (482, 483), final
    assert turn <= 3, turn


@scenario("Max-Breadth is shared among the phones, and 440 when it is spent (RFC 5393 §5)")
def _(bench):
    p, q = bench.pair("a", "b")
    second = bench.phone("c", user=q.user, register=True)
    invite = p.start_call(q.user, headers=[("Max-Breadth", "10")])
    seen = [x.expect_request("INVITE") for x in (q, second)]
    assert sum(int(s.get("max-breadth")) for s in seen) <= 10, [s.get("max-breadth") for s in seen]
    for x, s in zip((q, second), seen):
        x.reply(s, 486, to_tag=token(4))
    status(p.expect_final(invite), 486)
    status(ask(p, "INVITE", q.aor, headers=[("Max-Breadth", "0")]), 440)


@scenario("an open relay is refused: foreign caller to foreign callee is 403, by name, address and Route")
def _(bench):
    victim = Wire("udp", (f"{bench.network}.9", 5060), None)
    ip, port = victim.local
    for edge in "abc":
        p = outsider(bench, edge)
        for uri in ("sip:someone@example.net", f"sip:bill@{ip}:{port}", "sips:x@example.net"):
            status(ask(p, "INVITE", uri), 403)
        status(ask(p, "MESSAGE", f"sip:x@{DOMAIN}", routes=[f"<sip:{ip}:{port};lr>"]), 403)
        status(ask(p, "MESSAGE", "sip:x@example.net", routes=[f"<sip:{bench.nodes[edge].address};lr>"]), 403)
    assert receive(victim, 0.3) is None
    victim.close()


@scenario("parameters of ours from outside are cut off before anything reads them")
def _(bench):
    p, q = bench.pair("a", "b")
    invite = p.invite_request(f"sip:{q.user}@{DOMAIN};stage=out;key=00")
    status(p.transact(invite, authenticate=False), 407)
    status(ask(outsider(bench, "a"), "INVITE", "sip:x@example.net",
               routes=[f"<sip:b.{DOMAIN};lr;stage=term;key=0000>"]), 403)


@scenario("sips: to a phone without TLS is 480, to one with TLS it rings and Record-Route says sips")
def _(bench):
    p = bench.phone("a", "tls", register=True)
    plain, safe = bench.phone("b", register=True), bench.phone("b", "tls", register=True)
    status(p.transact(p.invite_request(f"sips:{plain.user}@{DOMAIN}")), 480)
    invite = p.start_call(f"sips:{safe.user}@{DOMAIN}")
    seen = safe.expect_request("INVITE")
    assert all("<sips:" in r for r in seen.all("record-route")), seen.all("record-route")
    sent = safe.reply(seen, 200, "OK", to_tag="s", body=SDP.format(ip=safe.ip))
    mine = Dialog(p, invite, status(p.expect_final(invite), 200), True)
    mine.ack()
    safe.expect_request("ACK")
    hang_up(Dialog(safe, seen, sent, False), p)


@scenario("what is no SIP, STUN and keep-alives harm nobody; a stream's double CRLF is answered (RFC 5626 §4.4.1)")
def _(bench):
    p = bench.phone("a", register=True)
    for junk in (b"\0\0\0\0", b"\r\n\r\n", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 900, b"INVITE"):
        p.wire.send(junk)
    stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"123456789012"
    p.wire.send(stun)
    import select
    assert select.select([p.wire.sock], [], [], 2)[0]
    found = [p.wire.sock.recvfrom(2048)[0]]
    while select.select([p.wire.sock], [], [], 0.2)[0]:
        found.append(p.wire.sock.recvfrom(2048)[0])
    assert any(f[:2] == b"\x01\x01" and f[8:20] == stun[8:20] for f in found), found
    t = bench.phone("b", "tcp")
    t.wire.sock.sendall(b"\r\n\r\n")
    assert t.wire.sock.recv(10) == b"\r\n"
    assert p.register().status == 200 and t.register().status == 200


@scenario("a stream cut into single bytes, and two requests in one write, are read as what they are")
def _(bench):
    p = bench.phone("c", "tcp")
    one, two = (p.request("OPTIONS", f"sip:{DOMAIN}", body="x" * n) for n in (5, 40))
    for byte in one.encode():
        p.wire.sock.send(bytes([byte]))
    status(p.expect_final(one), 200)
    three = p.request("OPTIONS", f"sip:{DOMAIN}")
    p.wire.sock.sendall(two.encode() + three.encode())
    status(p.expect_final(two), 200)
    status(p.expect_final(three), 200)


main(lambda: Bench("127.0.23", users=90))
