#include "roles/core/replay.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "base/pack.hpp"

#include <algorithm>
#include <utility>

namespace skald::roles {
namespace {

metrics::counter dropped("skald_replay_subscribers_dropped_total",
                         "Subscribers whose nonces left the memory at its limit (they are still in the store)");

constexpr std::size_t fingerprint_bytes = 12;
constexpr std::string_view floor_item = "floor"; // shorter than any nonce_item()

} // namespace

std::string encode(const nonce_state& s) {
  std::string out;
  pack::writer w(out);
  w.array(4);
  w.sint(s.made);
  w.sint(s.expires);
  w.bin(s.window.encode());
  w.array(s.repeats.size());
  for (const nonce_state::repeat& r : s.repeats) {
    w.array(2);
    w.uint(r.nc);
    w.bin(r.fingerprint);
  }
  return out;
}

result<nonce_state> decode_nonce_state(std::string_view bytes) {
  pack::reader r(bytes);
  nonce_state s;
  {
    pack::fields f(r);
    s.made = f.sint();
    s.expires = f.sint();
    if (f.next()) {
      const auto window = sip::nc_window::decode(r.bin());
      window ? void(s.window = *window) : r.fail();
    }
    for (pack::fields list = f.array(repeats_per_nonce_max); list.more();) {
      pack::fields inner = list.array();
      nonce_state::repeat one;
      one.nc = inner.number<std::uint32_t>();
      one.fingerprint = inner.bin();
      s.repeats.push_back(std::move(one));
    }
  }
  if (!r.ok() || !r.at_end()) return std::unexpected(errc::malformed);
  return s;
}

std::string register_fingerprint(const sip::message& request) {
  std::string said;
  const auto add = [&](std::string_view part) {
    put_be(said, static_cast<std::uint32_t>(part.size()));
    said += part;
  };
  for (const sip::header h : {sip::header::call_id, sip::header::cseq, sip::header::expires})
    add(request.first(h).value_or(std::string_view{}));
  for (const std::string_view contact : request.values(sip::header::contact)) add(contact);
  return crypto::sha256(said).substr(0, fingerprint_bytes);
}

std::string nonce_item(std::uint64_t nonce) {
  std::string bytes;
  put_be(bytes, nonce);
  return to_hex(bytes);
}

void replay_memory::seen_nonces::drop_expired(unix_ms now) {
  std::erase_if(by_item, [now](const auto& e) { return e.second.expires <= now; });
}

replay_memory::answer replay_memory::use(const ring_key& subscriber, const nonce_use& u, std::uint64_t epoch,
                                         unix_ms now) {
  const std::string item = nonce_item(u.nonce);
  return of(subscriber).with([&](stripe& s) -> answer {
    const auto found = s.subscribers.find(subscriber);
    if (found == s.subscribers.end() || found->second.epoch != epoch) return {replay_verdict::not_known, {}};
    seen_nonces& seen = found->second;
    const auto known = seen.by_item.find(item);
    if (known == seen.by_item.end() && u.made <= seen.floor) return {replay_verdict::used, {}};
    if (known != seen.by_item.end() && !u.fingerprint.empty()) {
      const auto same = std::ranges::find_if(known->second.repeats, [&](const nonce_state::repeat& r) {
        return r.nc == u.nc && r.fingerprint == u.fingerprint;
      });
      if (same != known->second.repeats.end())
        return {std::exchange(same->undone, false) ? replay_verdict::fresh : replay_verdict::repeated, {}};
    }

    seen.drop_expired(now);
    nonce_state& n = seen.by_item[item];
    const auto verdict = u.nc == 0 ? n.window.take_whole() : n.window.take(u.nc);
    if (verdict == sip::nc_verdict::used) return {replay_verdict::used, {}};
    n.made = u.made;
    n.expires = u.expires;
    if (!u.fingerprint.empty()) {
      if (n.repeats.size() == repeats_per_nonce_max) n.repeats.erase(n.repeats.begin());
      n.repeats.push_back({u.nc, u.fingerprint});
    }
    answer out{replay_verdict::fresh, {{item, encode(n), n.expires, false}}};
    if (seen.by_item.size() > nonces_per_subscriber_max) raise_floor(seen, out.changes);
    return out;
  });
}

// Too many nonces at once (a trunk that asks for a new one with each call): the oldest are used up from now on, which
// costs who still holds one of them one more challenge.
void replay_memory::raise_floor(seen_nonces& seen, std::vector<dht::change>& changes) {
  const auto oldest = std::ranges::min_element(seen.by_item, {}, [](const auto& e) { return e.second.made; });
  seen.floor = std::max(seen.floor, oldest->second.made);
  std::erase_if(seen.by_item, [&](const auto& e) {
    if (e.second.made > seen.floor) return false;
    seen.floor_until = std::max(seen.floor_until, e.second.expires);
    changes.push_back({e.first, {}, 0, true});
    return true;
  });
  nonce_state floor;
  floor.made = seen.floor;
  floor.expires = seen.floor_until;
  changes.push_back({std::string(floor_item), encode(floor), seen.floor_until, false});
}

void replay_memory::load(const ring_key& subscriber, std::span<const dht::record> records, std::uint64_t epoch,
                         unix_ms now) {
  of(subscriber).with([&](stripe& s) {
    if (s.subscribers.size() >= s.sweep_at) sweep(s, now);
    seen_nonces& seen = s.subscribers[subscriber];
    seen.epoch = epoch;
    for (const dht::record& r : records) {
      auto stored = decode_nonce_state(r.value);
      if (!stored || stored->expires <= now) continue;
      if (r.item == floor_item) {
        seen.floor = std::max(seen.floor, stored->made);
        seen.floor_until = std::max(seen.floor_until, stored->expires);
        continue;
      }
      auto [at, fresh] = seen.by_item.try_emplace(r.item, *stored);
      if (fresh) continue;
      at->second.window = at->second.window.merged_with(stored->window); // ours may be ahead of what is stored: its writes are not waited for
      for (nonce_state::repeat& one : stored->repeats)
        if (at->second.repeats.size() < repeats_per_nonce_max && std::ranges::find(at->second.repeats, one) == at->second.repeats.end())
          at->second.repeats.insert(at->second.repeats.begin(), std::move(one));
    }
  });
}

void replay_memory::forget(const ring_key& subscriber, const nonce_use& u) {
  of(subscriber).with([&](stripe& s) {
    const auto found = s.subscribers.find(subscriber);
    if (found == s.subscribers.end()) return;
    const auto known = found->second.by_item.find(nonce_item(u.nonce));
    if (known == found->second.by_item.end()) return;
    for (nonce_state::repeat& r : known->second.repeats)
      if (r.nc == u.nc && r.fingerprint == u.fingerprint) r.undone = true;
  });
}

std::size_t replay_memory::size() const {
  std::size_t n = 0;
  for (const auto& s : stripes_) n += s.with([](const stripe& one) { return one.subscribers.size(); });
  return n;
}

// Runs when a stripe has doubled since the last time: constant work per use, and never more than twice the live size.
void replay_memory::sweep(stripe& s, unix_ms now) {
  for (auto it = s.subscribers.begin(); it != s.subscribers.end();) {
    it->second.drop_expired(now);
    const bool idle = it->second.by_item.empty() && it->second.floor_until <= now;
    it = idle ? s.subscribers.erase(it) : std::next(it);
  }
  while (s.subscribers.size() >= replay_subscribers_per_stripe_max) {
    s.subscribers.erase(s.subscribers.begin());
    dropped.add();
  }
  s.sweep_at = std::clamp(s.subscribers.size() * 2, std::size_t{1024}, replay_subscribers_per_stripe_max);
}

} // namespace skald::roles
