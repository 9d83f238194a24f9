#include "dht/mesh/refusals.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"

#include <fmt/format.h>

namespace skald::dht {
namespace {

constexpr std::string_view metric = "skald_mesh_refused_total";
constexpr std::string_view help = "datagrams, peers and claims refused at the overlay";

metrics::counter counters[mesh_refusal_count] = {
    {metric, help, R"(reason="no_certificate")"}, {metric, help, R"(reason="foreign_ca")"},
    {metric, help, R"(reason="expired")"},        {metric, help, R"(reason="not_yet_valid")"},
    {metric, help, R"(reason="wrong_usage")"},    {metric, help, R"(reason="revoked")"},
    {metric, help, R"(reason="forged_id")"},      {metric, help, R"(reason="role")"},
    {metric, help, R"(reason="plain")"},          {metric, help, R"(reason="handshake")"},
    {metric, help, R"(reason="frame")"},          {metric, help, R"(reason="overload")"},
};

} // namespace

mesh_refusal refusal_from(certs::refusal r) {
  switch (r) {
  case certs::refusal::no_certificate: return mesh_refusal::no_certificate;
  case certs::refusal::foreign_ca: return mesh_refusal::foreign_ca;
  case certs::refusal::expired: return mesh_refusal::expired;
  case certs::refusal::not_yet_valid: return mesh_refusal::not_yet_valid;
  case certs::refusal::wrong_usage: return mesh_refusal::wrong_usage;
  case certs::refusal::revoked: return mesh_refusal::revoked;
  }
  return mesh_refusal::handshake;
}

std::string_view to_string(mesh_refusal r) {
  switch (r) {
  case mesh_refusal::no_certificate: return certs::to_string(certs::refusal::no_certificate);
  case mesh_refusal::foreign_ca: return certs::to_string(certs::refusal::foreign_ca);
  case mesh_refusal::expired: return certs::to_string(certs::refusal::expired);
  case mesh_refusal::not_yet_valid: return certs::to_string(certs::refusal::not_yet_valid);
  case mesh_refusal::wrong_usage: return certs::to_string(certs::refusal::wrong_usage);
  case mesh_refusal::revoked: return certs::to_string(certs::refusal::revoked);
  case mesh_refusal::forged_id: return "a forged DHT id";
  case mesh_refusal::role: return "a role that its certificate does not permit";
  case mesh_refusal::plain: return "a datagram that is not DTLS";
  case mesh_refusal::handshake: return "a handshake that failed";
  case mesh_refusal::frame: return "a record that follows no rule";
  case mesh_refusal::overload: return "over a limit";
  }
  return "?";
}

std::uint64_t refused_total(mesh_refusal r) { return counters[static_cast<std::size_t>(r)].value(); }
void count_refusal(mesh_refusal r) { counters[static_cast<std::size_t>(r)].add(); }

void refusal_log::note(mesh_refusal r, const endpoint& from, std::string_view detail, mono_time now) {
  auto& line = lines_[static_cast<std::size_t>(r)];
  if (line.written && now - line.last < refusal_log_interval) { // no text is made for a line that is held back
    count_refusal(r);
    ++line.held_back;
    return;
  }
  note(r, from.text(), detail, now);
}

void refusal_log::note(mesh_refusal r, std::string_view who, std::string_view detail, mono_time now) {
  count_refusal(r);
  auto& line = lines_[static_cast<std::size_t>(r)];
  if (line.written && now - line.last < refusal_log_interval) {
    ++line.held_back;
    return;
  }
  std::string text = fmt::format("refused {}: {}", who, to_string(r));
  if (!detail.empty()) text += fmt::format(" ({})", detail);
  if (line.held_back > 0) text += fmt::format(", and {} more since the last such line", line.held_back);
  log::warning("mesh", text);
  line = {now, true, 0};
}

} // namespace skald::dht
