#pragma once
// The URIs that we write of ourselves: Record-Route for each side that is a UA of ours, and Path (sip.md §2). Pure, but
// for the flow port's advertised address.
#include "roles/core/ports.hpp"
#include "roles/proxy/context.hpp"
#include "sip/token/token.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::roles {

// Methods that make or refresh dialogs; in dialogs too.
bool wants_record_route(sip::method m);

// "host", "host:port": how the UA at the end of this flow is to name us. `named` is the host of the URI by which it
// addressed us in this request (its first Route, else the Request-URI).
std::string host_for(const worker_env& env, const name_index& names, const sip::arrival& from, std::string_view named);

enum class uri_use : std::uint8_t { record_route, path };
std::string token_uri(std::string_view token, std::string_view host, sip::transport t, uri_use use, bool secure);

// A token for the flow that this request came by. `binding_id` 0: not known.
sip::token describe(const worker_env& env, const name_index& names, const sip::flow& f);

// Puts a Record-Route of a dialog token for that flow on top; returns the token's text. `side`: which party of this
// request the flow belongs to.
std::string add_record_route(const worker_env& env, const name_index& names, sip::message& m, const sip::flow& f,
                             std::uint64_t binding_id, sip::token_side side, std::string_view host, bool secure);
// RFC 3327 §5.2, with `ob` as RFC 5626 §5.1 asks of the first hop. `named` as above.
void add_path(const worker_env& env, const name_index& names, sip::message& m, const sip::arrival& from,
              std::string_view aor, std::string_view named);

} // namespace skald::roles
