#include "roles/proxy/edge_memory.hpp"

#include "base/metrics.hpp"

#include <algorithm>

namespace skald::roles {

namespace {
metrics::counter not_learned("skald_edge_flows_not_learned_total",
                             "Bindings whose flow was not remembered: over a limit.");
constexpr std::size_t flows_per_stripe = flows_remembered_max / edge_memory_stripes;
constexpr std::size_t moved_per_stripe = moved_remembered_max / edge_memory_stripes;
} // namespace

sip::flow edge_memory::key_of(sip::flow f) {
  if (f.transport == sip::transport::udp) f.worker = 0, f.serial = 0;
  return f;
}

// The flow's own hash is a sum, whose low bits ports of one NAT would fill unevenly.
std::size_t edge_memory::place_of(const sip::flow& key) {
  return static_cast<std::size_t>((std::hash<sip::flow>{}(key) * 0x9e3779b97f4a7c15ULL) >> 32) % edge_memory_stripes;
}

bool edge_memory::learn(const sip::flow& f, std::string_view aor, std::uint64_t binding_id, mono_time until) {
  const sip::flow key = key_of(f);
  const bool learned = of(key).with([&](stripe& s) {
    s.moved.erase({key, binding_id}); // it is back
    const auto found = s.flows.find(key);
    if (found == s.flows.end() && s.flows.size() >= flows_per_stripe) return false;
    entry& e = found == s.flows.end() ? s.flows[key] : found->second;
    e.gone = false;
    const auto same = std::ranges::find(e.bindings, aor, &flow_binding::aor);
    if (same != e.bindings.end()) {
      same->binding_id = binding_id;
      same->until = until;
      return true;
    }
    if (e.bindings.size() >= aors_per_flow_max) return false;
    e.bindings.push_back({std::string(aor), binding_id, until});
    return true;
  });
  if (!learned) not_learned.add();
  return learned;
}

template <class Which> void edge_memory::forget_those(const sip::flow& f, Which which) {
  const sip::flow key = key_of(f);
  of(key).with([&](stripe& s) {
    const auto it = s.flows.find(key);
    if (it == s.flows.end()) return;
    std::erase_if(it->second.bindings, which);
    if (it->second.bindings.empty()) s.flows.erase(it);
  });
}

void edge_memory::forget(const sip::flow& f, std::string_view aor) {
  forget_those(f, [aor](const flow_binding& b) { return b.aor == aor; });
}

void edge_memory::forget(const sip::flow& f, std::uint64_t binding_id) {
  forget_those(f, [binding_id](const flow_binding& b) { return b.binding_id == binding_id; });
}

void edge_memory::forget(const sip::flow& f) {
  const sip::flow key = key_of(f);
  of(key).with([&](stripe& s) { s.flows.erase(key); });
}

std::optional<flow_binding> edge_memory::whose(const sip::flow& f, std::string_view wished, mono_time now) const {
  const sip::flow key = key_of(f);
  return of(key).with([&](const stripe& s) -> std::optional<flow_binding> {
    const auto it = s.flows.find(key);
    if (it == s.flows.end()) return std::nullopt;
    const flow_binding* first = nullptr;
    for (const flow_binding& b : it->second.bindings) {
      if (b.until <= now) continue;
      if (b.aor == wished) return b;
      if (first == nullptr) first = &b;
    }
    return first == nullptr ? std::nullopt : std::optional(*first);
  });
}

void edge_memory::mark_gone(const sip::flow& f) {
  const sip::flow key = key_of(f);
  of(key).with([&](stripe& s) {
    if (const auto it = s.flows.find(key); it != s.flows.end()) it->second.gone = true;
  });
}

void edge_memory::mark_alive(const sip::flow& f) {
  const sip::flow key = key_of(f);
  of(key).with([&](stripe& s) {
    if (const auto it = s.flows.find(key); it != s.flows.end()) it->second.gone = false;
  });
}

bool edge_memory::gone(const sip::flow& f) const {
  const sip::flow key = key_of(f);
  return of(key).with([&](const stripe& s) {
    const auto it = s.flows.find(key);
    return it != s.flows.end() && it->second.gone;
  });
}

void edge_memory::mark_moved(const sip::flow& f, std::uint64_t binding_id, mono_time until) {
  const sip::flow key = key_of(f);
  const bool kept = of(key).with([&](stripe& s) {
    if (s.moved.size() >= moved_per_stripe && !s.moved.contains({key, binding_id})) return false;
    s.moved[{key, binding_id}] = until;
    return true;
  });
  if (!kept) not_learned.add();
}

bool edge_memory::moved(const sip::flow& f, std::uint64_t binding_id, mono_time now) const {
  const sip::flow key = key_of(f);
  return of(key).with([&](const stripe& s) {
    if (s.moved.empty()) return false;
    const auto it = s.moved.find({key, binding_id});
    return it != s.moved.end() && it->second > now;
  });
}

bool edge_memory::serves(const sip::flow& f, mono_time now) const {
  const sip::flow key = key_of(f);
  return of(key).with([&](const stripe& s) {
    const auto it = s.flows.find(key);
    if (it == s.flows.end()) return false;
    return std::ranges::any_of(it->second.bindings, [&](const flow_binding& b) {
      if (b.until <= now) return false;
      const auto elsewhere = s.moved.find({key, b.binding_id});
      return elsewhere == s.moved.end() || elsewhere->second <= now;
    });
  });
}

void edge_memory::sweep(mono_time now) {
  for (auto& one : stripes_)
    one.with([now](stripe& s) {
      for (auto it = s.flows.begin(); it != s.flows.end();) {
        std::erase_if(it->second.bindings, [now](const flow_binding& b) { return b.until <= now; });
        it = it->second.bindings.empty() ? s.flows.erase(it) : std::next(it);
      }
      std::erase_if(s.moved, [now](const auto& m) { return m.second <= now; });
    });
}

std::size_t edge_memory::size() const {
  std::size_t n = 0;
  for (const auto& one : stripes_)
    n += one.with([](const stripe& s) { return s.flows.size(); });
  return n;
}

} // namespace skald::roles
