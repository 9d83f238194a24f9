#include "roles/proxy/edge_memory.hpp"

#include "base/metrics.hpp"

#include <algorithm>

namespace skald::roles {

namespace {
metrics::counter not_learned("skald_edge_flows_not_learned_total",
                             "Bindings whose flow was not remembered: over a limit.");
}

sip::flow edge_memory::key_of(sip::flow f) {
  if (f.transport == sip::transport::udp) f.worker = 0, f.serial = 0;
  return f;
}

bool edge_memory::learn(const sip::flow& f, std::string_view aor, std::uint64_t binding_id, mono_time until) {
  const sip::flow key = key_of(f);
  const auto found = flows_.find(key);
  if (found == flows_.end() && flows_.size() >= flows_remembered_max) {
    not_learned.add();
    return false;
  }
  entry& e = found == flows_.end() ? flows_[key] : found->second;
  e.gone = false;
  const auto same = std::ranges::find(e.bindings, aor, &flow_binding::aor);
  if (same != e.bindings.end()) {
    same->binding_id = binding_id;
    same->until = until;
    return true;
  }
  if (e.bindings.size() >= aors_per_flow_max) {
    not_learned.add();
    return false;
  }
  e.bindings.push_back({std::string(aor), binding_id, until});
  return true;
}

void edge_memory::forget(const sip::flow& f, std::string_view aor) {
  const auto it = flows_.find(key_of(f));
  if (it == flows_.end()) return;
  std::erase_if(it->second.bindings, [&](const flow_binding& b) { return b.aor == aor; });
  if (it->second.bindings.empty()) flows_.erase(it);
}

void edge_memory::forget(const sip::flow& f) {
  flows_.erase(key_of(f));
}

std::optional<flow_binding> edge_memory::whose(const sip::flow& f, std::string_view wished, mono_time now) const {
  const auto it = flows_.find(key_of(f));
  if (it == flows_.end()) return std::nullopt;
  const flow_binding* first = nullptr;
  for (const flow_binding& b : it->second.bindings) {
    if (b.until <= now) continue;
    if (b.aor == wished) return b;
    if (first == nullptr) first = &b;
  }
  return first == nullptr ? std::nullopt : std::optional(*first);
}

void edge_memory::mark_gone(const sip::flow& f) {
  if (const auto it = flows_.find(key_of(f)); it != flows_.end()) it->second.gone = true;
}

void edge_memory::mark_alive(const sip::flow& f) {
  if (const auto it = flows_.find(key_of(f)); it != flows_.end()) it->second.gone = false;
}

bool edge_memory::gone(const sip::flow& f) const {
  const auto it = flows_.find(key_of(f));
  return it != flows_.end() && it->second.gone;
}

void edge_memory::sweep(mono_time now) {
  for (auto it = flows_.begin(); it != flows_.end();) {
    std::erase_if(it->second.bindings, [now](const flow_binding& b) { return b.until <= now; });
    it = it->second.bindings.empty() ? flows_.erase(it) : std::next(it);
  }
}

} // namespace skald::roles
