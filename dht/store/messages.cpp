#include "dht/store/messages.hpp"

#include "base/encoding.hpp"
#include "dht/link/make_frame.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

table unpack_table(pack::fields& in) {
  const auto n = in.uint();
  for (const auto t : all_tables)
    if (static_cast<std::uint64_t>(t) == n) return t;
  in.fail();
  return table::bindings;
}

void pack_records(pack::writer& p, std::span<const record> records) {
  p.array(records.size());
  for (const auto& r : records) pack_record(p, r);
}
std::vector<record> unpack_records(pack::fields& parent) {
  std::vector<record> out;
  pack::fields in = parent.array();
  while (in.more()) out.push_back(unpack_record(in));
  return out;
}

void bounded(pack::fields& in, std::string_view item, std::string_view value) {
  if (item.size() > record_item_bytes_max || value.size() > record_value_bytes_max) in.fail();
}

} // namespace

void pack_stamp(pack::writer& p, const view_stamp& s) { p.uint(s.hash).uint(s.newest); }
view_stamp unpack_stamp(pack::fields& in) {
  view_stamp s;
  s.hash = in.uint();
  s.newest = in.uint();
  return s;
}

void pack_record(pack::writer& out, const record& r) {
  out.array(r.value_hash == 0 ? 8 : 9).uint(static_cast<std::uint8_t>(r.table)).bin(r.key.view()).bin(r.item).bin(r.value);
  out.uint(r.version.hlc).uint(r.version.writer).sint(r.expires).boolean(r.removed);
  if (r.value_hash != 0) out.uint(r.value_hash);
}

record unpack_record(pack::fields& parent) {
  pack::fields in = parent.array();
  record r;
  r.table = unpack_table(in);
  r.key = in.id<ring_key>();
  r.item = in.bin();
  r.value = in.bin();
  r.version.hlc = in.uint();
  r.version.writer = in.uint();
  r.expires = in.sint();
  r.removed = in.boolean();
  r.value_hash = in.uint();
  if (r.value_hash != 0 && (!r.value.empty() || r.removed)) in.fail(); // only of what has lost its value
  bounded(in, r.item, r.value);
  return r;
}

std::size_t packed_size(const record& r) { return r.item.size() + r.value.size() + 72; }

std::string encode_batch(std::span<const record> records) {
  std::string out;
  pack::writer p(out);
  pack_records(p, records);
  return out;
}

result<std::vector<record>> decode_batch(std::string_view bytes) {
  pack::reader r(bytes);
  std::vector<record> out;
  {
    pack::fields in(r);
    while (in.more()) out.push_back(unpack_record(in));
  }
  if (!r.ok()) return std::unexpected(errc::malformed);
  return out;
}

void store_write::pack_entry(std::string& out, std::uint64_t number, const std::vector<record>& records) {
  pack::writer p(out);
  p.array(2).uint(number);
  pack_records(p, records);
}

frame store_write::assemble(const view_stamp& stamp, std::size_t count, std::string_view entries) {
  auto f = make_frame(frame_type::store_write, [&](pack::writer& p) {
    p.array(3);
    pack_stamp(p, stamp);
    p.array(count);
  });
  f.body += entries;
  return f;
}

frame store_write::encode() const {
  std::string packed;
  for (const auto& e : entries) pack_entry(packed, e.number, e.records);
  return assemble(stamp, entries.size(), packed);
}

result<store_write> store_write::decode(const frame& f) {
  pack::reader r(f.body);
  store_write w;
  {
    pack::fields in(r);
    w.stamp = unpack_stamp(in);
    pack::fields list = in.array();
    while (list.more()) {
      pack::fields one = list.array();
      auto& e = w.entries.emplace_back();
      e.number = one.uint();
      e.records = unpack_records(one);
      // The ack rests on one owner: an entry has one key, and is never empty.
      if (e.records.empty() || !std::ranges::all_of(e.records, [&](const record& r) { return r.key == e.records[0].key; }))
        one.fail();
    }
  }
  if (!r.ok()) return std::unexpected(errc::malformed);
  return w;
}

frame store_ack::encode() const {
  return make_frame(frame_type::store_ack, [&](pack::writer& p) {
    p.array(3);
    pack_stamp(p, stamp);
    p.array(entries.size());
    for (const auto& [number, status] : entries) p.array(2).uint(number).uint(static_cast<std::uint8_t>(status));
  });
}

result<store_ack> store_ack::decode(const frame& f) {
  pack::reader r(f.body);
  store_ack a;
  {
    pack::fields in(r);
    a.stamp = unpack_stamp(in);
    pack::fields list = in.array();
    while (list.more()) {
      pack::fields one = list.array();
      const auto number = one.uint();
      const auto s = one.uint();
      if (s > static_cast<std::uint8_t>(status::refused)) one.fail();
      a.entries.emplace_back(number, static_cast<status>(s));
    }
  }
  if (!r.ok()) return std::unexpected(errc::malformed);
  return a;
}

frame store_fetch::encode() const {
  return make_frame(frame_type::store_fetch,
              [&](pack::writer& p) { p.array(3).uint(number).uint(static_cast<std::uint8_t>(table)).bin(key.view()); });
}

result<store_fetch> store_fetch::decode(const frame& f) {
  pack::reader r(f.body);
  store_fetch q;
  pack::fields in(r);
  q.number = in.uint();
  q.table = unpack_table(in);
  q.key = in.id<ring_key>();
  if (!r.ok()) return std::unexpected(errc::malformed);
  return q;
}

frame store_records::encode() const {
  return make_frame(frame_type::store_records, [&](pack::writer& p) {
    const bool more = stamp != view_stamp{} || !sources.empty();
    p.array(more ? 6 : 3).uint(number).boolean(settled);
    pack_records(p, records);
    if (!more) return;
    pack_stamp(p, stamp);
    p.array(sources.size());
    for (const auto& s : sources) p.bin(s.view());
  });
}

result<store_records> store_records::decode(const frame& f) {
  pack::reader r(f.body);
  store_records a;
  {
    pack::fields in(r);
    a.number = in.uint();
    a.settled = in.boolean();
    a.records = unpack_records(in);
    a.stamp = unpack_stamp(in);
    pack::fields list = in.array();
    while (list.more()) a.sources.push_back(list.id<node_id>());
  }
  if (!r.ok()) return std::unexpected(errc::malformed);
  return a;
}

frame store_put::encode() const {
  return make_frame(frame_type::store_put, [&](pack::writer& p) {
    p.array(asked != 0 ? 5 : 4).uint(number).uint(static_cast<std::uint8_t>(table)).bin(key.view()).array(changes.size());
    for (const auto& c : changes) {
      p.array(c.made_from != 0 ? 5 : 4).bin(c.item).bin(c.value).sint(c.expires).boolean(c.remove);
      if (c.made_from != 0) p.uint(c.made_from);
    }
    if (asked != 0) p.sint(asked);
  });
}

result<store_put> store_put::decode(const frame& f) {
  pack::reader r(f.body);
  store_put q;
  {
    pack::fields in(r);
    q.number = in.uint();
    q.table = unpack_table(in);
    q.key = in.id<ring_key>();
    {
      pack::fields list = in.array(changes_max);
      while (list.more()) {
        pack::fields one = list.array();
        change c;
        c.item = one.bin();
        c.value = one.bin();
        c.expires = one.sint();
        c.remove = one.boolean();
        c.made_from = one.uint();
        bounded(one, c.item, c.value);
        q.changes.push_back(std::move(c));
      }
    }
    q.asked = in.sint();
  }
  if (!r.ok()) return std::unexpected(errc::malformed);
  return q;
}

frame store_put_done::encode() const {
  return make_frame(frame_type::store_put_done, [&](pack::writer& p) {
    p.array(4).uint(number).uint(status).sint(refusal);
    pack_records(p, records);
  });
}

result<store_put_done> store_put_done::decode(const frame& f) {
  pack::reader r(f.body);
  store_put_done a;
  pack::fields in(r);
  a.number = in.uint();
  a.status = in.number<std::uint8_t>(done);
  a.refusal = in.sint();
  a.records = unpack_records(in);
  if (!r.ok() || (a.status != done && a.status > static_cast<std::uint8_t>(write_error::not_active)))
    return std::unexpected(errc::malformed);
  return a;
}

namespace {

constexpr std::size_t held_item_bytes = 20;

void pack_held(pack::writer& p, const std::vector<held_item>& held) {
  std::string list;
  list.reserve(held.size() * held_item_bytes);
  for (const auto& h : held) {
    put_be(list, h.name);
    put_be(list, h.hlc);
    put_be(list, h.mark);
  }
  p.bin(list);
}

std::vector<held_item> unpack_held(pack::fields& in) {
  std::vector<held_item> out;
  auto list = in.bin();
  if (list.size() % held_item_bytes != 0) in.fail();
  for (; list.size() >= held_item_bytes; list.remove_prefix(held_item_bytes))
    out.push_back({get_be<std::uint64_t>(list), get_be<std::uint64_t>(list.substr(8)), get_be<std::uint32_t>(list.substr(16))});
  return out;
}

} // namespace

frame store_copy_request::encode() const {
  return make_frame(frame_type::store_copy_request, [&](pack::writer& p) {
    p.array(ranges.empty() ? 4 : 5).uint(number);
    pack_stamp(p, stamp);
    std::string list; // ten bytes each: up to 65 536 of them
    list.reserve(partitions.size() * 10);
    for (const auto& [at, digest] : partitions) {
      put_be(list, static_cast<std::uint16_t>(at));
      put_be(list, digest);
    }
    p.bin(list);
    if (ranges.empty()) return;
    p.array(ranges.size());
    for (const auto& r : ranges) {
      p.array(3).uint(static_cast<std::uint16_t>(r.at)).uint(r.sub_range);
      pack_held(p, r.held);
    }
  });
}

result<store_copy_request> store_copy_request::decode(const frame& f) {
  pack::reader r(f.body);
  store_copy_request q;
  std::string_view list;
  {
    pack::fields in(r);
    q.number = in.uint();
    q.stamp = unpack_stamp(in);
    list = in.bin();
    pack::fields ranges = in.array();
    while (ranges.more()) {
      pack::fields one = ranges.array();
      auto& w = q.ranges.emplace_back();
      w.at = partition{one.number<std::uint16_t>()};
      w.sub_range = one.number<std::uint8_t>(wanted_range::whole);
      w.held = unpack_held(one);
      if (w.sub_range > wanted_range::whole) one.fail();
      if (q.ranges.size() > 1 && w.at < q.ranges[q.ranges.size() - 2].at) one.fail();
    }
  }
  if (!r.ok() || list.size() % 10 != 0 || list.size() / 10 > partition_count) return std::unexpected(errc::malformed);
  for (; !list.empty(); list.remove_prefix(10)) {
    const partition p{get_be<std::uint16_t>(list)};
    if (!q.partitions.empty() && q.partitions.back().first >= p) return std::unexpected(errc::malformed);
    q.partitions.emplace_back(p, get_be<std::uint64_t>(list.substr(2)));
  }
  return q;
}

frame store_copy::encode() const {
  return make_frame(frame_type::store_copy, [&](pack::writer& p) {
    p.array(3).uint(number).uint(through);
    pack_records(p, records);
  });
}

result<store_copy> store_copy::decode(const frame& f) {
  pack::reader r(f.body);
  store_copy c;
  pack::fields in(r);
  c.number = in.uint();
  c.through = in.number<std::uint32_t>();
  c.records = unpack_records(in);
  if (!r.ok()) return std::unexpected(errc::malformed);
  return c;
}

frame store_copy_done::encode() const {
  return make_frame(frame_type::store_copy_done, [&](pack::writer& p) {
    p.array(3).uint(number);
    pack_stamp(p, stamp);
  });
}

result<store_copy_done> store_copy_done::decode(const frame& f) {
  pack::reader r(f.body);
  store_copy_done d;
  pack::fields in(r);
  d.number = in.uint();
  d.stamp = unpack_stamp(in);
  if (!r.ok()) return std::unexpected(errc::malformed);
  return d;
}

} // namespace skald::dht
