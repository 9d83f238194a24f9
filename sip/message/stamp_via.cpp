#include "sip/message/stamp_via.hpp"

#include "base/encoding.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/params.hpp"
#include "sip/message/via.hpp"

#include <string>

namespace skald::sip {

namespace {

std::uint16_t sent_by_port(const via& v) {
  if (v.port != 0) return v.port;
  return equal_nocase(v.transport, "TLS") ? 5061 : 5060; // RFC 3261 §18.1.1
}

} // namespace

result<void> stamp_top_via(message& request, const endpoint& source) {
  const auto top = request.first(header::via);
  if (!top) return std::unexpected(errc::missing);
  const auto v = parse_via(*top);
  if (!v) return std::unexpected(v.error());

  const auto named = ip_address::parse(v->host);
  const bool differs = !named || *named != source.ip || sent_by_port(*v) != source.port;
  const bool asked = v->param("rport").has_value();
  const bool forged = v->param("received").has_value();
  if (!differs && !asked && !forged) return {};

  std::string stamped(top->substr(0, top->size() - v->params.size()));
  stamped += without_params(v->params, {"received", "rport"});
  if (differs || asked) // RFC 3581 §4: with rport there is always a received, even where it is the same
    stamped.append(";received=").append(source.ip.text()).append(";rport=").append(std::to_string(source.port));
  request.replace_first_value(header::via, stamped);
  return {};
}

result<endpoint> response_destination::address() const {
  const auto ip = ip_address::parse(host);
  if (!ip) return std::unexpected(ip.error());
  return endpoint{*ip, port};
}

result<response_destination> destination_of(const message& response) {
  const auto top = response.first(header::via);
  if (!top) return std::unexpected(errc::missing);
  const auto v = parse_via(*top);
  if (!v) return std::unexpected(v.error());
  response_destination out{.host = v->host, .port = sent_by_port(*v)};
  if (const auto received = v->param("received"); received && !received->empty()) {
    out.host = *received;
    const auto rport = parse_number(v->param("rport").value_or(std::string_view{}));
    if (rport && *rport != 0 && *rport <= 65535) out.port = static_cast<std::uint16_t>(*rport);
  } else if (const auto maddr = v->param("maddr"); maddr && !maddr->empty()) {
    out.host = *maddr;
  }
  return out;
}

result<response_destination> destination_of_new_stream(const message& response) {
  const auto top = response.first(header::via);
  if (!top) return std::unexpected(errc::missing);
  const auto v = parse_via(*top);
  if (!v) return std::unexpected(v.error());
  response_destination out{.host = v->host, .port = sent_by_port(*v)};
  if (const auto received = v->param("received"); received && !received->empty()) out.host = *received;
  return out;
}

} // namespace skald::sip
