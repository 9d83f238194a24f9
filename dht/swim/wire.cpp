#include "dht/swim/wire.hpp"

#include "base/pack.hpp"
#include "dht/view/body_codec.hpp"

#include <algorithm>
#include <limits>

namespace skald::dht {
namespace {

constexpr std::uint64_t flag_echo = 1;
constexpr std::size_t short_fields = 7, all_fields = 13;

void put_rumour(pack::writer& w, const rumour& r) {
  w.array(6);
  w.bin(r.about.id.view());
  w.uint(r.about.self.life);
  w.uint(r.about.self.incarnation);
  w.uint(static_cast<std::uint8_t>(r.about.state));
  w.uint(r.about.version);
  w.array(r.accuser_count);
  for (const accuser a : r.who()) w.uint(a);
}

member_state get_state(pack::reader& r) {
  return static_cast<member_state>(r.number<std::uint8_t>(static_cast<std::uint8_t>(member_state::left)));
}

void get_accusers(pack::reader& r, rumour& out) {
  const std::size_t n = r.array(accusers_max);
  for (std::size_t i = 0; i < n; ++i) out.accusers[i] = r.uint();
  out.accuser_count = static_cast<std::uint8_t>(n);
}

rumour get_rumour(pack::reader& r) {
  rumour out;
  pack::fields f(r);
  if (f.left() < 5) r.fail(); // a fact has no defaults
  out.about.id = f.id<node_id>();
  if (f.next()) out.about.self.life = r.number<std::uint64_t>(life_max);
  if (f.next()) out.about.self.incarnation = r.number<std::uint32_t>(incarnation_max);
  if (f.next()) out.about.state = get_state(r);
  out.about.version = f.uint();
  if (f.next()) get_accusers(r, out);
  return out;
}

void get_rumours(pack::reader& r, std::vector<rumour>& out) {
  for (std::size_t left = r.array(swim_rumours_max); left > 0 && r.ok(); --left) out.push_back(get_rumour(r));
}

swim_kind get_kind(pack::reader& r) {
  const auto k = r.number<std::uint8_t>(static_cast<std::uint8_t>(swim_kind::gossip));
  if (k == 0) r.fail();
  return static_cast<swim_kind>(k);
}

void get_fields(pack::reader& r, swim_message& out) {
  pack::fields f(r);
  if (f.left() < short_fields) return r.fail();
  if (f.next()) out.kind = get_kind(r);
  if (f.next()) out.echo = (r.uint() & flag_echo) != 0;
  if (f.next()) out.sender.self.life = r.number<std::uint64_t>(life_max);
  if (f.next()) out.sender.self.incarnation = r.number<std::uint32_t>(incarnation_max);
  if (f.next()) out.sender.state = get_state(r);
  out.sender.version = f.uint();
  out.digest = f.uint();
  out.sequence = f.number<std::uint32_t>(out.sequence);
  if (f.next()) {
    const std::string_view third = r.bin();
    if (!third.empty() && third.size() != 20) return r.fail();
    if (!third.empty()) out.third = *node_id::from_bytes(third);
  }
  if (f.next()) out.clock = static_cast<unix_ms>(r.number<std::uint64_t>(std::uint64_t{1} << 48));
  if (f.next()) get_rumours(r, out.rumours);
  if (f.next()) out.base_epoch = r.number<std::uint64_t>(base_epoch_max);
  out.base_check = f.number<std::uint32_t>(out.base_check);
}

// [epoch, the ids one after the other]
void put_base(pack::writer& w, const base& b) {
  std::string ids;
  ids.reserve(20 * b.members.size());
  for (const node_id& id : b.members) ids += id.view();
  w.array(2);
  w.uint(b.epoch);
  w.bin(ids);
}

void get_base(pack::reader& r, base& out) {
  pack::fields f(r);
  if (f.next()) out.epoch = r.number<std::uint64_t>(base_epoch_max);
  const std::string_view ids = f.bin();
  if (ids.size() % 20 != 0 || ids.size() > 20 * base_members_max) return r.fail();
  out.members.reserve(ids.size() / 20);
  for (std::size_t at = 0; at < ids.size(); at += 20) {
    const node_id id = *node_id::from_bytes(ids.substr(at, 20));
    if (!out.members.empty() && !(out.members.back() < id)) return r.fail(); // sorted, each once
    out.members.push_back(id);
  }
}

} // namespace

std::string encode(const swim_message& m) {
  std::string out;
  const bool is_short = m.sequence == 0 && m.third.is_zero() && m.clock == 0 && m.rumours.empty() && m.base_epoch == 0;
  out.reserve(is_short ? 48 : 96 + 80 * m.rumours.size());
  out.push_back(static_cast<char>(frame_type::gossip));
  out.push_back(static_cast<char>(swim_version));
  pack::writer w(out);
  w.array(is_short ? short_fields : all_fields);
  w.uint(static_cast<std::uint8_t>(m.kind));
  w.uint(m.echo ? flag_echo : 0);
  w.uint(m.sender.self.life);
  w.uint(m.sender.self.incarnation);
  w.uint(static_cast<std::uint8_t>(m.sender.state));
  w.uint(m.sender.version);
  w.uint(m.digest);
  if (is_short) return out;
  w.uint(m.sequence);
  w.bin(m.third.is_zero() ? std::string_view{} : m.third.view());
  w.uint(static_cast<std::uint64_t>(std::max<unix_ms>(m.clock, 0)));
  SKALD_ASSERT(m.rumours.size() <= swim_rumours_max);
  w.array(m.rumours.size());
  for (const rumour& r : m.rumours) put_rumour(w, r);
  w.uint(m.base_epoch);
  w.uint(m.base_check);
  return out;
}

result<void> decode(std::string_view datagram, swim_message& out) {
  if (datagram.size() > swim_datagram_bytes_max) return std::unexpected(errc::too_large);
  if (datagram.size() < 3) return std::unexpected(errc::malformed);
  if (static_cast<std::uint8_t>(datagram[0]) != static_cast<std::uint8_t>(frame_type::gossip) || datagram[1] == 0)
    return std::unexpected(errc::unsupported);
  std::vector<rumour> memory = std::move(out.rumours);
  memory.clear();
  out = swim_message{};
  out.rumours = std::move(memory);
  pack::reader r(datagram.substr(2));
  get_fields(r, out);
  if (!r.ok()) return std::unexpected(errc::malformed);
  return {};
}

std::string encode(const members_list& l) {
  std::string out;
  out.reserve(32 + 48 * l.facts.size() + 20 * l.agreed.members.size());
  pack::writer w(out);
  w.array(4);
  w.uint(static_cast<std::uint64_t>(std::max<unix_ms>(l.cluster_time, 0)));
  w.array(l.facts.size());
  for (const fact& f : l.facts) put_fact(w, f);
  put_base(w, l.agreed);
  w.uint(l.asked);
  return out;
}

result<members_list> decode_members(std::string_view body) {
  pack::reader r(body);
  members_list out;
  {
    pack::fields f(r);
    if (f.next()) out.cluster_time = static_cast<unix_ms>(r.number<std::uint64_t>(std::uint64_t{1} << 48));
    if (f.next()) {
      const std::size_t n = r.array();
      if (n > members_list_max) return std::unexpected(errc::too_large);
      out.facts.reserve(n);
      for (std::size_t i = 0; i < n && r.ok(); ++i) out.facts.push_back(get_fact(r));
    }
    if (f.next()) get_base(r, out.agreed);
    if (f.next()) out.asked = r.number<std::uint64_t>(std::numeric_limits<std::uint64_t>::max());
  }
  if (!r.ok()) return std::unexpected(errc::malformed);
  return out;
}

} // namespace skald::dht
