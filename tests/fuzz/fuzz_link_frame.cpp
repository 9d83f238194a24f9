// Link frames from a peer: the stream decoder however the bytes are cut, then every body that link and store decode.
// What is understood must survive being written and read again.
#include "dht/link/framing.hpp"
#include "dht/link/messages.hpp"
#include "dht/store/merge_messages.hpp"

#include <cstdint>

namespace {

using namespace skald;
using namespace skald::dht;

template <class Message>
void body(const frame& f) {
  const auto m = Message::decode(f);
  if (!m) return;
  const frame once = m->encode();
  const auto again = Message::decode(once);
  SKALD_ASSERT(again.has_value());
  SKALD_ASSERT(again->encode().body == once.body);
}

void all_bodies(const frame& f) {
  body<hello>(f);
  body<goodbye>(f);
  body<link_ping>(f);
  body<link_pong>(f);
  body<store_write>(f);
  body<store_ack>(f);
  body<store_fetch>(f);
  body<store_records>(f);
  body<store_put>(f);
  body<store_put_done>(f);
  body<store_copy_request>(f);
  body<store_copy>(f);
  body<store_copy_done>(f);
  body<store_compare>(f);
  body<store_compared>(f);
  body<store_merge_please>(f);
  body<store_state>(f);
  (void)decode_batch(f.body);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view in(reinterpret_cast<const char*>(data), size);
  frame_decoder decoder;
  const std::size_t half = size / 2;
  for (const auto part : {in.substr(0, half), in.substr(half)}) {
    decoder.feed(part);
    for (;;) {
      const auto f = decoder.next();
      if (!f || !*f) break;
      all_bodies(**f);
    }
  }
  all_bodies({frame_type::hello, 1, std::string(in)}); // a body alone, so that its bytes need no length
  return 0;
}
