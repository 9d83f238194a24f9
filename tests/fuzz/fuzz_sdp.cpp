#include "sip/sdp/sdp.hpp"

#include <cstddef>
#include <cstdint>

using namespace skald::sip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto s = parse_sdp(text);
  if (!s) return 0;
  for (const sdp_media& m : s->media) {
    SKALD_ASSERT(m.section.starts_with("m="));
    SKALD_ASSERT(m.section.data() >= text.data() && m.section.data() + m.section.size() <= text.data() + text.size());
  }
  return 0;
}
