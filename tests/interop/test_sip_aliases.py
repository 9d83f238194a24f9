#!/usr/bin/env python3
"""Aliases: set by the command line at any node, called and presented through any edge (sip.md §3)."""
from concurrent.futures import ThreadPoolExecutor

from operator_kit import answer, ask, refused
from phone import establish
from scenario import main, scenario
from sipbench import DOMAIN, Bench, answer_with, hang_up, status

SECOND = "second.test"


def aor(user, domain=DOMAIN):
    return f"{user}@{domain}"


def sip(user, domain=DOMAIN):
    return f"sip:{user}@{domain}"


def listed(node, user):
    return [r["alias"] for r in answer(node, "user", "alias", "list", aor(user))]


def rung_by(caller, uri, callee, **kw):
    """The INVITE as the callee sees it; the call is refused then."""
    invite = caller.start_call(uri, **kw)
    seen = answer_with(callee, 486, "Busy Here")
    caller.ack_failure(invite, status(caller.expect_final(invite), 486))
    return seen


def message(p, to, wanted, **kw):
    return status(p.transact(p.request("MESSAGE", to, **kw)), wanted)


@scenario("an alias set at one node is called through every edge, by INVITE and MESSAGE, in the other domain too")
def _(bench):
    p, q = bench.pair("a", "b")
    a, b, c = (bench.nodes[n] for n in "abc")
    assert answer(a, "user", "alias", "add", aor(q.user), aor("sales")) == {"added": sip("sales"), "aor": sip(q.user)}
    answer(b, "set", "domains", SECOND)
    while True:  # the setting has reached node c when it takes this
        code, _, err = ask(c, "user", "alias", "add", aor(q.user), aor("verkauf", SECOND))
        if code == 0:
            break
        assert "domain" in err, err
    assert listed(b, q.user) == [sip("sales"), sip("verkauf", SECOND)]
    for edge in "abc":
        caller = bench.phone(edge, register=True)
        for uri in (sip("sales"), sip("SALES").replace("SALES", "sales") + ";user=phone"):
            assert rung_by(caller, uri, q).uri.startswith(f"sip:{q.user}@{q.ip}"), edge
    mine, theirs = establish(p, q, uri=sip("sales"))
    hang_up(theirs, p)
    z = bench.phone("c", user="zoe", domain="example.org")
    rung_by(z, sip("verkauf", SECOND), q, challenged=False)
    bench.sales = q


@scenario("From and P-Preferred-Identity may be an alias of the credentials' user, at every edge; another's may not")
def _(bench):
    q = bench.phone("c", register=True)
    owner = bench.sales
    for edge in "abc":
        p = bench.phone(edge, user=owner.user, register=True)
        wish = [("P-Preferred-Identity", f"<{sip('sales')}>")]
        seen = rung_by(p, q.aor, q, from_uri=sip("sales"), headers=wish)
        assert sip("sales") in seen.get("from") and sip("sales") in seen.get("p-asserted-identity", ""), repr(seen)
        p.register(expires=0)
    thief = bench.phone("a", register=True)
    message(thief, q.aor, 403, from_uri=sip("sales"))
    message(owner, q.aor, 403, from_uri=sip(thief.user))
    owner.register()


@scenario("an alias has no password and no bindings of its own: it registers with nobody's, its owner's included")
def _(bench):
    for password in ("secret", "wrong"):
        status(bench.phone("b", user="sales", password=password).register(), 403)
    assert bench.bindings("sales") == []
    q = bench.phone("b", register=True)
    message(bench.phone("a", user="sales"), q.aor, 403)


@scenario("what cannot be an alias is refused with who has it, at any node, and changes nothing")
def _(bench):
    a, b = bench.nodes["a"], bench.nodes["b"]
    one, two = bench.user(), bench.user()
    refused(a, 1, f"{sip(two)} is a subscriber already|user del", "user", "alias", "add", aor(one), aor(two))
    refused(b, 1, f"{sip('sales')} is an alias of {bench.sales.aor}", "user", "alias", "add", aor(one), aor("sales"))
    refused(b, 1, f"{sip('sales')} is an alias of {bench.sales.aor} already", "user", "alias", "add", aor(bench.sales.user), aor("sales"))
    refused(a, 1, "alias of itself", "user", "alias", "add", aor(one), aor(one))
    refused(a, 1, "sip:x@elsewhere.test is not in a domain", "user", "alias", "add", aor(one), "x@elsewhere.test")
    refused(b, 1, f"there is no {sip('nobody')}", "user", "alias", "add", aor("nobody"), aor("fresh"))
    refused(b, 1, f"{sip('sales')} is an alias of {bench.sales.aor}", "user", "alias", "add", aor("sales"), aor("fresh"))
    refused(a, 1, f"{sip('sales')} is not an alias of {sip(one)}", "user", "alias", "del", aor(one), aor("sales"))
    refused(a, 1, f"there is no {sip('nobody')}", "user", "alias", "list", aor("nobody"))
    refused(a, 2, "ALIAS", "user", "alias", "add", aor(one))
    for command in (["user", "add", aor("sales"), "--password-stdin"], ["user", "passwd", aor("sales"), "--password-stdin"],
                    ["user", "del", aor("sales")]):
        refused(b, 1, f"{sip('sales')} is an alias of {bench.sales.aor}", *command, stdin="x\n")
    assert listed(a, one) == [] and listed(b, bench.sales.user) == [sip("sales"), sip("verkauf", SECOND)]
    rows = {r["aor"]: r["aliases"] for r in answer(b, "user", "list")}
    assert rows[bench.sales.aor] == [sip("sales"), sip("verkauf", SECOND)] and sip("sales") not in rows, rows
    assert "sales" in ask(a, "user", "alias", "list", aor(bench.sales.user))[1]


@scenario("a new password keeps the aliases")
def _(bench):
    answer(bench.nodes["c"], "user", "passwd", aor(bench.sales.user), "--password-stdin", stdin="secret\n")
    assert len(listed(bench.nodes["a"], bench.sales.user)) == 2


@scenario("an import of who is there already keeps his aliases, and two changes at once at two nodes are both there")
def _(bench):
    user = bench.sales.user
    answer(bench.nodes["b"], "user", "import", "-", stdin=f"aor,password\n{aor(user)},secret\n")
    assert len(listed(bench.nodes["a"], user)) == 2
    extra = [aor(f"extra{i}") for i in range(6)]
    with ThreadPoolExecutor() as pool:
        done = [pool.submit(answer, bench.nodes["abc"[i % 3]], "user", "alias", "add", aor(user), x) for i, x in enumerate(extra)]
        done.append(pool.submit(answer, bench.nodes["a"], "user", "passwd", aor(user), "--password-stdin", stdin="secret\n"))
        for d in done:
            d.result()
    assert len(listed(bench.nodes["c"], user)) == 8, listed(bench.nodes["c"], user)
    for x in extra:
        answer(bench.nodes["a"], "user", "alias", "del", aor(user), x)
    assert len(listed(bench.nodes["b"], user)) == 2


@scenario("deleted, an alias is a 404 through every edge, may not be presented, and is free for another")
def _(bench):
    answer(bench.nodes["b"], "user", "alias", "del", aor(bench.sales.user), aor("sales"))
    q = bench.phone("b", register=True)
    for edge in "abc":
        message(bench.phone(edge, register=True), sip("sales"), 404)
    message(bench.sales, q.aor, 403, from_uri=sip("sales"))
    answer(bench.nodes["c"], "user", "alias", "add", aor(q.user), aor("sales"))
    rung_by(bench.phone("a", register=True), sip("sales"), q)


@scenario("a deleted subscriber's aliases go with him, and are free")
def _(bench):
    answer(bench.nodes["a"], "user", "del", aor(bench.sales.user))
    message(bench.phone("a", register=True), sip("verkauf", SECOND), 404)
    bench.cluster.add_user(aor("verkauf", SECOND))


main(lambda: Bench("127.0.39"))
