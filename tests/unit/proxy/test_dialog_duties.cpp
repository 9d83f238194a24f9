// What the owner of a dialog does (sip.md §9): reports, denials, and the BYE that could not be delivered (§6).
#include "takeover.hpp"

#include "roles/core/dialog_record.hpp"
#include "roles/proxy/dialog_keeper.hpp"
#include "roles/proxy/identity.hpp"

using namespace skald;
using namespace skald::roles;
using namespace skald::roles::testing;

namespace {

// A call between two phones at n1 and n2, whose dialog n3 owns.
struct owned_call : takeover {
  sip::message invite = ring();
  sip::message ok;

  explicit owned_call(std::string_view contact = {}) : takeover(4) {
    bob.respond(invite, 200, {}, contact);
    c.settle();
    auto got = alice.take_response(200);
    REQUIRE_MESSAGE(got, c.trace);
    ok = *got;
    alice.ack(left(), ok);
    alice.clear(), bob.clear();
    REQUIRE(record());
  }
  std::optional<dialog_record> record() {
    for (const dht::record& r : c.store.read(dht::table::dialogs, dht::key_of_aor(alice.aor())))
      if (auto d = decode_dialog(r.value)) return *d;
    return std::nullopt;
  }
  // With both phones registering on, each at that edge; nullptr: that one is silent.
  void pass_hours(int hours, test_node* alices, test_node* bobs) {
    for (int i = 0; i < hours * 12; ++i) {
      c.advance(seconds(300));
      if (alices != nullptr) alice.register_at(*alices);
      if (bobs != nullptr) bob.register_at(*bobs);
    }
    alice.clear(), bob.clear();
  }
  void hear_bye() {
    const auto bye = bob.take_request("BYE");
    REQUIRE_MESSAGE(bye, c.trace);
    bob.respond(*bye, 200);
    c.settle();
  }
};

constexpr std::string_view natted = "<sip:bob@10.9.9.9:5062>";

} // namespace

TEST_CASE("dialog duties: a call of more than twelve hours stays in the table, as long as an edge has it") {
  owned_call t;
  SUBCASE("both") { t.pass_hours(14, &t.left(), &t.right()); }
  SUBCASE("the caller's") { t.pass_hours(14, &t.left(), nullptr); }
  SUBCASE("the callee's") { t.pass_hours(14, nullptr, &t.right()); }
  CHECK(t.record());
}

TEST_CASE("dialog duties: a dialog that both edges deny is removed, long before its twelve hours are over") {
  owned_call t;
  t.pass_hours(2, nullptr, nullptr); // neither phone is there any more
  CHECK_FALSE(t.record());
}

TEST_CASE("dialog duties: while an edge is dead nobody denies for it; the record ends with its twelve hours") {
  owned_call t;
  t.c.kill(t.right());
  t.c.bury(t.right());
  t.pass_hours(3, nullptr, nullptr);
  CHECK(t.record());
  t.pass_hours(10, nullptr, nullptr);
  CHECK_FALSE(t.record());
}

TEST_CASE("dialog duties: they pass on to the next owner") {
  owned_call t;
  t.c.kill(t.owner());
  t.c.bury(t.owner());
  t.pass_hours(14, &t.left(), &t.right());
  CHECK(t.record());
  t.pass_hours(2, nullptr, nullptr);
  CHECK_FALSE(t.record());
}

TEST_CASE("dialog duties: a BYE that cannot be delivered is 500 and kept, and the owner delivers it once") {
  owned_call t(natted);
  t.c.kill(t.right());
  t.c.bury(t.right());
  t.alice.in_dialog_as_caller(t.left(), t.ok, "BYE");
  CHECK_MESSAGE(t.alice.take_response(500), t.c.trace);
  REQUIRE(t.record());
  CHECK(t.record()->ended == dialog_end::by_caller);
  t.c.advance(seconds(60));
  CHECK(t.bob.inbox.empty());
  t.bob.register_at(t.c.node(3)); // he is there again, by another edge
  t.bob.clear(), t.c.trace.clear();
  t.c.advance(duration(keeper_pass_every) + seconds(1));
  const auto bye = t.bob.take_request("BYE");
  REQUIRE_MESSAGE(bye, t.c.trace);
  CHECK(header_of(*bye, sip::header::call_id) == header_of(t.ok, sip::header::call_id));
  CHECK(tag_of(*bye, sip::header::from) == tag_of(t.ok, sip::header::from));
  CHECK(tag_of(*bye, sip::header::to) == tag_of(t.ok, sip::header::to));
  t.bob.clear(); // UDP: it was repeated meanwhile
  t.bob.respond(*bye, 200);
  t.c.advance(seconds(60));
  CHECK_FALSE(t.record());
  CHECK_MESSAGE(t.bob.count("BYE") == 0, t.c.trace);
}

TEST_CASE("dialog duties: the next owner delivers a kept BYE when the first one is dead") {
  owned_call t(natted);
  t.c.kill(t.right());
  t.c.bury(t.right());
  t.alice.in_dialog_as_caller(t.left(), t.ok, "BYE");
  REQUIRE(t.record());
  t.c.kill(t.owner());
  t.c.bury(t.owner());
  t.bob.register_at(t.c.node(3));
  t.bob.clear();
  t.c.advance(duration(keeper_pass_every) + seconds(1));
  t.hear_bye();
  CHECK_FALSE(t.record());
}

TEST_CASE("dialog duties: the callee's BYE is kept too") {
  owned_call t;
  t.alice.register_at(t.left(), 0);
  t.left().dead_flows.insert(t.alice.address);
  t.alice.clear();
  t.right().dead_flows.insert(t.alice.address); // nor at her Contact
  t.bob.in_dialog_as_callee(t.right(), t.invite, "BYE");
  REQUIRE(t.record());
  CHECK(t.record()->ended == dialog_end::by_callee);
}

TEST_CASE("dialog duties: who says BYE again after a cut is served at once, and nothing is left to be done") {
  owned_call t(natted);
  t.right().dead_flows.insert(t.bob.address);
  t.alice.in_dialog_as_caller(t.left(), t.ok, "BYE");
  CHECK_MESSAGE(t.alice.take_response(500), t.c.trace);
  t.right().dead_flows.clear(); // healed
  t.alice.in_dialog_as_caller(t.left(), t.ok, "BYE");
  t.hear_bye();
  CHECK_MESSAGE(t.alice.take_response(200), t.c.trace);
  t.c.advance(seconds(60));
  CHECK_FALSE(t.record());
  CHECK(t.bob.count("BYE") == 0);
}

TEST_CASE("dialog duties: a BYE is not kept for longer than an hour") {
  owned_call t(natted);
  t.c.kill(t.right());
  t.c.bury(t.right());
  t.alice.in_dialog_as_caller(t.left(), t.ok, "BYE");
  t.c.advance(bye_kept + seconds(10));
  CHECK_FALSE(t.record());
}
