#include "node/worker/worker_index.hpp"

#include "base/metrics.hpp"
#include "sip/message/via.hpp"

namespace skald::node {
namespace {

metrics::counter refused("skald_worker_index_full_total", "Requests not entered into the index of workers: it was full.");

// FNV-1a with a seed, and a final mix. Two requests of one hash only share a worker: no harm.
class hasher {
public:
  explicit hasher(std::uint64_t seed) : h_(seed ^ 14695981039346656037ull) {}
  void add(std::string_view text) {
    for (const char c : text) h_ = (h_ ^ static_cast<std::uint8_t>(c)) * 1099511628211ull;
    h_ = (h_ ^ 0xff) * 1099511628211ull;
  }
  std::uint64_t value() const {
    std::uint64_t x = h_;
    x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdull;
    return x ^ (x >> 33);
  }

private:
  std::uint64_t h_;
};

std::optional<std::uint64_t> key_of(const sip::message& request, std::uint64_t seed) {
  const auto text = request.first(sip::header::via);
  if (!text) return std::nullopt;
  const auto via = sip::parse_via(*text);
  if (!via) return std::nullopt;
  hasher h(seed);
  // RFC 3261 §17.2.3: branch and sent-by. An ACK and a CANCEL carry their INVITE's.
  h.add(via->branch);
  h.add(via->host);
  h.add(std::string_view(reinterpret_cast<const char*>(&via->port), sizeof via->port));
  // Before RFC 3261 a branch says nothing by itself: the Call-ID and the CSeq number do.
  if (!via->branch.starts_with("z9hG4bK")) {
    h.add(request.line(sip::header::call_id).value_or(""));
    const std::string_view cseq = request.line(sip::header::cseq).value_or("");
    h.add(cseq.substr(0, cseq.find(' ')));
  }
  return h.value();
}

} // namespace

std::optional<std::uint16_t> worker_index::owner(const sip::message& request, std::uint16_t me, mono_time now) {
  const sip::method m = request.method_id();
  if (m == sip::method::register_ || m == sip::method::options) return std::nullopt;
  const auto key = key_of(request, seed_);
  if (!key) return std::nullopt;
  const bool claims = m != sip::method::ack && m != sip::method::cancel;
  return stripes_[*key % index_stripes].with([&](stripe& s) -> std::uint16_t {
    expire(s, s.invites, now);
    expire(s, s.others, now);
    if (const auto it = s.entries.find(*key); it != s.entries.end()) return it->second.worker;
    if (!claims) return me;
    if (s.entries.size() >= index_entries_max / index_stripes) {
      refused.add();
      return me;
    }
    const bool invite = m == sip::method::invite;
    s.entries.emplace(*key, entry{me, now + (invite ? index_invite_life : index_other_life)});
    (invite ? s.invites : s.others).push_back(*key);
    return me;
  });
}

void worker_index::expire(stripe& s, std::deque<std::uint64_t>& order, mono_time now) {
  while (!order.empty()) {
    const auto it = s.entries.find(order.front());
    if (it != s.entries.end() && it->second.expires > now) return;
    if (it != s.entries.end()) s.entries.erase(it);
    order.pop_front();
  }
}

std::size_t worker_index::size() const {
  std::size_t n = 0;
  for (const auto& s : stripes_) n += s.with([](const stripe& x) { return x.entries.size(); });
  return n;
}

} // namespace skald::node
