#pragma once
// Whom we believe (sip.md §3): who the caller says it is, what of it may stay, and what never passes. Pure.
#include "roles/core/names.hpp"
#include "sip/message/message.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace skald::roles {

// The URI's AoR if it is in a domain of ours.
std::optional<std::string> our_aor_in(const name_index& names, std::string_view name_addr_value);
std::optional<std::string> from_aor(const name_index& names, const sip::message& m);
std::optional<std::string> to_aor(const name_index& names, const sip::message& m);
std::string_view tag_of(const sip::message& m, sip::header h); // From or To; "" if there is none

// Whether From is anonymous (RFC 3323 §4.1.1.3: anonymous.invalid).
bool from_is_anonymous(const sip::message& m);

// The AoR that credentials of a realm of ours name; they are not checked here. The realms are the domains.
std::optional<std::string> credentials_aor(const name_index& names, const sip::message& m, sip::header h);
bool is_our_realm(const name_index& names, std::string_view auth_header_value);

// P-Asserted-Identity from who is not trusted (RFC 3325 §5).
void drop_assertions(sip::message& m);
void assert_identity(sip::message& m, std::string_view aor);
// What RFC 3323 and 3325 §7 let leave towards a UA or a foreign server.
void leave_trust(sip::message& m);
// Credentials for realms of ours never leave (sip.md §3).
void drop_our_credentials(const name_index& names, sip::message& m);
// Only the cluster challenges for its realms. False: a 401 or 407 without any challenge is left.
bool drop_our_challenges(const name_index& names, sip::message& response);

// Peers that the settings name, by address, or by a TLS name that a verified certificate of theirs gives (RFC 5922 §7).
// The settings are those of this moment: who is taken off the list is a stranger on his open connections too.
bool is_trusted_peer(const settings& s, const sip::arrival& from, unix_ms now);

} // namespace skald::roles
