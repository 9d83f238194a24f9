#pragma once
// All members that this node knows of, itself included, sorted by id, with what it notes about each. One thread.
#include "base/rng.hpp"
#include "dht/swim/suspicion.hpp"
#include "dht/view/fact.hpp"

#include <memory>
#include <optional>
#include <vector>

namespace skald::dht {

inline constexpr std::size_t members_max = 8192; // known ones, the dead included; more are not taken (counted)

inline constexpr mono_time never{};

// A question to one member whose answer decides whether it is suspected.
struct probe {
  enum class kind : std::uint8_t {
    none,
    silent, // a neighbour was not heard: short
    random, // nobody is known to be silent: lasts for the silence, too, else a pause of half a second would be a death
  };
  kind why = kind::none;
  std::uint8_t stage = 0;      // questions asked so far
  std::uint32_t sequence = 0;  // of its pings
  mono_time started = never;
  mono_time next = never;      // the next question, or the verdict
};

struct peer {
  fact known;                         // the strongest fact
  member_body body;                   // the newest body seen; may be older or newer than known.version
  std::optional<suspicion> suspected; // only while known.alive()
  dht::probe probe;
  bool neighbour = false;

  mono_time heard = never;         // last sign of life, two-way
  mono_time seen = never;          // last datagram of any kind: what our `echo` says
  mono_time known_since = never;   // in its present life
  mono_time watched_since = never; // as a neighbour
  mono_time differs_since = never; // its digest is not ours since
  mono_time base_differs_since = never; // it has a newer base since
  mono_time swept = never;         // last probe by the sweep
  mono_time noticed = never;       // last told that it is held for dead
  mono_time died = never;

  int told = -1;          // times its rumour was sent; -1: nothing to tell
  mono_time news = never; // when the rumour began
};

class member_table {
public:
  using peers = std::vector<std::unique_ptr<peer>>; // sorted by id; a peer stays where it is until erased

  peer* find(const node_id& id);
  // nullptr: the table is full.
  peer* add(const fact& f);
  void erase(peer& p);
  // Every change of a fact goes through here: it keeps the digest and the counts.
  void change(peer& p, const fact& f);
  void suspect(peer& p, accuser who, mono_time now);
  void clear_suspicion(peer& p);

  const peers& all() const { return peers_; }
  std::size_t index_of(const node_id& id) const; // where it stands, or would
  std::uint64_t digest() const { return digest_; }
  std::size_t alive() const { return alive_; }
  standing members_standing() const { return {alive_, suspects_.size()}; }
  const std::vector<peer*>& suspects() const { return suspects_; }
  std::uint64_t newest_version() const;

  // Up to `wanted` different ones that satisfy `fits`, at random.
  template <class Fits>
  void pick(std::size_t wanted, rng& random, std::vector<peer*>& out, Fits fits) const;

private:
  peers peers_;
  std::vector<peer*> suspects_;
  std::uint64_t digest_ = 0;
  std::size_t alive_ = 0;
};

// A few blind draws find one in a large table; when they don't, a walk from a random place does.
template <class Fits>
void member_table::pick(std::size_t wanted, rng& random, std::vector<peer*>& out, Fits fits) const {
  out.clear();
  const auto taken = [&](const peer* p) {
    for (const peer* o : out)
      if (o == p) return true;
    return false;
  };
  for (std::size_t draw = 0; draw < 4 * wanted && out.size() < wanted && peers_.size() > 8; ++draw) {
    peer* p = peers_[random.below(peers_.size())].get();
    if (fits(*p) && !taken(p)) out.push_back(p);
  }
  if (out.size() == wanted || peers_.empty()) return;
  const std::size_t from = random.below(peers_.size());
  for (std::size_t i = 0; i < peers_.size() && out.size() < wanted; ++i) {
    peer* p = peers_[(from + i) % peers_.size()].get();
    if (fits(*p) && !taken(p)) out.push_back(p);
  }
}

} // namespace skald::dht
