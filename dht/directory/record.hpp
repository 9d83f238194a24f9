#pragma once
// A directory record: what a node says of itself (member_body), with its certificate, signed by its own key. Whoever hands
// it on cannot change it. Roles are believed only as far as the certificate permits. Pure; any thread.
#include "certs/bundle.hpp"
#include "certs/peer.hpp"
#include "dht/view/view.hpp"

#include <string>
#include <string_view>

namespace skald::dht {

inline constexpr std::size_t record_bytes_max = 8 * 1024;

struct verified_record {
  node_id id;
  member_body body;        // roles cut down to those permitted
  bool roles_cut = false;  // it claimed one that its certificate does not permit
};

std::string make_record(const certs::bundle& author, const member_body& body);
result<verified_record> verify_record(std::string_view bytes, const certs::trust& against, unix_ms now);

} // namespace skald::dht
