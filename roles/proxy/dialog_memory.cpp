#include "roles/proxy/dialog_memory.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "sip/message/uri.hpp"

#include <algorithm>

namespace skald::roles {

namespace {

metrics::counter dropped("skald_edge_dialogs_dropped_total", "Dialogs forgotten because too many are remembered.");

std::string host_key(std::string_view uri_text) {
  const auto u = sip::parse_uri(uri_text);
  if (!u || u->host.empty()) return {};
  return to_lower(u->host) + ":" + std::to_string(u->port == 0 ? 5060 : u->port);
}

} // namespace

dialog_memory::entry& dialog_memory::touch(std::string_view call_id, std::string_view tag, std::string_view other_tag,
                                           mono_time now) {
  if (entry* e = find(call_id, tag, other_tag)) {
    e->used = now;
    return *e;
  }
  if (order_.size() >= dialogs_remembered_max) {
    dropped.add();
    by_item_.erase(order_.back().item);
    order_.pop_back();
  }
  order_.push_front({dialog_item(call_id, tag, other_tag), {}, {}, now, false});
  by_item_[order_.front().item] = order_.begin();
  order_.front().record.call_id = std::string(call_id);
  return order_.front();
}

dialog_memory::entry* dialog_memory::find(std::string_view call_id, std::string_view tag, std::string_view other_tag) {
  const std::string item = dialog_item(call_id, tag, other_tag);
  const auto it = by_item_.find(item);
  if (it == by_item_.end()) return nullptr;
  order_.splice(order_.begin(), order_, it->second);
  return &*it->second;
}

void dialog_memory::erase(std::string_view call_id, std::string_view tag, std::string_view other_tag) {
  const std::string item = dialog_item(call_id, tag, other_tag);
  const auto it = by_item_.find(item);
  if (it == by_item_.end()) return;
  const auto at = it->second;
  by_item_.erase(it);
  order_.erase(at);
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
