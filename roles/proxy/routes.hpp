#pragma once
// Routes of ours: the token URIs of Path and Record-Route, and the topmost Route of a link, which names the stage
// (sip.md §1, §2). Pure.
#include "roles/proxy/context.hpp"
#include "sip/message/message.hpp"
#include "sip/token/token.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::roles {

// ---- on links
struct link_route {
  roles::stage stage = stage::out;
  std::string aor;       // whose key it goes by; empty for `out`
  std::uint32_t hop = 1; // nodes that this stage was sent to, the receiver included
  std::string edge;      // the caller's edge, a node name
  bool secure = false;   // the Request-URI was sips:
  std::string stamp;     // the sender's view
  std::string instead_of{};  // the owner that this node is asked in place of, a node name (sip.md §6)
  leg_use use = leg_use::begin; // `out`; attach: 430 if there is no leg
  bool orphan = false;       // a BYE for a 2xx that nobody took
  bool dialogs = false;      // no request for a UA: asks which dialogs still pass (dialog_keeper.hpp)
  bool moved = false;        // no request for a UA: a binding went to another flow (moved_flows.hpp)
  bool removed = false;      // or, with `moved`, is there no more
  std::string attempt{};     // and what with_attempt() adds
  std::uint64_t origin = 0;
  std::uint32_t turn = 0;
  std::uint32_t round = 0;
};
std::string make_link_route(const name_index& names, const node_id& to, const link_route& r);
// A link's Route with what the receiver has to know of the attempt. It is no part of where the request goes.
struct attempt_params {
  std::string_view attempt;
  std::uint64_t origin = 0;
  std::uint32_t turn = 0, round = 0;
};
std::string with_attempt(std::string_view link_route, const attempt_params& p);
// nullopt: it names no stage of ours.
std::optional<link_route> read_link_route(const name_index& names, std::string_view value);

// ---- token URIs
struct our_route {
  std::string host;                // host and port as they stand in the URI
  std::optional<sip::token> token; // nullopt: no user part, or it does not open
  bool has_user = false;
};
// nullopt: not ours. `local` is the address that the message came to.
std::optional<our_route> read_our_route(const name_index& names, const endpoint& local, std::string_view value);
// Takes all leading Routes that are ours off the message.
std::vector<our_route> pop_our_routes(const name_index& names, const endpoint& local, sip::message& m);

// Parameters of ours are cut off from what came from elsewhere, before anything reads it.
void cut_our_params(const name_index& names, sip::message& m);

// ---- which party a token stands for, seen from this request (sip.md §2: by tags, never by the source address)
enum class token_fit : std::uint8_t { no, sender, receiver };
token_fit fit_of(const sip::token& t, const sip::message& request);

} // namespace skald::roles
