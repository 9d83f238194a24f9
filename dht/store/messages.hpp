#pragma once
// What stores say to each other over links. Requests carry a number that the answer repeats; numbers of one process
// are never reused by its next life.
#include "base/errors.hpp"
#include "base/pack.hpp"
#include "dht/link/channel.hpp"
#include "dht/store/tables.hpp"
#include "dht/view/view.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace skald::dht {

// Of one record; longer ones are refused at the owner and on the wire.
inline constexpr std::size_t record_item_bytes_max = 4 << 10;
inline constexpr std::size_t record_value_bytes_max = 256 << 10;
// Of one write or one put: changes of a key.
inline constexpr std::size_t changes_max = 1024;

void pack_record(pack::writer& out, const record& r);
record unpack_record(pack::fields& parent); // fails the message on an unknown table or a size over the limits
std::string encode_batch(std::span<const record> records); // of the append log
result<std::vector<record>> decode_batch(std::string_view bytes);
std::size_t packed_size(const record& r); // at most
void pack_stamp(pack::writer& p, const view_stamp& s); // two elements
view_stamp unpack_stamp(pack::fields& in);

// Owner → copy: hold these. Each entry is acknowledged by itself.
struct store_write {
  struct entry {
    std::uint64_t number = 0;
    std::vector<record> records; // of one key
    bool operator==(const entry&) const = default;
  };
  view_stamp stamp; // of the sender
  std::vector<entry> entries;

  bool operator==(const store_write&) const = default;
  // In two steps, so that what goes to several nodes is packed once: an entry, then `count` of them behind a head.
  static void pack_entry(std::string& out, std::uint64_t number, const std::vector<record>& records);
  static frame assemble(const view_stamp& stamp, std::size_t count, std::string_view entries);
  frame encode() const;
  static result<store_write> decode(const frame& f);
};

// Copy → owner.
struct store_ack {
  enum class status : std::uint8_t {
    held = 0,
    not_owner = 1, // in my view the sender does not own the key: nothing was stored
    refused = 2,   // a version too far ahead of cluster time
  };
  view_stamp stamp; // of the copy
  std::vector<std::pair<std::uint64_t, status>> entries;

  bool operator==(const store_ack&) const = default;
  frame encode() const;
  static result<store_ack> decode(const frame& f);
};

struct store_fetch {
  std::uint64_t number = 0;
  dht::table table{};
  ring_key key;

  bool operator==(const store_fetch&) const = default;
  frame encode() const;
  static result<store_fetch> decode(const frame& f);
};

// All that is held under the key, stubs and tombstones too.
struct store_records {
  std::uint64_t number = 0;
  bool settled = false; // the sender serves, and has seen all that was acknowledged (complete)
  std::vector<record> records;
  view_stamp stamp;                 // of the sender; what it says of itself counts under an equal view only
  std::vector<node_id> sources;     // that it has yet to merge the key's partition with

  bool operator==(const store_records&) const = default;
  frame encode() const;
  static result<store_records> decode(const frame& f);
};

// To the owner: an unconditional write.
struct store_put {
  std::uint64_t number = 0;
  dht::table table{};
  ring_key key;
  std::vector<change> changes;
  unix_ms asked = 0; // cluster time when it was sent; 0: the sender does not say

  frame encode() const;
  static result<store_put> decode(const frame& f);
};

struct store_put_done {
  static constexpr std::uint8_t done = 255; // else a write_error
  std::uint64_t number = 0;
  std::uint8_t status = done;
  std::int64_t refusal = 0;
  std::vector<record> records; // live ones after the write

  bool operator==(const store_put_done&) const = default;
  frame encode() const;
  static result<store_put_done> decode(const frame& f);
};

// A part of a partition of which the asker has something: what it has needs not to be sent.
struct wanted_range {
  static constexpr std::uint8_t whole = 64;
  partition at{};
  std::uint8_t sub_range = whole; // else 0..63
  std::vector<held_item> held;
  bool operator==(const wanted_range&) const = default;
};

// "Send me what you hold of these": partitions in ascending order. The number beside each is what the first version
// compared, and means nothing any more. Of a partition with ranges only these are wanted.
struct store_copy_request {
  std::uint64_t number = 0;
  view_stamp stamp;
  std::vector<std::pair<partition, std::uint64_t>> partitions;
  std::vector<wanted_range> ranges; // in the partitions' order

  bool operator==(const store_copy_request&) const = default;
  frame encode() const;
  static result<store_copy_request> decode(const frame& f);
};

// One page of the answer: the first `through` of the partitions asked for are complete with it.
struct store_copy {
  std::uint64_t number = 0;
  std::uint32_t through = 0;
  std::vector<record> records;

  bool operator==(const store_copy&) const = default;
  frame encode() const;
  static result<store_copy> decode(const frame& f);
};

// Asker → holder: all that was asked for is merged and on disk here.
struct store_copy_done {
  std::uint64_t number = 0;
  view_stamp stamp;

  bool operator==(const store_copy_done&) const = default;
  frame encode() const;
  static result<store_copy_done> decode(const frame& f);
};

} // namespace skald::dht
