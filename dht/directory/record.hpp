#pragma once
// The signed record of the directory: [format, body, certificate, signature], a positional msgpack array. Anybody may
// hand one on; what it says is its author's, and is believed only as far as the author's certificate goes. Pure.
#include "certs/bundle.hpp"
#include "certs/peer.hpp"
#include "dht/directory/directory.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace skald::dht {

inline constexpr std::size_t record_bytes_max = 8 * 1024;

std::string make_record(const member_body& own, const certs::bundle& author);

// Errors: malformed, too_large, unsupported (a later format), not_authentic (signature, foreign or unfit certificate, a
// name that is not the certificate's), expired.
result<directory_entry> open_record(std::string_view record, const certs::trust& against, unix_ms now);

// Names of the certificate as a set; unknown names (of a later version) are passed over.
role_set permitted_roles(std::span<const std::string> names);

// Takes away what is claimed beyond `permitted`; counts and logs if there was anything. For bodies from links too.
void cut_to_permitted(member_body& body, role_set permitted);

// Shards: the directory is spread over 2^bits keys by the top bits of the node id. One does for up to 100 nodes.
inline constexpr unsigned directory_shard_bits = 0;
std::uint32_t directory_shard(const node_id& id, unsigned bits = directory_shard_bits);
// The 160-bit key under which a shard's records stand.
ring_key directory_key(std::string_view domain, std::uint32_t shard, unsigned bits = directory_shard_bits);

} // namespace skald::dht
