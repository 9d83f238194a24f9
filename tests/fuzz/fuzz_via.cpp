#include "sip/message/message.hpp"
#include "sip/message/stamp_via.hpp"
#include "sip/message/via.hpp"

#include <cstddef>
#include <cstdint>

using namespace skald;
using namespace skald::sip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto v = parse_via(text);
  if (!v) return 0;
  message m = message::request("OPTIONS", "sip:a");
  m.append(header::via, text);
  if (m.first(header::via) != text) return 0; // commas and spaces around it
  const endpoint source = *endpoint::parse("192.0.2.77:5099");
  SKALD_ASSERT(stamp_top_via(m, source));
  // Whatever the sender wrote, the answer goes to where the packet came from.
  SKALD_ASSERT(destination_of(m)->address() == source || v->host == "192.0.2.77");
  return 0;
}
