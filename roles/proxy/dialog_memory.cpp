#include "roles/proxy/dialog_memory.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "sip/message/uri.hpp"

#include <algorithm>

namespace skald::roles {

namespace {

metrics::counter dropped("skald_edge_dialogs_dropped_total", "Dialogs forgotten because too many are remembered.");

constexpr std::size_t dialogs_per_stripe = dialogs_remembered_max / dialog_memory_stripes;

std::string host_key(std::string_view uri_text) {
  const auto u = sip::parse_uri(uri_text);
  if (!u || u->host.empty()) return {};
  return to_lower(u->host) + ":" + std::to_string(u->port == 0 ? 5060 : u->port);
}

} // namespace

dialog_memory::entry& dialog_memory::touch(stripe& s, const std::string& item, std::string_view call_id, mono_time now) {
  if (const auto it = s.by_item.find(item); it != s.by_item.end()) {
    s.order.splice(s.order.begin(), s.order, it->second);
    it->second->used = now;
    return *it->second;
  }
  if (s.order.size() >= dialogs_per_stripe) {
    dropped.add();
    s.by_item.erase(s.order.back().item);
    s.order.pop_back();
  }
  s.order.push_front({item, {}, {}, now, false});
  s.by_item[s.order.front().item] = s.order.begin();
  s.order.front().record.call_id = std::string(call_id);
  return s.order.front();
}

std::optional<dialog_memory::entry> dialog_memory::find(std::string_view call_id, std::string_view tag,
                                                        std::string_view other_tag) {
  const std::string item = dialog_item(call_id, tag, other_tag);
  return of(item).with([&](stripe& s) -> std::optional<entry> {
    const auto it = s.by_item.find(item);
    if (it == s.by_item.end()) return std::nullopt;
    s.order.splice(s.order.begin(), s.order, it->second);
    return *it->second;
  });
}

bool dialog_memory::has(std::string_view item) const {
  return of(item).with([&](const stripe& s) { return s.by_item.contains(item); });
}

std::optional<dialog_memory::entry> dialog_memory::find_item(std::string_view item) const {
  return of(item).with([&](const stripe& s) -> std::optional<entry> {
    const auto it = s.by_item.find(item);
    return it == s.by_item.end() ? std::nullopt : std::optional(*it->second);
  });
}

std::optional<dialog_memory::entry> dialog_memory::take(std::string_view call_id, std::string_view tag,
                                                        std::string_view other_tag) {
  const std::string item = dialog_item(call_id, tag, other_tag);
  return of(item).with([&](stripe& s) -> std::optional<entry> {
    const auto it = s.by_item.find(item);
    if (it == s.by_item.end()) return std::nullopt;
    const auto at = it->second;
    s.by_item.erase(it); // its key stands in the entry
    std::optional<entry> out(std::move(*at));
    s.order.erase(at);
    return out;
  });
}

std::size_t dialog_memory::size() const {
  std::size_t n = 0;
  for (const auto& one : stripes_)
    n += one.with([](const stripe& s) { return s.order.size(); });
  return n;
}

void dialog_memory::saw_contact(entry& e, std::string_view contact_uri) {
  const std::string key = host_key(contact_uri);
  if (key.empty() || std::ranges::find(e.hosts, key) != e.hosts.end()) return;
  if (e.hosts.size() >= hosts_per_dialog_max) e.hosts.erase(e.hosts.begin());
  e.hosts.push_back(key);
}

bool dialog_memory::has_host_of(const entry& e, std::string_view uri) {
  const std::string key = host_key(uri);
  return !key.empty() && std::ranges::find(e.hosts, key) != e.hosts.end();
}

bool dialog_memory::has_host_of(const dialog_record& d, std::string_view uri) {
  const std::string key = host_key(uri);
  return !key.empty() && (key == host_key(d.caller.contact) || key == host_key(d.callee.contact));
}

} // namespace skald::roles
