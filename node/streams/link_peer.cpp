#include "node/streams/link_peer.hpp"

#include "base/guarded.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <map>

namespace skald::node {
namespace {

constexpr std::string_view counter_name = "skald_links_refused_total", counter_help = "Links refused, by reason.";
metrics::counter no_certificate(counter_name, counter_help, R"(reason="no_certificate")");
metrics::counter wrong_authority(counter_name, counter_help, R"(reason="wrong_authority")");
metrics::counter expired(counter_name, counter_help, R"(reason="expired")");
metrics::counter wrong_usage(counter_name, counter_help, R"(reason="wrong_usage")");
metrics::counter revoked(counter_name, counter_help, R"(reason="revoked")");
metrics::counter wrong_node(counter_name, counter_help, R"(reason="wrong_node")");
metrics::counter handshake(counter_name, counter_help, R"(reason="handshake")");
metrics::counter other(counter_name, counter_help, R"(reason="other")");

metrics::counter& counter_of(link_refusal r) {
  switch (r) {
  case link_refusal::no_certificate: return no_certificate;
  case link_refusal::wrong_authority: return wrong_authority;
  case link_refusal::expired: return expired;
  case link_refusal::wrong_usage: return wrong_usage;
  case link_refusal::revoked: return revoked;
  case link_refusal::wrong_node: return wrong_node;
  case link_refusal::handshake: return handshake;
  case link_refusal::other: return other;
  }
  return other;
}

constexpr std::size_t quiet_peers_max = 1000;
constexpr std::chrono::seconds quiet_time{10};

// A peer that tries again and again must not fill the log.
bool speaks(link_refusal r, const ip_address& peer) {
  using clock_type = std::chrono::steady_clock;
  static guarded<std::map<std::pair<link_refusal, ip_address>, clock_type::time_point>> last;
  return last.with([&](auto& map) {
    const auto now = clock_type::now();
    if (map.size() >= quiet_peers_max) map.clear();
    auto [it, fresh] = map.try_emplace({r, peer}, now);
    if (!fresh && now - it->second < quiet_time) return false;
    it->second = now;
    return true;
  });
}

} // namespace

std::string_view to_string(link_refusal r) {
  switch (r) {
  case link_refusal::no_certificate: return "it shows no certificate";
  case link_refusal::wrong_authority: return "its certificate is not of this cluster's CA";
  case link_refusal::expired: return "its certificate is expired or not yet valid";
  case link_refusal::wrong_usage: return "its certificate is not for both server and client use";
  case link_refusal::revoked: return "its certificate is revoked";
  case link_refusal::wrong_node: return "it is not the node that was called";
  case link_refusal::handshake: return "the TLS handshake failed";
  case link_refusal::other: return "its certificate is not acceptable";
  }
  return "";
}

void note_refused_link(link_refusal r, const endpoint& peer, std::string_view detail) {
  counter_of(r).add();
  if (!speaks(r, peer.ip)) return;
  log::warning("link", fmt::format("link with {} refused: {}{}{}", peer.text(), to_string(r),
                                   detail.empty() ? "" : ": ", detail));
}

} // namespace skald::node
