#include "dht/store/messages.hpp"

#include "base/encoding.hpp"

#include <algorithm>

namespace skald::dht {
namespace {

template <class Body>
frame make(frame_type type, Body&& fill) {
  frame f{type, 1, {}};
  packer p(f.body);
  fill(p);
  return f;
}

table unpack_table(unpacker& in) {
  const auto n = in.number();
  for (const auto t : all_tables)
    if (static_cast<std::uint64_t>(t) == n) return t;
  in.fail();
  return table::bindings;
}

void pack_stamp(packer& p, const view_stamp& s) { p.number(s.hash).number(s.newest); }
view_stamp unpack_stamp(unpacker& in) {
  view_stamp s;
  s.hash = in.number();
  s.newest = in.number();
  return s;
}

void pack_records(packer& p, const std::vector<record>& records) {
  p.array(records.size());
  for (const auto& r : records) pack_record(p, r);
}
std::vector<record> unpack_records(unpacker& parent) {
  std::vector<record> out;
  unpacker in = parent.array();
  while (in.more()) out.push_back(unpack_record(in));
  return out;
}

void bounded(unpacker& in, std::string_view item, std::string_view value) {
  if (item.size() > record_item_bytes_max || value.size() > record_value_bytes_max) in.fail();
}

} // namespace

void pack_record(packer& out, const record& r) {
  out.array(8).number(static_cast<std::uint8_t>(r.table)).id(r.key).bytes(r.item).bytes(r.value);
  out.number(r.version.hlc).number(r.version.writer).signed_number(r.expires).boolean(r.removed);
}

record unpack_record(unpacker& parent) {
  unpacker in = parent.array();
  record r;
  r.table = unpack_table(in);
  r.key = in.id<ring_key>();
  r.item = in.bytes();
  r.value = in.bytes();
  r.version.hlc = in.number();
  r.version.writer = in.number();
  r.expires = in.signed_number();
  r.removed = in.boolean();
  bounded(in, r.item, r.value);
  return r;
}

std::size_t packed_size(const record& r) { return r.item.size() + r.value.size() + 72; }

std::string encode_batch(const std::vector<record>& records) {
  std::string out;
  packer p(out);
  pack_records(p, records);
  return out;
}

result<std::vector<record>> decode_batch(std::string_view bytes) {
  unpack_cursor at{bytes};
  std::vector<record> out;
  {
    unpacker in(at);
    while (in.more()) out.push_back(unpack_record(in));
  }
  if (at.failed) return std::unexpected(errc::malformed);
  return out;
}

void store_write::pack_entry(std::string& out, std::uint64_t number, const std::vector<record>& records) {
  packer p(out);
  p.array(2).number(number);
  pack_records(p, records);
}

frame store_write::assemble(const view_stamp& stamp, std::size_t count, std::string_view entries) {
  auto f = make(frame_type::store_write, [&](packer& p) {
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
  unpack_cursor at{f.body};
  store_write w;
  {
    unpacker in(at);
    w.stamp = unpack_stamp(in);
    unpacker list = in.array();
    while (list.more()) {
      unpacker one = list.array();
      auto& e = w.entries.emplace_back();
      e.number = one.number();
      e.records = unpack_records(one);
      // The ack rests on one owner: an entry has one key, and is never empty.
      if (e.records.empty() || !std::ranges::all_of(e.records, [&](const record& r) { return r.key == e.records[0].key; }))
        one.fail();
    }
  }
  if (at.failed) return std::unexpected(errc::malformed);
  return w;
}

frame store_ack::encode() const {
  return make(frame_type::store_ack, [&](packer& p) {
    p.array(3);
    pack_stamp(p, stamp);
    p.array(entries.size());
    for (const auto& [number, status] : entries) p.array(2).number(number).number(static_cast<std::uint8_t>(status));
  });
}

result<store_ack> store_ack::decode(const frame& f) {
  unpack_cursor at{f.body};
  store_ack a;
  {
    unpacker in(at);
    a.stamp = unpack_stamp(in);
    unpacker list = in.array();
    while (list.more()) {
      unpacker one = list.array();
      const auto number = one.number();
      const auto s = one.number();
      if (s > static_cast<std::uint8_t>(status::refused)) one.fail();
      a.entries.emplace_back(number, static_cast<status>(s));
    }
  }
  if (at.failed) return std::unexpected(errc::malformed);
  return a;
}

frame store_fetch::encode() const {
  return make(frame_type::store_fetch,
              [&](packer& p) { p.array(3).number(number).number(static_cast<std::uint8_t>(table)).id(key); });
}

result<store_fetch> store_fetch::decode(const frame& f) {
  unpack_cursor at{f.body};
  store_fetch q;
  unpacker in(at);
  q.number = in.number();
  q.table = unpack_table(in);
  q.key = in.id<ring_key>();
  if (!in.ok()) return std::unexpected(errc::malformed);
  return q;
}

frame store_records::encode() const {
  return make(frame_type::store_records, [&](packer& p) {
    p.array(3).number(number).boolean(settled);
    pack_records(p, records);
  });
}

result<store_records> store_records::decode(const frame& f) {
  unpack_cursor at{f.body};
  store_records a;
  unpacker in(at);
  a.number = in.number();
  a.settled = in.boolean();
  a.records = unpack_records(in);
  if (!in.ok()) return std::unexpected(errc::malformed);
  return a;
}

frame store_put::encode() const {
  return make(frame_type::store_put, [&](packer& p) {
    p.array(4).number(number).number(static_cast<std::uint8_t>(table)).id(key).array(changes.size());
    for (const auto& c : changes) p.array(4).bytes(c.item).bytes(c.value).signed_number(c.expires).boolean(c.remove);
  });
}

result<store_put> store_put::decode(const frame& f) {
  unpack_cursor at{f.body};
  store_put q;
  {
    unpacker in(at);
    q.number = in.number();
    q.table = unpack_table(in);
    q.key = in.id<ring_key>();
    unpacker list = in.array();
    if (list.left() > changes_max) list.fail();
    while (list.more()) {
      unpacker one = list.array();
      change c;
      c.item = one.bytes();
      c.value = one.bytes();
      c.expires = one.signed_number();
      c.remove = one.boolean();
      bounded(one, c.item, c.value);
      q.changes.push_back(std::move(c));
    }
  }
  if (at.failed) return std::unexpected(errc::malformed);
  return q;
}

frame store_put_done::encode() const {
  return make(frame_type::store_put_done, [&](packer& p) {
    p.array(4).number(number).number(status).signed_number(refusal);
    pack_records(p, records);
  });
}

result<store_put_done> store_put_done::decode(const frame& f) {
  unpack_cursor at{f.body};
  store_put_done a;
  unpacker in(at);
  a.number = in.number();
  a.status = in.small<std::uint8_t>(done);
  a.refusal = in.signed_number();
  a.records = unpack_records(in);
  if (!in.ok() || (a.status != done && a.status > static_cast<std::uint8_t>(write_error::not_active)))
    return std::unexpected(errc::malformed);
  return a;
}

frame store_copy_request::encode() const {
  return make(frame_type::store_copy_request, [&](packer& p) {
    p.array(4).number(number);
    pack_stamp(p, stamp);
    std::string list; // ten bytes each: up to 65 536 of them
    list.reserve(partitions.size() * 10);
    for (const auto& [at, digest] : partitions) {
      put_be(list, static_cast<std::uint16_t>(at));
      put_be(list, digest);
    }
    p.bytes(list);
  });
}

result<store_copy_request> store_copy_request::decode(const frame& f) {
  unpack_cursor at{f.body};
  store_copy_request q;
  unpacker in(at);
  q.number = in.number();
  q.stamp = unpack_stamp(in);
  auto list = in.bytes();
  if (!in.ok() || list.size() % 10 != 0 || list.size() / 10 > partition_count) return std::unexpected(errc::malformed);
  for (; !list.empty(); list.remove_prefix(10)) {
    const partition p{get_be<std::uint16_t>(list)};
    if (!q.partitions.empty() && q.partitions.back().first >= p) return std::unexpected(errc::malformed);
    q.partitions.emplace_back(p, get_be<std::uint64_t>(list.substr(2)));
  }
  return q;
}

frame store_copy::encode() const {
  return make(frame_type::store_copy, [&](packer& p) {
    p.array(3).number(number).number(through);
    pack_records(p, records);
  });
}

result<store_copy> store_copy::decode(const frame& f) {
  unpack_cursor at{f.body};
  store_copy c;
  unpacker in(at);
  c.number = in.number();
  c.through = in.small<std::uint32_t>();
  c.records = unpack_records(in);
  if (!in.ok()) return std::unexpected(errc::malformed);
  return c;
}

frame store_copy_done::encode() const {
  return make(frame_type::store_copy_done, [&](packer& p) {
    p.array(3).number(number);
    pack_stamp(p, stamp);
  });
}

result<store_copy_done> store_copy_done::decode(const frame& f) {
  unpack_cursor at{f.body};
  store_copy_done d;
  unpacker in(at);
  d.number = in.number();
  d.stamp = unpack_stamp(in);
  if (!in.ok()) return std::unexpected(errc::malformed);
  return d;
}

} // namespace skald::dht
