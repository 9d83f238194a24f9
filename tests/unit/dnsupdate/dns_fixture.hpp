#pragma once
// Views, record look-ups and a DNS server in memory for the tests of this room.
#include "base/encoding.hpp"
#include "base/scheduler.hpp"
#include "dnsupdate/name_server.hpp"
#include "dnsupdate/publisher.hpp"
#include "dnsupdate/zone.hpp"

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

namespace skald::dnsupdate {

inline const std::string domain = "skald.test";

inline dht::member node(std::string name, int number, dht::member_state state = dht::member_state::active, std::uint32_t capacity = 100) {
  dht::member m;
  m.id.bytes[0] = static_cast<std::uint8_t>(number);
  m.state = state;
  m.body.version = 1;
  m.body.name = std::move(name);
  m.body.addresses = {*ip_address::parse("192.0.2." + std::to_string(number))};
  m.body.capacity = capacity;
  for (const dht::role r : {dht::role::proxy, dht::role::registrar, dht::role::dns}) m.body.roles.add(r);
  return m;
}

inline dht::view view_of(std::vector<dht::member> members, std::uint64_t stamp = 1) {
  dht::view v;
  v.self = members.front().id;
  v.members = std::move(members);
  v.stamp = {stamp, stamp};
  return v;
}

inline std::vector<std::string> data_of(const std::vector<record>& records, std::string_view name, rr_type type) {
  std::vector<std::string> out;
  for (const record& r : records)
    if (r.name == name && r.type == type) out.push_back(data_text(r));
  std::ranges::sort(out);
  return out;
}

// Obeys RFC 2136 as far as the publisher uses it; unsigned. Answers come when the test says so.
struct fake_server final : exchange_port {
  explicit fake_server(rng& random) : answers(random) {}

  void exchange(const endpoint&, std::string wire, bool tcp, callback done) override {
    waiting.push_back({std::move(wire), tcp, std::move(done)});
  }

  bool has(const record& r) const {
    return std::ranges::any_of(zone, [&](const record& z) { return z.same_data(r); });
  }

  std::vector<record> set_of(const std::string& name, rr_type type) const {
    std::vector<record> out;
    for (const record& r : zone)
      if (r.name == name && r.type == type) out.push_back(r);
    return out;
  }

  bool prerequisites_hold(const update_seen& u) const {
    std::size_t values = 0;
    for (const auto& p : u.prerequisites) {
      const auto set = set_of(p.what.name, p.what.type);
      if (p.rr_class == 254 && !set.empty()) return false;
      if (p.rr_class == 1 && (!has(p.what) || set.size() != u.prerequisites.size())) return false;
      ++values;
    }
    return values > 0;
  }

  std::uint16_t apply(const update_seen& u) {
    ++updates;
    if (refuse_with != 0) return refuse_with;
    if (!prerequisites_hold(u)) return 8;
    for (const auto& c : u.changes)
      for (const auto& other : u.changes) both_ways = both_ways || (c.rr_class == 254 && other.rr_class == 1 && c.what.same_data(other.what));
    if (deaf) return 0;
    for (const auto& c : u.changes) {
      std::erase_if(zone, [&](const record& z) { return z.same_data(c.what); });
      if (c.rr_class == 1) zone.push_back(c.what);
    }
    return 0;
  }

  std::string reply(const std::string& wire, bool tcp) {
    if (((static_cast<std::uint8_t>(wire[2]) >> 3) & 0xf) == 5) {
      const auto u = read_update(wire);
      std::string out = wire.substr(0, 4) + std::string(8, '\0');
      out[2] = static_cast<char>(out[2] | 0x80);
      out[3] = static_cast<char>(u ? apply(*u) : 1);
      sizes.push_back(wire.size());
      over_tcp = over_tcp || tcp;
      return out;
    }
    if (zone != shown || queries == 0) {
      shown = zone;
      std::vector<record> all = zone;
      all.push_back(soa_record(apex, 3600, {"ns." + apex, "h." + apex, 1, 60, 60, 60, minimum}));
      answers.set_zone(apex, all, true);
    }
    ++queries;
    return answers.answer(wire, *ip_address::parse("192.0.2.99"), true, mono_time{});
  }

  // Answers all that waits, and what comes of it. `lose_updates`: applied, but the answer gets lost.
  void serve() {
    while (!waiting.empty()) {
      one o = std::move(waiting.front());
      waiting.pop_front();
      if (silent) {
        o.done(std::unexpected(errc::expired));
        continue;
      }
      const int before = updates;
      std::string r = reply(o.wire, o.tcp);
      if (lose_updates > 0 && updates != before) {
        --lose_updates;
        o.done(std::unexpected(errc::expired));
      } else {
        o.done(std::move(r));
      }
    }
  }

  struct one {
    std::string wire;
    bool tcp;
    callback done;
  };
  std::deque<one> waiting;
  std::vector<record> zone, shown;
  std::string apex = domain;
  std::uint32_t minimum = 15;
  name_server answers;
  int updates = 0, queries = 0, lose_updates = 0;
  std::uint16_t refuse_with = 0;
  bool silent = false, deaf = false, both_ways = false, over_tcp = false;
  std::vector<std::size_t> sizes;
};

} // namespace skald::dnsupdate
