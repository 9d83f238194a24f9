#include "bench.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::bench;

TEST_CASE("registrar: challenge, digest, 200: the binding is held, and given back with its expiry (RFC 3261 §10.3)") {
  bench::bench b;
  phone p;
  const sip::message challenge = b.send(p);
  CHECK(challenge.status() == 401);
  CHECK_FALSE(is_stale(challenge));
  CHECK(b.bindings().empty());

  const sip::message ok = b.register_with_digest(p);
  REQUIRE(ok.status() == 200);
  CHECK(contacts_in(ok) == std::vector<std::string>{"<sip:alice@192.0.2.1:5062>;expires=600"});
  CHECK(ok.first(sip::header::date) == "Tue, 14 Nov 2023 22:13:20 GMT");
  REQUIRE(b.bindings().size() == 1);
  const binding kept = b.bindings()[0];
  CHECK(kept.aor == "sip:alice@example.com");
  CHECK(kept.edge == "node1");
  CHECK(kept.path.size() == 1);
  CHECK(kept.expires == b.cluster.kept.now + 600'000);
  CHECK(kept.id == sip::binding_id("sip:alice@example.com", "sip:alice@192.0.2.1:5062"));
  CHECK(b.changed == std::vector<std::string>{"sip:alice@example.com"});
}
