#!/usr/bin/env python3
"""Whom the cluster believes (sip.md §3): callers, asserted identities, credentials, and who may challenge whom."""
import re
import time

from lab import wait_for
from phone import establish
from scenario import main, scenario
from sipbench import DOMAIN, Bench, answer_with, hang_up, status
from sipmsg import read_challenge

OURS = f'Digest realm="{DOMAIN}", nonce="bait", qop="auth", algorithm=MD5'
OTHERS = 'Digest realm="gateway.example", nonce="theirs", qop="auth", algorithm=MD5'


def outsider(bench, edge, user="zoe"):
    return bench.phone(edge, user=user, domain="example.org")


def rung(caller, callee, **kw):
    """The INVITE as the callee sees it; the call is refused then."""
    invite = caller.start_call(f"sip:{callee.user}@{DOMAIN}", challenged=caller.domain == DOMAIN, **kw)
    seen = answer_with(callee, 486, "Busy Here")
    caller.ack_failure(invite, status(caller.expect_final(invite), 486))
    return seen


@scenario("a caller is challenged with 407 for the domain's realm and qop=auth, and rings with credentials")
def _(bench):
    p, q = bench.pair("a", "b")
    first = status(p.transact(p.invite_request(q.user), authenticate=False), 407)
    challenge = read_challenge(first.get("proxy-authenticate"))
    assert challenge["realm"] == DOMAIN and challenge["qop"] == "auth" and challenge["algorithm"] == "MD5"
    rung(p, q)


@scenario("a wrong password of a caller is challenged, then 403; an unknown caller looks the same")
def _(bench):
    q = bench.phone("b", register=True)
    for p in (bench.phone("a", password="wrong"), bench.phone("a", user="no-such-caller")):
        status(p.transact(p.invite_request(q.user), authenticate=False), 407)
        status(p.transact(p.invite_request(q.user)), 403)
    q.expect_nothing(0.2, lambda m: m.is_request and m.method == "INVITE")


@scenario("forged From of another subscriber: 407, with one's own credentials 403")
def _(bench):
    p, q = bench.pair("a", "b")
    victim = bench.phone("c", register=True)
    for who in (p, outsider(bench, "a"), outsider(bench, "b")):
        status(who.transact(who.invite_request(f"sip:{q.user}@{DOMAIN}", from_uri=victim.aor), authenticate=False), 407)
    status(p.transact(p.invite_request(q.user, from_uri=victim.aor)), 403)
    status(p.transact(p.request("MESSAGE", q.aor, from_uri=victim.aor)), 403)
    q.expect_nothing(0.2, lambda m: m.is_request and m.method != "OPTIONS")


@scenario("a subscriber's flow is challenged whatever its From says: a foreign one, or anonymous")
def _(bench):
    p, q = bench.pair("a", "b")
    for said in ("sip:boss@example.org", "sip:anonymous@anonymous.invalid"):
        status(p.transact(p.invite_request(q.user, from_uri=said), authenticate=False), 407)
    status(p.transact(p.invite_request(q.user, from_uri="sip:boss@example.org")), 403)


@scenario("an anonymous From with credentials rings, and says nobody's name (RFC 3323)")
def _(bench):
    p, q = bench.pair("a", "b")
    seen = rung(p, q, from_uri="sip:anonymous@anonymous.invalid", headers=[("Privacy", "id")])
    assert not seen.get("p-asserted-identity") and p.user not in seen.get("from"), repr(seen)


@scenario("a forged P-Asserted-Identity never arrives; the subscriber's own is written by the cluster")
def _(bench):
    p, q = bench.pair("a", "b")
    forged = [("P-Asserted-Identity", f"<sip:president@{DOMAIN}>"), ("P-Asserted-Identity", "<tel:+1>")]
    for caller in (p, outsider(bench, "a")):
        seen = rung(caller, q, headers=forged)
        assert "president" not in repr(seen) and "tel:+1" not in repr(seen), repr(seen)
    asserted = rung(p, q).get("p-asserted-identity")
    assert asserted is None or p.user in asserted, asserted


@scenario("a P-Preferred-Identity of another subscriber does not help: 403")
def _(bench):
    p, q = bench.pair("a", "b")
    victim = bench.phone("c", register=True)
    wish = [("P-Preferred-Identity", f"<{victim.aor}>")]
    answer = p.transact(p.invite_request(q.user, from_uri=victim.aor, headers=wish))
    status(answer, 403)
    status(outsider(bench, "b").transact(outsider(bench, "b").invite_request(f"sip:{q.user}@{DOMAIN}", headers=wish),
                                         authenticate=False), 407)


@scenario("credentials for our realm never leave: no Authorization of ours reaches the callee, in a dialog neither")
def _(bench):
    p, q = bench.pair("a", "b")
    seen = rung(p, q)
    assert not seen.get("proxy-authorization") and not seen.get("authorization"), repr(seen)
    mine, theirs = establish(p, q)
    stolen = p.nonce_counts and [("Proxy-Authorization", f'Digest username="{p.user}", realm="{DOMAIN}", nonce="n", '
                                  f'uri="sip:x", response="00"')]
    info = mine.send("INFO", headers=stolen)
    seen = q.expect_request("INFO")
    assert not seen.get("proxy-authorization"), repr(seen)
    q.reply(seen, 200)
    status(p.expect_final(info), 200)
    p.send(mine.request("ACK", cseq=mine.invite_cseq, headers=stolen))
    assert not q.expect_request("ACK").get("proxy-authorization")
    hang_up(mine, q)


@scenario("a callee that answers an INVITE with a challenge of our realm: cut out, the caller gets 500")
def _(bench):
    p, q = bench.pair("a", "b")
    for code, header in ((407, "Proxy-Authenticate"), (401, "WWW-Authenticate")):
        invite = p.start_call(q.user)
        answer_with(q, code, "Bait", [(header, OURS)])
        final = status(p.expect_final(invite), 500)
        p.ack_failure(invite, final)
        assert not final.get(header) and "bait" not in repr(final)


@scenario("a callee that answers a re-INVITE, INFO or BYE with a challenge of our realm: 500, whichever side asks")
def _(bench):
    p, q = bench.pair("a", "b")
    mine, theirs = establish(p, q)
    for side, other in ((mine, q), (theirs, p)):
        for method, code, header in (("INVITE", 407, "Proxy-Authenticate"), ("INFO", 401, "WWW-Authenticate"),
                                     ("INFO", 407, "Proxy-Authenticate")):
            ask = side.send(method)
            other.reply(other.expect_request(method), code, "Bait", headers=[(header, OURS)])
            final = status(side.phone.expect_final(ask), 500)
            assert "bait" not in repr(final), repr(final)
            if method == "INVITE":
                side.phone.ack_failure(ask, final)
                other.expect_request("ACK")
    hang_up(mine, q)


@scenario("challenges of other realms pass, with ours beside them cut out")
def _(bench):
    p, q = bench.pair("a", "b")
    invite = p.start_call(q.user)
    answer_with(q, 407, "Gateway", [("Proxy-Authenticate", OTHERS), ("Proxy-Authenticate", OURS)])
    final = status(p.expect_final(invite), 407)
    p.ack_failure(invite, final)
    assert [read_challenge(v)["realm"] for v in final.all("proxy-authenticate")] == ["gateway.example"], repr(final)


@scenario("credentials for another realm pass to the callee, ours beside them are cut out")
def _(bench):
    p, q = bench.pair("a", "b")
    foreign = 'Digest username="x", realm="gateway.example", nonce="theirs", uri="sip:x", response="11"'
    seen = rung(p, q, headers=[("Authorization", foreign)])
    assert seen.all("authorization") == [foreign], repr(seen)


@scenario("a digest for another Request-URI is 400, auth-int is 400")
def _(bench):
    p, q = bench.pair("a", "b")
    ask = p.invite_request(q.user)
    first = status(p.transact(ask, authenticate=False), 407)
    status(p.transact(p.authorized(ask, first, digest_uri=f"sip:premium@{DOMAIN}"), authenticate=False), 400)
    status(p.transact(p.authorized(ask, first, digest_uri="sip:premium.example"), authenticate=False), 400)
    request = p.authorized(ask, first)
    request.set("Proxy-Authorization", request.get("proxy-authorization").replace("qop=auth,", "qop=auth-int,"))
    status(p.transact(request, authenticate=False), 400)


@scenario("a digest that names only the server is taken, as sipp makes it (docs/decisions/0018)")
def _(bench):
    p, q = bench.pair("a", "b")
    ask = p.request("MESSAGE", q.aor, body="hello", content_type="text/plain")
    first = status(p.transact(ask, authenticate=False), 407)
    p.send(p.authorized(ask, first, digest_uri=f"sip:{bench.edge('a')[0]}:5060"))
    assert q.expect_request("MESSAGE").body == "hello"


@scenario("an INVITE's credentials sniffed and sent again for another call are stale, at every edge")
def _(bench):
    p, q = bench.pair("a", "b")
    ask = p.authorized(p.invite_request(q.user), status(p.transact(p.invite_request(q.user), authenticate=False), 407))
    p.send(ask)
    p.ack_failure(ask, (answer_with(q, 486), p.expect_final(ask))[1])
    thief = outsider(bench, "b")
    for edge in "abc":
        again = thief.invite_request(f"sip:{q.user}@{DOMAIN}", from_uri=p.aor,
                                     headers=[("Proxy-Authorization", ask.get("proxy-authorization"))])
        thief.wire.send(again.encode(), bench.edge(edge))
        final = status(thief.expect_final(again), 407)
        assert "stale=true" in final.get("proxy-authenticate")
    q.expect_nothing(0.2, lambda m: m.is_request and m.method == "INVITE")


@scenario("a made-up nonce with a right digest is challenged anew, with a wrong one too")
def _(bench):
    p, q = bench.pair("a", "b")
    ask = p.invite_request(q.user)
    first = p.transact(ask, authenticate=False)
    first.set("Proxy-Authenticate", re.sub(r'nonce="[^"]*"', 'nonce="AAAA"', first.get("proxy-authenticate")))
    status(p.transact(p.authorized(ask, first), authenticate=False), 407)
    assert "stale=true" not in status(p.transact(p.authorized(ask, first, password="no"), authenticate=False),
                                      403, 407).get("proxy-authenticate", "")


@scenario("a foreign caller rings a subscriber without any challenge, BYE ends it from both sides")
def _(bench):
    q = bench.phone("b", register=True)
    for ender in (0, 1):
        z = outsider(bench, "a")
        dialogs = establish(z, q, uri=q.aor, challenged=False)
        hang_up(dialogs[ender], (q, z)[ender])


@scenario("inbound: peers refuses foreign callers with 403; hide_users makes a callee that does not exist 480")
def _(bench):
    q = bench.phone("b", register=True)
    z = outsider(bench, "a")
    a = bench.nodes["a"]
    try:
        a.cli("set", "inbound", "peers")
        a.cli("set", "hide_users", "true")
        def answered(wanted):
            return z.transact(z.request("MESSAGE", f"sip:nobody-at-all@{DOMAIN}")).status == wanted

        wait_for("inbound: peers", 5, lambda: answered(403))
        a.cli("set", "inbound", "all")
        wait_for("hide_users", 5, lambda: answered(480))
    finally:
        a.cli("set", "inbound", "all")
        a.cli("set", "hide_users", "false")


@scenario("SHA-256 and MD5 offered in the order of the setting, and both are taken (RFC 8760)")
def _(bench):
    bench.cluster.add_user("modern")
    bench.cluster.add_user("friend")
    a = bench.nodes["a"]
    a.cli("set", "digest_algorithms", "SHA-256,MD5")
    try:
        p = bench.phone("b", user="modern")
        end = time.monotonic() + 4
        while True:
            first = status(p.register(authenticate=False), 401)
            offered = [read_challenge(v).get("algorithm") for v in first.all("www-authenticate")]
            if len(offered) == 2 or time.monotonic() > end:
                break
        assert offered == ["SHA-256", "MD5"], offered
        status(p.register(), 200)  # it takes the first one: SHA-256
        assert "algorithm=SHA-256" in p.last_request.get("authorization")
        q = bench.phone("c", user="friend", register=True)
        mine, _ = establish(p, q)
        hang_up(mine, q)
        only = [v for v in first.all("www-authenticate") if "MD5" in v][0]
        first.headers = [(n, v) for n, v in first.headers if n.lower() != "www-authenticate"] + [("WWW-Authenticate", only)]
        again = p.request("REGISTER", f"sip:{DOMAIN}", to=p.aor, contact=False, headers=[("Contact", p.contact)])
        status(p.transact(p.authorized(again, first), authenticate=False), 200)
    finally:
        a.cli("set", "digest_algorithms", "MD5")


main(lambda: Bench("127.0.24", users=70))
