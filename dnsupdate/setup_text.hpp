#pragma once
// `skald dns --setup`: what a parent zone or a DNS server has to be told (sip.md §10).
#include "dht/view/view.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace skald::dnsupdate {

struct setup_input {
  const dht::view& view;
  std::string domain;
  std::vector<std::string> other_domains; // served besides: their zones point at ours
  std::string server, key_name, key_algorithm; // empty: none set; never the secret
  bool public_tls = false;
};
std::string setup_text(const setup_input& in);

} // namespace skald::dnsupdate
