#pragma once
// The replicated store: tables of records (table, key, item) → value, version, expiry, held by a key's copies
// (consistency.md §3, §4, §11). Owner-coordinated writes with counted acks; "later version wins" per item everywhere else.
//
// Threads: read() may be called from any thread (striped locks, copies out). write() and fetch() may be called from any
// thread; they run on the cluster thread, and `done` is called there: post back to your own worker.
#include "base/clock.hpp"
#include "base/ids.hpp"

#include <compare>
#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::dht {

// A table's number travels on the wire: append only.
enum class table : std::uint8_t {
  bindings = 1,    // volatile; key: AoR, item: (instance, reg-id) or contact
  nonces = 2,      // volatile; key: AoR, item: nonce: the nc values seen (replay window)
  dialogs = 3,     // volatile; key: AoR of the caller (else callee), item: Call-ID and tags
  subscribers = 4, // durable; key: AoR, item: "" 
  settings = 5,    // durable; key: key_of_name("settings"), item: the setting's name
  keys = 6,        // durable; key: key_of_name("keys"), item: key id
  aor_index = 7,   // reserved
};
inline constexpr table all_tables[] = {table::bindings, table::nonces,   table::dialogs,
                                       table::subscribers, table::settings, table::keys};
bool is_durable(table t);
// The longest that a record of a volatile table may live without being written again; what is written for longer, or
// for ever, is cut to it. Tombstones, floors and stubs have to outlive whatever they forbid, so they are kept that long.
milliseconds longest_grant(table t);

// Hybrid logical clock: 48 bits of ms, 16 bits of counter; then the writer; then the bytes as the last tie-break.
struct version {
  std::uint64_t hlc = 0;
  std::uint64_t writer = 0; // first 8 bytes of the node id
  auto operator<=>(const version&) const = default;
  unix_ms time() const { return static_cast<unix_ms>(hlc >> 16); }
};

struct record {
  dht::table table{};
  ring_key key;
  std::string item;
  std::string value;       // empty in a tombstone or an expired stub
  dht::version version;
  unix_ms expires = 0;     // cluster time; 0: never
  bool removed = false;    // a tombstone
  std::uint64_t value_hash = 0; // of the value that an expired stub has no more; 0 otherwise

  // A stub is none, whatever time it is: clocks step back, its value does not come back.
  bool live(unix_ms now) const { return !removed && value_hash == 0 && (expires == 0 || expires > now); }
  bool operator==(const record&) const = default;
};

// A floor: the tombstone of this item kills whatever of its table and key is older than itself, seen before or not
// (consistency.md §3). No other record may have this item.
inline constexpr std::string_view floor_item{"\0", 1};

// What a rule wants done to the items of its key.
struct change {
  std::string item;
  std::string value;
  unix_ms expires = 0;
  bool remove = false;
  // put(): not 0: only over what it was made from, condition_of() that; else all of the put is refused (put_conflict). A
  // put that finds itself done already is not: it may be carried out twice.
  std::uint64_t made_from = 0;
};
// Of the value that stood there, or of nothing. Never 0.
std::uint64_t condition_of(std::string_view value);
inline constexpr std::uint64_t made_from_nothing = 1;
inline constexpr int put_conflict = -2; // write_result::refusal
// All items of the key in that table, those too that no node here has seen. First in a list of changes.
inline change remove_all() { return {std::string(floor_item), {}, 0, true}; }

// Runs at the owner only, in order with all other writes to that key. It sees the live records of the key in that
// table (empty if none), sorted by item; returns the changes (maybe none: then nothing is written and done gets ok), or
// refuses with a number that `done` gets back. It must not call the store.
using rule = std::move_only_function<std::expected<std::vector<change>, int>(const std::vector<record>& current)>;

enum class write_error : std::uint8_t {
  not_owner,        // another node owns the key: forward to it
  not_acknowledged, // not held by enough copies within 2 s; the former state was written back
  overloaded,       // 16 writes of this key are waiting
  refused,          // by the rule; see write_result::refusal
  not_active,       // this node is joining or isolated
};
struct write_result {
  std::expected<std::vector<record>, write_error> outcome; // the key's live records after the write
  int refusal = 0;
};

// An answer to "what is held under this key".
struct fetch_result {
  std::vector<record> records; // live ones
  bool firm = false;           // false: nodes that may hold more did not answer; an absence is then in doubt
};

class store_api {
public:
  virtual ~store_api() = default;
  // What this node holds, live at cluster time now. Any thread.
  virtual std::vector<record> read(table t, const ring_key& k) const = 0;
  // Whether this node may answer for the key by itself: it owns it, and has seen all that was acknowledged (§4, complete).
  virtual bool answers_for(const ring_key& k) const = 0;
  virtual void write(table t, const ring_key& k, rule r, std::move_only_function<void(write_result)> done) = 0;
  // From the local copy if this node answers for the key, else from the key's live list. Deadline 2 s.
  virtual void fetch(table t, const ring_key& k, std::move_only_function<void(fetch_result)> done) = 0;
  // A set of changes without a rule, maybe conditional, at whichever node owns the key (forwarded over a link if need be): what the control
  // API and the edges use (settings, subscribers, dialogs). Deadline 2 s.
  virtual void put(table t, const ring_key& k, std::vector<change> changes,
                   std::move_only_function<void(write_result)> done) = 0;
  virtual unix_ms cluster_time() const = 0; // any thread
  // Live records of one table that this node owns, in key order: the union over all nodes lists each once. Whole keys, so
  // a page may be longer than `limit`, or empty before the end. `cursor` "" begins and, on return, says the end. Any thread.
  virtual std::vector<record> page(table t, std::string& cursor, std::size_t limit) const = 0;
};

} // namespace skald::dht
