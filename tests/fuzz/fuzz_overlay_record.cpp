// What strangers and peers can send at the overlay: the first byte chooses the reader, the rest is its input.
#include "../unit/mesh/samples.hpp"
#include "base/encoding.hpp"
#include "certs/peer.hpp"
#include "certs/pem.hpp"
#include "certs/signature.hpp"
#include "dht/directory/peer_file.hpp"
#include "dht/directory/record.hpp"
#include "dht/mesh/framing.hpp"
#include "dht/mesh/kademlia_id.hpp"
#include "dht/mesh/record_look.hpp"
#include "dht/view/body_codec.hpp"

#include <cstdlib>

using namespace skald;
using namespace skald::dht;

namespace {

const certs::trust& trust() {
  static const certs::trust t{from_hex(test::sample_ca).value(), "example.com"};
  return t;
}

// Records of one session, each with a length byte pair in front.
void feed_records(std::string_view in) {
  reassembler parts;
  mono_time now{seconds(1)};
  while (in.size() >= 2) {
    const std::size_t size = std::min<std::size_t>(get_be<std::uint16_t>(in), in.size() - 2);
    (void)parts.take(in.substr(2, size), now);
    if (parts.bytes_held() > mesh_partial_max * mesh_message_bytes_max) std::abort();
    now += milliseconds(1);
    in.remove_prefix(2 + size);
  }
}

// Whatever is cut comes back whole.
void cut_and_join(std::string_view in) {
  reassembler parts;
  std::string got;
  for (const auto& record : cut_message(mesh_channel::gossip, in, 64, 7)) {
    const auto m = parts.take(record, mono_time{seconds(1)});
    if (!m) std::abort();
    if (*m) got = (*m)->bytes;
  }
  if (in.size() <= 64 * 57 && got != in) std::abort();
}

void read_certificate(std::string_view der) {
  const std::string_view chain[] = {der};
  (void)certs::check_peer(chain, trust(), test::sample_time);
  (void)certs::subject_of(der);
  (void)certs::verify(der, "x", "y");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
  case 0: (void)look_at(in); break;
  case 1: feed_records(in); break;
  case 2: (void)claimed_id(in); break;
  case 3: (void)open_record(in, trust(), test::sample_time); break;
  case 4: (void)decode_body(in); break;
  case 5: read_certificate(in); break;
  case 6:
    (void)read_peer_file(in);
    (void)certs::pem_decode(in);
    break;
  case 7: cut_and_join(in); break;
  }
  return 0;
}
