#pragma once
// The topmost Via on reception, and what it says about where the response goes (RFC 3261 §18.2, RFC 3581).
#include "base/endpoint.hpp"
#include "sip/message/message.hpp"

#include <cstdint>
#include <string_view>

namespace skald::sip {

// Writes `received` and `rport` where the packet's source is not what Via says, or rport was asked for (sip.md §7); takes
// off what the sender put there by itself. errc::malformed if the topmost Via does not parse.
result<void> stamp_top_via(message& request, const endpoint& source);

struct response_destination {
  std::string_view host; // a view into the response; IPv6 references with brackets
  std::uint16_t port = 0;
  // An address if `host` is one; else it is a name for RFC 3263 §5.
  result<endpoint> address() const;
};
// For datagrams: received and rport, else maddr, else sent-by (RFC 3261 §18.2.2, RFC 3581 §4). A stream's response
// leaves by the stream its request came in by; where that is gone: destination_of_new_stream().
result<response_destination> destination_of(const message& response);
// Where a connection is to be opened for a response whose own is gone: received, else sent-by, with sent-by's port, for
// the source's was the connection's (RFC 3261 §18.2.2).
result<response_destination> destination_of_new_stream(const message& response);

} // namespace skald::sip
