#include "tests/sim/sip_plants.hpp"

#include "dht/ring/ring.hpp"
#include "dht/ring/rings.hpp"
#include "node/cluster/shared_state.hpp"
#include "sip/message/via.hpp"

#include <algorithm>

namespace skald::sim {
namespace {

constexpr std::uint64_t now_and_then = 12;

// What leaves towards phones: answers that are lost for good, or come twice and differ; requests that come twice, or never.
class perverted_sender final : public sip::message_sender {
public:
  perverted_sender(plant bug, sip::message_sender& real) : bug_(bug), real_(real) {}

  bool send(const sip::flow& where, std::string_view bytes) override {
    if (where.transport != sip::transport::udp) return real_.send(where, bytes);
    const auto m = sip::message::parse(std::string(bytes));
    if (!m) return real_.send(where, bytes);
    if (!m->is_request() && m->status() >= 200 && m->status() != 401 && m->status() != 407) {
      if (bug_ == plant::lost_answers && chosen(*m)) return true;
      if (bug_ == plant::two_answers && chosen(*m) && m->status() == 200 && real_.send(where, bytes)) return real_.send(where, other_answer(*m));
    }
    if (bug_ == plant::lost_cancels && m->is_request() && m->method_id() == sip::method::cancel) return true;
    const bool second_invite = bug_ == plant::second_invites && m->is_request() && m->method_id() == sip::method::invite && chosen(*m);
    const bool second_bye = bug_ == plant::two_farewells && m->is_request() && m->method_id() == sip::method::bye && m->has(sip::header::reason);
    if ((second_invite || second_bye) && real_.send(where, bytes)) return real_.send(where, other_branch(*m));
    return real_.send(where, bytes);
  }

private:
  // The same for all copies of a message.
  bool chosen(const sip::message& m) const {
    return std::hash<std::string_view>{}(m.line(sip::header::call_id).value_or("")) % now_and_then == 0;
  }
  static std::string other_answer(const sip::message& m) {
    sip::message out = sip::message::response(500, "Server Internal Error");
    out.share_fields(m, [](const sip::header_field&) { return true; });
    return out.serialize();
  }
  static std::string other_branch(const sip::message& m) {
    sip::message out = m;
    std::string top(*m.first(sip::header::via));
    if (const auto via = sip::parse_via(top)) top.insert(static_cast<std::size_t>(via->branch.data() - top.data()) + via->branch.size(), "x");
    out.replace_first_value(sip::header::via, top);
    return out.serialize();
  }

  plant bug_;
  sip::message_sender& real_;
};

// Says that an update was carried out, without asking the server.
class deaf_exchange final : public dnsupdate::exchange_port {
public:
  explicit deaf_exchange(dnsupdate::exchange_port& real) : real_(real) {}
  void exchange(const endpoint& server, std::string wire, bool tcp, callback done) override {
    const bool update = wire.size() > 12 && ((static_cast<std::uint8_t>(wire[2]) >> 3) & 0xf) == 5;
    if (!update || ++updates_ == 1) return real_.exchange(server, std::move(wire), tcp, std::move(done));
    std::string ok = wire.substr(0, 4) + std::string(8, '\0');
    ok[2] = static_cast<char>(ok[2] | 0x80);
    done(std::move(ok));
  }

private:
  dnsupdate::exchange_port& real_;
  std::uint64_t updates_ = 0;
};

// A registrar's writes that are said to be held and are not; subscribers who are now and then firmly unknown; names of dead
// nodes that nobody knows who has not seen them die.
class perverted_store final : public dht::store_api {
public:
  perverted_store(plant bug, dht::store_api& real) : bug_(bug), real_(real) {}
  std::vector<dht::record> read(dht::table t, const ring_key& k) const override { return real_.read(t, k); }
  bool answers_for(const ring_key& k) const override { return bug_ != plant::unknown_users && real_.answers_for(k); }
  void write(dht::table t, const ring_key& k, dht::rule r, std::move_only_function<void(dht::write_result)> done) override {
    if (bug_ != plant::ghost_registrations || t != dht::table::bindings) return real_.write(t, k, std::move(r), std::move(done));
    auto records = real_.read(t, k);
    const auto changes = r(records);
    if (!changes) return done({std::unexpected(dht::write_error::refused), changes.error()});
    const bool of_sip = std::ranges::any_of(*changes, [](const dht::change& c) { return c.item.starts_with("c:sip:"); });
    if (!of_sip || ++times_ % now_and_then != 0) return real_.write(t, k, std::move(r), std::move(done));
    for (const dht::change& c : *changes) {
      std::erase_if(records, [&](const dht::record& x) { return x.item == c.item || c.item == dht::floor_item; });
      if (!c.remove) records.push_back({t, k, c.item, c.value, {}, c.expires});
    }
    done({std::move(records)});
  }
  void fetch(dht::table t, const ring_key& k, std::move_only_function<void(dht::fetch_result)> done) override {
    if (bug_ == plant::unknown_users && t == dht::table::subscribers && ++times_ % now_and_then == 0) return done({{}, true});
    if (bug_ == plant::forgotten_names && t == dht::table::settings && k != node::settings_key()) return done({{}, true});
    real_.fetch(t, k, std::move(done));
  }
  void put(dht::table t, const ring_key& k, std::vector<dht::change> c, std::move_only_function<void(dht::write_result)> done) override {
    real_.put(t, k, std::move(c), std::move(done));
  }
  std::vector<dht::record> page(dht::table t, std::string& cursor, std::size_t limit) const override { return real_.page(t, cursor, limit); }
  unix_ms cluster_time() const override { return real_.cluster_time(); }

private:
  plant bug_;
  dht::store_api& real_;
  std::uint64_t times_ = 0;
};

} // namespace

std::unique_ptr<sip::message_sender> plant_sender(plant bug, sip::message_sender& real) {
  if (bug != plant::lost_answers && bug != plant::two_answers && bug != plant::second_invites && bug != plant::lost_cancels && bug != plant::two_farewells)
    return nullptr;
  return std::make_unique<perverted_sender>(bug, real);
}

std::unique_ptr<dnsupdate::exchange_port> plant_exchange(plant bug, dnsupdate::exchange_port& real) {
  if (bug != plant::deaf_dns) return nullptr;
  return std::make_unique<deaf_exchange>(real);
}

std::unique_ptr<dht::store_api> plant_sip_store(plant bug, dht::store_api& real) {
  if (bug != plant::ghost_registrations && bug != plant::unknown_users && bug != plant::forgotten_names) return nullptr;
  return std::make_unique<perverted_store>(bug, real);
}

// Each node takes itself for the owner of the zone's key.
roles::facts_ptr plant_zone_facts(plant bug, roles::facts_ptr real) {
  if (bug != plant::two_publishers || !real->registrars) return real;
  auto alone = dht::serving_members(*real->view, dht::role::registrar);
  std::erase_if(alone, [&](const dht::ring_member& m) { return m.id != real->view->self; });
  auto out = std::make_shared<roles::cluster_facts>(*real);
  out->registrars = dht::ring::build(std::move(alone), nullptr);
  return out;
}

} // namespace skald::sim
