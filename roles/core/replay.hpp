#pragma once
// Which (nonce, nc) pairs a subscriber's requests have used (sip.md §3): what makes a recorded request worthless to who
// recorded it. Kept at the owner for the life of a nonce, shared by its workers, and written to table::nonces under the
// AoR's key, so that the next owner knows them too.
//
// That write is one more beside the binding's and is not waited for: it goes out in the same batch (the store sends what
// one turn gathered), and what a crash of the owner within that turn can cost is that one request, recorded in that
// same instant, is accepted once more by the next owner.
#include "base/clock.hpp"
#include "base/guarded.hpp"
#include "base/ids.hpp"
#include "dht/store/store.hpp"
#include "sip/auth/nc_window.hpp"
#include "sip/message/message.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace skald::roles {

inline constexpr std::size_t nonces_per_subscriber_max = 512; // above it the oldest count as used up
inline constexpr std::size_t repeats_per_nonce_max = 4;       // REGISTERs remembered by what they said
inline constexpr std::size_t replay_subscribers_per_stripe_max = 50'000;

struct nonce_state {
  unix_ms made = 0;
  unix_ms expires = 0;
  sip::nc_window window;
  struct repeat {
    std::uint32_t nc = 0;
    std::string fingerprint;
    bool undone = false; // it could not be carried out: once more, please. Known to the owner alone
    bool operator==(const repeat&) const = default;
  };
  std::vector<repeat> repeats; // the newest last
  bool operator==(const nonce_state&) const = default;
};
std::string encode(const nonce_state& s);
result<nonce_state> decode_nonce_state(std::string_view bytes);

// One use of a nonce by a request whose digest was right.
struct nonce_use {
  std::uint64_t nonce = 0; // sip::nonce_check::id
  unix_ms made = 0, expires = 0;
  std::uint32_t nc = 0;    // 0: without qop, a nonce is good for one request (RFC 7616 §3.4.1)
  std::string fingerprint; // REGISTER: register_fingerprint(); else empty
};
// Of Call-ID, CSeq, Contacts and expiry: a REGISTER with the same one is a retransmission, maybe through another edge.
std::string register_fingerprint(const sip::message& request);

enum class replay_verdict : std::uint8_t {
  fresh,     // noted; `changes` says what to put into the store
  repeated,  // the very same REGISTER again
  used,
  not_known, // nothing loaded for this subscriber in this epoch: read the store, load(), ask again
};

// Any thread; a lock per stripe, held for a look-up.
class replay_memory {
public:
  struct answer {
    replay_verdict verdict = replay_verdict::used;
    std::vector<dht::change> changes; // fresh: for table::nonces under the subscriber's key
  };
  // `epoch` changes whenever another node may have written for this key meanwhile (the stamp of the view).
  answer use(const ring_key& subscriber, const nonce_use& u, std::uint64_t epoch, unix_ms now);
  void load(const ring_key& subscriber, std::span<const dht::record> records, std::uint64_t epoch, unix_ms now);
  // The request was not carried out: its retransmission is to be taken as new.
  void forget(const ring_key& subscriber, const nonce_use& u);
  std::size_t size() const; // subscribers

private:
  struct seen_nonces {
    std::uint64_t epoch = 0;
    unix_ms floor = 0;       // nonces made up to here count as used up
    unix_ms floor_until = 0; // the last of those expires
    std::map<std::string, nonce_state, std::less<>> by_item;
    void drop_expired(unix_ms now);
  };
  struct stripe {
    std::unordered_map<ring_key, seen_nonces> subscribers;
    std::size_t sweep_at = 1024;
  };
  static constexpr std::size_t stripes = 64;
  guarded<stripe>& of(const ring_key& k) { return stripes_[k.bytes[19] % stripes]; }
  static void sweep(stripe& s, unix_ms now);
  static void raise_floor(seen_nonces& seen, std::vector<dht::change>& changes);

  std::array<guarded<stripe>, stripes> stripes_;
};

std::string nonce_item(std::uint64_t nonce); // the item in table::nonces

} // namespace skald::roles
