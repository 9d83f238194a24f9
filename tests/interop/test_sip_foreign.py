#!/usr/bin/env python3
"""Calls to and from another domain, by numeric address (RFC 3263 §4.2): a scripted server of example.org on loopback."""
import re
import socket

from phone import SDP, Dialog, Phone, establish
from scenario import main, scenario
from sipbench import DOMAIN, Bench, ServerWire, answer_with, cancel_of, cancelled, free_port, hang_up, re_invite, status
from sipmsg import Message, read_challenge, token


def bill(bench, **kw):
    """A UA of a foreign domain that is its own server; its AoR names its address."""
    z = bench.phone("a", user="bill", domain="example.org", **kw)
    z.uri = f"sip:bill@{z.ip}:{z.port}"
    return z


def tcp_bill(bench):
    """The same as a TCP server."""
    z = Phone("bill", "example.org", None, "tcp", wire=ServerWire(f"{bench.network}.90"))
    bench.phones.append(z)
    z.uri = f"sip:bill@{z.ip}:{z.port}"
    return z


@scenario("a subscriber calls a foreign address: both sides re-INVITE, the caller hangs up")
def _(bench):
    p, z = bench.phone("b", register=True), bill(bench)
    mine, theirs = establish(p, z, uri=z.uri)
    re_invite(mine, theirs)
    re_invite(theirs, mine)
    hang_up(mine, z)


@scenario("the foreign callee hangs up, through the Record-Route that we gave it")
def _(bench):
    p, z = bench.phone("b", register=True), bill(bench)
    _, theirs = establish(p, z, uri=z.uri)
    hang_up(theirs, p)


@scenario("signalling to a foreign callee leaves from the caller's edge, with one Record-Route and no credentials")
def _(bench):
    for edge in "abc":
        p, z = bench.phone(edge, register=True), bill(bench)
        invite = p.start_call(z.uri)
        seen = z.expect_request("INVITE")
        assert seen.source == bench.edge(edge), (seen.source, edge)
        assert seen.uri == z.uri and len(seen.all("record-route")) == 1 and not seen.get("proxy-authorization")
        assert "stage=" not in repr(seen) and not seen.all("route"), repr(seen)
        z.reply(seen, 486, to_tag="x")
        p.ack_failure(invite, status(p.expect_final(invite), 486))


@scenario("Privacy: id keeps the subscriber's identity inside (RFC 3325 §7)")
def _(bench):
    p, z = bench.phone("a", register=True), bill(bench)
    invite = p.start_call(z.uri, from_uri="sip:anonymous@anonymous.invalid", headers=[("Privacy", "id")])
    seen = answer_with(z, 486)
    assert p.user not in seen.get("from") and not seen.get("p-asserted-identity"), repr(seen)
    p.ack_failure(invite, status(p.expect_final(invite), 486))


@scenario("a CANCEL follows the INVITE out of the cluster")
def _(bench):
    p, z = bench.phone("c", register=True), bill(bench)
    invite = p.start_call(z.uri)
    seen = z.expect_request("INVITE")
    z.reply(seen, 180, "Ringing", to_tag=token(4))
    p.expect_status(invite, 180)
    status(p.expect_final(p.send(cancel_of(invite))), 200)
    cancelled(z, seen)
    p.ack_failure(invite, status(p.expect_final(invite), 487))


@scenario("a foreign 503 becomes 500, its other failures pass, its challenge passes, ours is cut out")
def _(bench):
    p, z = bench.phone("a", register=True), bill(bench)
    bait = ("Proxy-Authenticate", f'Digest realm="{DOMAIN}", nonce="bait", qop="auth"')
    theirs = ("Proxy-Authenticate", 'Digest realm="example.org", nonce="n", qop="auth"')
    for code, extra, wanted in ((503, [], 500), (404, [], 404), (604, [], 604), (407, [theirs], 407), (407, [bait], 500),
                                (407, [bait, theirs], 407)):
        invite = p.start_call(z.uri)
        answer_with(z, code, "No", extra)
        final = status(p.expect_final(invite), wanted)
        p.ack_failure(invite, final)
        assert "bait" not in repr(final)
        if wanted == 407:
            assert read_challenge(final.get("proxy-authenticate"))["realm"] == "example.org"


@scenario("MESSAGE and OPTIONS pass to a foreign server")
def _(bench):
    p, z = bench.phone("b", register=True), bill(bench)
    for method in ("MESSAGE", "OPTIONS"):
        ask = p.request(method, z.uri)
        p.send(ask)
        ask = p.send(p.authorized(ask, status(p.expect_final(ask), 407)))
        z.reply(z.expect_request(method), 200, to_tag="x")
        status(p.expect_final(ask), 200)


@scenario("transport=tcp in the URI opens a connection, and the whole call runs over it")
def _(bench):
    p, z = bench.phone("a", register=True), tcp_bill(bench)
    invite = p.start_call(z.uri + ";transport=tcp")
    seen = z.expect_request("INVITE")
    sent = z.reply(seen, 200, "OK", to_tag=token(4), body=SDP.format(ip=z.ip))
    mine = Dialog(p, invite, status(p.expect_final(invite), 200), True)
    mine.ack()
    z.expect_request("ACK")
    theirs = Dialog(z, seen, sent, False)
    info = z.send(theirs.request("INFO"))
    p.reply(p.expect_request("INFO"), 200)
    status(z.expect_final(info), 200)
    hang_up(mine, z)


@scenario("a request over 1300 bytes tries TCP towards a server first, and falls back to UDP (RFC 3261 §18.1.1)")
def _(bench):
    p, z = bench.phone("a", register=True), bill(bench)
    long = "v=0\r\n" + "a=x-long:" + "y" * 1500 + "\r\n"
    invite = p.start_call(z.uri, body=long)
    seen = answer_with(z, 486)
    assert len(seen.body) == len(long)
    p.ack_failure(invite, status(p.expect_final(invite), 486))
    far = tcp_bill(bench)
    invite = p.start_call(far.uri, body=long)
    far.reply(far.expect_request("INVITE"), 486, to_tag="x")
    p.ack_failure(invite, status(p.expect_final(invite), 486))


@scenario("a server that refuses the connection is 480 to the caller at once")
def _(bench):
    p = bench.phone("a", register=True)
    port = free_port(f"{bench.network}.91", socket.SOCK_STREAM)
    status(p.transact(p.invite_request(f"sip:bill@{bench.network}.91:{port};transport=tcp")), 480)


@scenario("a host that does not exist is answered without delay")
def _(bench):
    p = bench.phone("a", register=True)
    status(p.transact(p.invite_request("sip:bill@no-such-host.invalid"), seconds=10), 404, 480, 500)


@scenario("a foreign caller behind its own proxy: Routes after ours are followed to it")
def _(bench):
    z, q = bill(bench), bench.phone("b", register=True)
    proxy = bill(bench)
    hop = f"<sip:{proxy.ip}:{proxy.port};lr>"
    invite = z.start_call(q.aor, challenged=False, headers=[("Record-Route", hop)])
    seen = q.expect_request("INVITE")
    sent = q.reply(seen, 200, "OK", to_tag=token(4), body=SDP.format(ip=q.ip))
    status(z.expect_final(invite), 200)
    theirs = Dialog(q, seen, sent, False)
    bye = theirs.send("BYE")
    heard = proxy.expect_request("BYE")
    assert heard.uri == f"sip:bill@{z.ip}:{z.port}" and heard.all("route") == [hop], repr(heard)
    proxy.reply(heard, 200)
    status(q.expect_final(bye), 200)


@scenario("our user's call, forwarded back to us by the foreign callee, rings without a challenge")
def _(bench):
    p, z, q = bench.phone("a", register=True), bill(bench), bench.phone("c", register=True)
    invite = p.start_call(z.uri)
    seen = z.expect_request("INVITE")
    back = Message(f"INVITE {q.aor} SIP/2.0", [("Via", z.via())] + seen.headers, seen.body)
    back.set("Max-Forwards", "20")
    z.wire.send(back.encode(), bench.edge("b"))
    rung = q.expect_request("INVITE")
    q.reply(rung, 200, "OK", to_tag=token(4), body=SDP.format(ip=q.ip))
    ok = status(z.expect(lambda m: m.status == 200 and m.get("call-id") == invite.get("call-id")), 200)
    z.wire.send(Message(ok.start, [h for h in ok.headers if h[0].lower() != "via"] +
                        [("Via", v) for v in ok.all("via")[1:]], ok.body).encode(), seen.source)
    mine = Dialog(p, invite, status(p.expect_final(invite), 200), True)
    assert len(mine.routes) >= 2 and re.search(r"@[\d.]+", mine.routes[0])
    mine.ack()
    q.expect_request("ACK")
    hang_up(mine, q)


@scenario("the same with another Call-ID or From tag has not passed here: 407")
def _(bench):
    p, z, q = bench.phone("a", register=True), bill(bench), bench.phone("c", register=True)
    p.start_call(z.uri)
    seen = z.expect_request("INVITE")
    for name, value in (("Call-ID", "another@test"), ("From", f"<{p.aor}>;tag=another")):
        back = Message(f"INVITE {q.aor} SIP/2.0", [("Via", z.via())] + seen.headers, seen.body).set(name, value)
        status(z.transact(back, authenticate=False), 407)
    z.reply(seen, 486, to_tag="x")
    q.expect_nothing(0.2, lambda m: m.is_request and m.method == "INVITE")


@scenario("a foreign phone's BYE from a stranger's address is let through by its token; without the token it is 481")
def _(bench):
    p, z, thief = bench.phone("a", register=True), bill(bench), bill(bench)
    mine, theirs = establish(p, z, uri=z.uri)
    bare = theirs.request("BYE")
    bare.headers = [(n, v) for n, v in bare.headers if n != "Route"]
    bare.start = f"BYE {p.aor} SIP/2.0"
    thief.send(bare)
    status(thief.expect_final(bare), 481)
    hang_up(theirs, p)


main(lambda: Bench("127.0.26"))
