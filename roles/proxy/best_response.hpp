#pragma once
// Which of the branches' final responses goes upstream (RFC 3261 §16.7 steps 6 and 7). Pure.
#include "sip/message/message.hpp"

#include <span>

namespace skald::roles {

// `finals` is not empty, and holds no 2xx. The result is a copy: challenges of all 401/407 are merged into it; a 503
// becomes 500 (§16.7 step 6), 430 becomes 480 (sip.md §4: it never leaves the cluster — the caller says when).
sip::message best_response(std::span<const sip::message* const> finals);

// Lower is better.
int rank_of(int status);

} // namespace skald::roles
