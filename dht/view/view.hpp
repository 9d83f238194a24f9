#pragma once
// Who is in the cluster, as an immutable snapshot. A view is made by membership on the cluster thread, and swapped
// whole: every thread holds a shared_ptr<const view> for as long as it likes.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/ids.hpp"

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::dht {

// In the order of strength: of two facts with the same life and incarnation the higher wins (consistency.md §6).
enum class member_state : std::uint8_t { joining, active, draining, dead, left };
std::string_view to_string(member_state s);

// Role names of design §2, as a bit each.
enum class role : std::uint16_t {
  proxy = 1, registrar = 2, relay = 4, presence = 8, xcap = 16, dns = 32, voicemail = 64, rating = 128,
  provisioning = 256, webrtc = 512, xmpp = 1024, peering = 2048,
};
struct role_set {
  std::uint16_t bits = 0;
  bool operator==(const role_set&) const = default;
  bool has(role r) const { return (bits & static_cast<std::uint16_t>(r)) != 0; }
  void add(role r) { bits = static_cast<std::uint16_t>(bits | static_cast<std::uint16_t>(r)); }
  role_set meet(role_set o) const { return {static_cast<std::uint16_t>(bits & o.bits)}; }
};
std::string_view to_string(role r);
std::optional<role> role_from(std::string_view name);
std::vector<std::string_view> names(role_set s); // in the order of the enumerators

// What a node says of itself; signed in the directory record, fetched over a link when its version is not known.
struct member_body {
  std::uint64_t version = 0;        // grows with every change by the node itself
  std::string name;                 // "node7", the first label of its DNS name
  std::vector<ip_address> addresses; // as peers and phones reach it; the first is the one shown
  std::uint16_t overlay_port = 4260, link_port = 4260, sip_port = 5060, sips_port = 5061, dns_port = 53;
  std::string zone;                 // "" : one zone
  std::uint32_t capacity = 100;     // relative, 1..65535
  role_set roles;                   // claimed, already cut down to what the certificate permits
  std::uint32_t wire_lowest = 1, wire_highest = 1; // link protocol versions spoken
  std::string software;             // "skald/0.1.0"
  bool overloaded = false;          // turns too much away: new phones are to be sent to others first
  bool operator==(const member_body&) const = default;
};

struct member {
  node_id id;
  std::uint64_t life = 0;           // max(start time in ms, known + 1)
  std::uint32_t incarnation = 0;
  member_state state = member_state::joining;
  bool suspect = false;             // this node's own opinion; not part of the stamp
  member_body body;                 // body.version 0: not known yet

  bool serving() const { return state == member_state::active || state == member_state::draining; }
  bool alive() const { return serving() || state == member_state::joining; }
};

// Hash of all facts (equality) with the highest version among them (which is newer), consistency.md §6.
struct view_stamp {
  std::uint64_t hash = 0;
  std::uint64_t newest = 0;
  bool operator==(const view_stamp&) const = default;
  std::string text() const;                                   // "hash-newest" in hex, as carried on SIP links
  static std::optional<view_stamp> parse(std::string_view t);
};

struct view {
  node_id self;
  std::vector<member> members;      // sorted by id; the dead and the departed that are still remembered included
  view_stamp stamp;

  const member* find(const node_id& id) const;
  const member* find_name(std::string_view name) const;       // case-insensitive; alive ones before dead ones
  const member& me() const { return *find(self); }
};
using view_ptr = std::shared_ptr<const view>;

} // namespace skald::dht
