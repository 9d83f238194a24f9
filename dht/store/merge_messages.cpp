#include "dht/store/merge_messages.hpp"

#include "base/encoding.hpp"
#include "dht/link/make_frame.hpp"

namespace skald::dht {
namespace {

constexpr std::size_t told_sources_max = 65'536;

std::string numbers(const std::vector<std::uint32_t>& list) {
  std::string out;
  out.reserve(list.size() * 4);
  for (const auto n : list) put_be(out, n);
  return out;
}

std::vector<std::uint32_t> numbers(pack::fields& in) {
  std::vector<std::uint32_t> out;
  auto list = in.bin();
  if (list.size() % 4 != 0) in.fail();
  for (; list.size() >= 4; list.remove_prefix(4)) out.push_back(get_be<std::uint32_t>(list));
  return out;
}

// An empty byte string stands for no partition.
void pack_parts(pack::writer& p, const partition_set& parts) { p.bin(parts.none() ? std::string{} : parts.encode()); }
partition_set unpack_parts(pack::fields& in) {
  const auto bytes = in.bin();
  if (bytes.empty()) return {};
  const auto parts = partition_set::decode(bytes);
  if (!parts) in.fail();
  return parts.value_or(partition_set{});
}

compare_level unpack_level(pack::fields& in) {
  const auto n = in.uint();
  if (n > static_cast<std::uint64_t>(compare_level::sub_ranges)) in.fail();
  return static_cast<compare_level>(n);
}

} // namespace

frame store_compare::encode() const {
  return make_frame(frame_type::store_compare, [&](pack::writer& p) {
    p.array(9).uint(number);
    pack_stamp(p, stamp);
    p.sint(cut).uint(static_cast<std::uint8_t>(level)).boolean(shared);
    pack_parts(p, parts);
    p.bin(numbers(covered));
    std::string list;
    list.reserve(digests.size() * 12);
    for (const auto& [at, digest] : digests) {
      put_be(list, at);
      put_be(list, digest);
    }
    p.bin(list);
  });
}

result<store_compare> store_compare::decode(const frame& f) {
  pack::reader r(f.body);
  store_compare q;
  pack::fields in(r);
  q.number = in.uint();
  q.stamp = unpack_stamp(in);
  q.cut = in.sint();
  q.level = unpack_level(in);
  q.shared = in.boolean();
  q.parts = unpack_parts(in);
  q.covered = numbers(in);
  auto list = in.bin();
  if (!r.ok() || list.size() % 12 != 0) return std::unexpected(errc::malformed);
  for (; !list.empty(); list.remove_prefix(12)) {
    const auto at = get_be<std::uint32_t>(list);
    if (!q.digests.empty() && q.digests.back().first >= at) return std::unexpected(errc::malformed);
    q.digests.emplace_back(at, get_be<std::uint64_t>(list.substr(4)));
  }
  return q;
}

frame store_compared::encode() const {
  return make_frame(frame_type::store_compared, [&](pack::writer& p) {
    p.array(7).uint(number);
    pack_stamp(p, stamp);
    p.uint(static_cast<std::uint8_t>(said)).uint(static_cast<std::uint8_t>(level)).bin(numbers(differ));
    p.array(sources.size());
    for (const auto& s : sources) {
      p.array(3).bin(s.id.view()).sint(s.since);
      pack_parts(p, s.open);
    }
  });
}

result<store_compared> store_compared::decode(const frame& f) {
  pack::reader r(f.body);
  store_compared a;
  {
    pack::fields in(r);
    a.number = in.uint();
    a.stamp = unpack_stamp(in);
    const auto said = in.uint();
    if (said > static_cast<std::uint64_t>(status::begin_again)) in.fail();
    a.said = static_cast<status>(said);
    a.level = unpack_level(in);
    a.differ = numbers(in);
    pack::fields list = in.array(told_sources_max);
    while (list.more()) {
      pack::fields one = list.array();
      auto& s = a.sources.emplace_back();
      s.id = one.id<node_id>();
      s.since = one.sint();
      s.open = unpack_parts(one);
    }
  }
  if (!r.ok()) return std::unexpected(errc::malformed);
  return a;
}

frame store_merge_please::encode() const {
  return make_frame(frame_type::store_merge_please, [&](pack::writer& p) {
    p.array(3);
    pack_stamp(p, stamp);
    pack_parts(p, parts);
  });
}

result<store_merge_please> store_merge_please::decode(const frame& f) {
  pack::reader r(f.body);
  store_merge_please m;
  pack::fields in(r);
  m.stamp = unpack_stamp(in);
  m.parts = unpack_parts(in);
  if (!r.ok()) return std::unexpected(errc::malformed);
  return m;
}

frame store_state::encode() const {
  return make_frame(frame_type::store_state, [&](pack::writer& p) {
    p.array(4).boolean(question);
    pack_stamp(p, stamp);
    p.boolean(settled);
  });
}

result<store_state> store_state::decode(const frame& f) {
  pack::reader r(f.body);
  store_state m;
  pack::fields in(r);
  m.question = in.boolean();
  m.stamp = unpack_stamp(in);
  m.settled = in.boolean();
  if (!r.ok()) return std::unexpected(errc::malformed);
  return m;
}

} // namespace skald::dht
