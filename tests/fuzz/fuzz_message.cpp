// Whatever arrives in a datagram: parsed, judged, answered, edited, written, and parsed again.
#include "sip/message/message.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/stamp_via.hpp"
#include "sip/message/validate.hpp"

#include <cstddef>
#include <cstdint>

using namespace skald;
using namespace skald::sip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  auto m = message::parse_lenient(text);
  if (!m) {
    SKALD_ASSERT(!message::parse(text));
    return 0;
  }
  const auto why = validate(*m);
  if (m->is_request() && why && why->answer) (void)make_reply(*m, why->status, why->reason, "t").serialize();
  if (why) return 0;
  const auto again = message::parse(m->serialize());
  SKALD_ASSERT(again && again->serialize() == m->serialize() && !validate(*again));
  if (m->is_request()) (void)stamp_top_via(*m, *endpoint::parse("192.0.2.1:5070"));
  (void)destination_of(*m);
  message copy = *m;
  for (int i = 0; i < static_cast<int>(header::other); ++i) {
    const auto h = static_cast<header>(i);
    const std::size_t before = copy.values(h).size();
    copy.remove_first_value(h);
    SKALD_ASSERT(copy.values(h).size() == (before == 0 ? 0 : before - 1));
    copy.replace_first_value(h, "x");
    SKALD_ASSERT(copy.first(h) == "x");
  }
  SKALD_ASSERT(message::parse(copy.serialize()));
  SKALD_ASSERT(message::parse(m->serialize()));
  return 0;
}
