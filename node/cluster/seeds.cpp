#include "node/cluster/seeds.hpp"

#include <charconv>

namespace skald::node {
namespace {

struct host_port {
  std::string host;
  std::uint16_t port = overlay_port_default;
};

host_port split(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos) return {text};
  host_port out{text.substr(0, colon)};
  std::from_chars(text.data() + colon + 1, text.data() + text.size(), out.port);
  return out;
}

} // namespace

seed_finder::seed_finder(sip::dns_port* dns, std::vector<std::string> seeds, std::vector<endpoint> remembered,
                         std::string domain)
    : dns_(dns), seeds_(std::move(seeds)), remembered_(std::move(remembered)), domain_(std::move(domain)) {
  if (seeds_.size() > seeds_max) seeds_.resize(seeds_max);
  if (remembered_.size() > seeds_max) remembered_.resize(seeds_max);
}

void seed_finder::look_up(const std::string& host, std::uint16_t port, const found& f) {
  for (const sip::dns_type type : {sip::dns_type::a, sip::dns_type::aaaa})
    dns_->query(host, type, [f, port](const sip::dns_answer& a) {
      for (const ip_address& ip : a.addresses) f({ip, port});
    });
}

void seed_finder::look(found f) {
  const std::weak_ptr<int> alive = alive_;
  const found guarded = [alive, f = std::move(f)](const endpoint& e) {
    if (!alive.expired()) f(e);
  };
  for (const endpoint& e : remembered_) guarded(e);
  for (const std::string& s : seeds_)
    if (const auto numeric = endpoint::parse(s, overlay_port_default)) guarded(*numeric);
    else if (dns_ != nullptr) look_up(split(s).host, split(s).port, guarded);
  if (dns_ == nullptr || domain_.empty()) return;
  dns_->query("_skald._udp." + domain_, sip::dns_type::srv, [this, alive, guarded](const sip::dns_answer& a) {
    if (alive.expired()) return;
    for (std::size_t i = 0; i < a.srv.size() && i < seeds_max; ++i)
      if (!a.srv[i].target.empty()) look_up(a.srv[i].target, a.srv[i].port, guarded);
  });
}

} // namespace skald::node
