#pragma once
// A REGISTER read into what it asks for (RFC 3261 §10.3 steps 2, 6, 7; RFC 5626 §6; RFC 3327 §5.3). Pure.
#include "roles/core/settings.hpp"
#include "sip/message/message.hpp"
#include "sip/token/token.hpp"

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::roles {

// Limits on what one phone may send.
inline constexpr std::size_t contacts_per_request_max = 16;
inline constexpr std::size_t contact_bytes_max = 1024; // the URI, and the parameters
inline constexpr std::size_t instance_bytes_max = 256;
inline constexpr std::size_t path_values_in_request_max = 8;
inline constexpr std::size_t path_bytes_max = 2048;
inline constexpr std::size_t call_id_bytes_max = 256;
inline constexpr std::size_t user_agent_bytes_kept = 128;

struct wanted_contact {
  std::string uri;
  std::string params;         // to give back, without expires
  std::uint16_t q = 1000;
  std::string instance;
  std::uint32_t reg_id = 0;   // 0: none
  std::uint32_t granted_s = 0; // 0: remove
};

struct register_request {
  bool remove_all = false;              // Contact: *
  std::vector<wanted_contact> contacts; // none of both: a question
  std::string call_id;
  std::uint32_t cseq = 0;
  std::vector<std::string> path;        // topmost first
  std::string user_agent;
  bool outbound = false;                // RFC 5626 §6: the registration uses it, the answer says so
  bool path_wanted = false;             // Supported: path
};

// An answer that ends it: with one header of its own, if `what` is not other.
struct register_refusal {
  int status = 400;
  std::string reason; // empty: the default
  sip::header what = sip::header::other;
  std::string value;
};

// Option tags in Require that the registrar does not know, for 420's Unsupported (§8.2.2.3). Empty: all known.
std::string unknown_requirements(const sip::message& request);

// `flow`: what the topmost Path value says of the flow to the phone; nullopt: nothing is known of it.
std::expected<register_request, register_refusal> read_register(const sip::message& request, const settings& config,
                                                                const std::optional<sip::token>& flow);

} // namespace skald::roles
