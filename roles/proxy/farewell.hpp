#pragma once
// Requests that the cluster makes in a caller's stead, from a 2xx that nobody took (sip.md §6). Pure.
#include "roles/core/names.hpp"
#include "sip/message/message.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace skald::roles {

// Without a Via. `cseq_step` above the INVITE's CSeq: 0 for its ACK. nullopt: the 2xx names no Contact to send it to.
std::optional<sip::message> make_as_caller(const name_index& names, const endpoint& local, const sip::message& success,
                                           std::string_view method, std::uint32_t cseq_step);

} // namespace skald::roles
