#include "dht/view/view.hpp"

#include "base/encoding.hpp"

#include <algorithm>
#include <charconv>

namespace skald::dht {
namespace {

struct role_name {
  role value;
  std::string_view text;
};
constexpr role_name role_names[] = {
    {role::proxy, "proxy"},         {role::registrar, "registrar"}, {role::relay, "relay"},
    {role::presence, "presence"},   {role::xcap, "xcap"},           {role::dns, "dns"},
    {role::voicemail, "voicemail"}, {role::rating, "rating"},       {role::provisioning, "provisioning"},
    {role::webrtc, "webrtc"},       {role::xmpp, "xmpp"},           {role::peering, "peering"},
};

std::string hex64(std::uint64_t v) {
  std::string raw;
  put_be(raw, v);
  return to_hex(raw);
}

std::optional<std::uint64_t> parse_hex64(std::string_view t) {
  std::uint64_t v = 0;
  const auto [end, error] = std::from_chars(t.data(), t.data() + t.size(), v, 16);
  if (t.size() != 16 || error != std::errc{} || end != t.data() + t.size()) return std::nullopt;
  return v;
}

} // namespace

std::string_view to_string(member_state s) {
  switch (s) {
    case member_state::joining: return "joining";
    case member_state::active: return "active";
    case member_state::draining: return "draining";
    case member_state::dead: return "dead";
    case member_state::left: return "left";
  }
  return "unknown";
}

std::string_view to_string(role r) {
  for (const role_name& n : role_names)
    if (n.value == r) return n.text;
  return "unknown";
}

std::optional<role> role_from(std::string_view name) {
  for (const role_name& n : role_names)
    if (n.text == name) return n.value;
  return std::nullopt;
}

std::vector<std::string_view> names(role_set s) {
  std::vector<std::string_view> out;
  for (const role_name& n : role_names)
    if (s.has(n.value)) out.push_back(n.text);
  return out;
}

std::string view_stamp::text() const { return hex64(hash) + "-" + hex64(newest); }

std::optional<view_stamp> view_stamp::parse(std::string_view t) {
  if (t.size() != 33 || t[16] != '-') return std::nullopt;
  const auto hash = parse_hex64(t.substr(0, 16));
  const auto newest = parse_hex64(t.substr(17));
  if (!hash || !newest) return std::nullopt;
  return view_stamp{*hash, *newest};
}

const member* view::find(const node_id& id) const {
  const auto at = std::ranges::lower_bound(members, id, {}, &member::id);
  return at != members.end() && at->id == id ? &*at : nullptr;
}

const member* view::find_name(std::string_view name) const {
  const member* found = nullptr;
  for (const member& m : members) {
    if (!equal_nocase(m.body.name, name)) continue;
    if (m.alive()) return &m;
    if (found == nullptr) found = &m;
  }
  return found;
}

} // namespace skald::dht
