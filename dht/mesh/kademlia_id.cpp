#include "dht/mesh/kademlia_id.hpp"

#include "base/pack.hpp"

namespace skald::dht {
namespace {

// Of another kind: stepped over, and empty.
std::string_view text_of(pack::reader& r) {
  if (r.next_is_bin()) return r.bin();
  r.skip();
  return {};
}

struct finding {
  std::optional<node_id> id;
  bool contradiction = false;

  void add(std::string_view text) {
    const auto claimed = node_id::from_bytes(text);
    if (!claimed || (id && *id != *claimed)) contradiction = true;
    else id = *claimed;
  }
};

void look_into(pack::reader& body, finding& out) {
  if (!body.next_is_map()) return body.skip();
  for (std::size_t left = body.map(); left > 0 && body.ok(); --left) {
    if (text_of(body) == "id") out.add(text_of(body)); // every occurrence: which of two OpenDHT takes is none of our business
    else body.skip();
  }
}

} // namespace

result<std::optional<node_id>> claimed_id(std::string_view packet) {
  pack::reader r(packet);
  finding found;
  bool needs_id = false;
  for (std::size_t left = r.map(); left > 0 && r.ok(); --left) {
    const auto key = text_of(r);
    if (key == "a" || key == "r") {
      needs_id = true;
      look_into(r, found);
    } else {
      r.skip();
    }
  }
  if (!r.ok()) return std::unexpected(errc::malformed);
  if (found.contradiction) return std::unexpected(errc::not_authentic);
  if (needs_id && !found.id) return std::unexpected(errc::missing);
  return found.id;
}

} // namespace skald::dht
