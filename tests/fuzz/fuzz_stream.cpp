// A byte stream cut at once and byte by byte: the same messages, the same end.
#include "sip/message/framer.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

using namespace skald;
using namespace skald::sip;

namespace {

struct outcome_of_stream {
  std::vector<std::string> messages;
  bool failed = false;
  bool operator==(const outcome_of_stream&) const = default;
};

void drain(stream_framer& f, outcome_of_stream& out) {
  while (!out.failed) {
    frame one = f.next();
    if (one.kind == frame_kind::nothing) return;
    if (one.kind == frame_kind::message) out.messages.push_back(std::move(one.bytes));
    out.failed = one.kind == frame_kind::error;
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  outcome_of_stream whole, pieces;
  stream_framer one, other;
  one.feed(text);
  drain(one, whole);
  for (const char c : text) {
    other.feed({&c, 1});
    drain(other, pieces);
  }
  SKALD_ASSERT(whole == pieces);
  return 0;
}
