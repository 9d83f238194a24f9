#include "roles/registrar/register_request.hpp"

#include "base/encoding.hpp"
#include "roles/registrar/grant.hpp"
#include "sip/message/contact.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/params.hpp"

#include <algorithm>

namespace skald::roles {
namespace {

constexpr std::uint32_t expires_default_s = 3600; // RFC 3261 §10.2.1.1: what a malformed one counts as, too
constexpr std::string_view known_options[] = {"path", "outbound"};

using refusal_or_done = std::expected<void, register_refusal>;

std::unexpected<register_refusal> bad_request(std::string reason) {
  return std::unexpected(register_refusal{400, std::move(reason), sip::header::other, {}});
}

std::optional<std::uint32_t> expires_header(const sip::message& request) {
  const auto value = request.first(sip::header::expires);
  if (!value) return std::nullopt;
  return sip::parse_number(*value).value_or(expires_default_s);
}

refusal_or_done read_path(const sip::message& request, register_request& out) {
  std::size_t bytes = 0;
  for (const std::string_view value : request.values(sip::header::path)) {
    const auto address = sip::parse_name_addr(value);
    if (!address || !address->uri()) return bad_request("Malformed Path");
    bytes += value.size();
    out.path.emplace_back(value);
  }
  if (out.path.size() > path_values_in_request_max || bytes > path_bytes_max) return bad_request("Path Too Long");
  return {};
}

// RFC 5626 §6: the first hop is the last Path value; it says `ob` if it can keep the flow.
bool first_hop_keeps_flows(const std::vector<std::string>& path) {
  if (path.empty()) return false;
  const auto address = sip::parse_name_addr(path.back());
  const auto u = address ? address->uri() : result<sip::uri>(std::unexpected(errc::malformed));
  return u && u->has_param("ob");
}

std::expected<wanted_contact, register_refusal> read_contact(const sip::contact& c, std::uint32_t asked_s) {
  wanted_contact w;
  if (c.address.uri_text.size() > contact_bytes_max || c.address.params.size() > contact_bytes_max ||
      c.instance.size() > instance_bytes_max)
    return bad_request("Contact Too Long");
  const auto u = c.address.uri();
  if (!u || (u->scheme != sip::uri_scheme::sip && u->scheme != sip::uri_scheme::sips) || u->host.empty())
    return bad_request("Contact Is No SIP URI");
  w.uri = c.address.uri_text;
  w.params = sip::without_params(c.address.params, {"expires"});
  w.q = static_cast<std::uint16_t>(c.q.value_or(1000));
  w.instance = c.instance;
  if (!w.instance.empty()) w.reg_id = c.reg_id.value_or(0); // RFC 5626 §6: without an instance it is ignored
  w.granted_s = c.expires.value_or(asked_s);
  return w;
}

refusal_or_done check_star(const std::vector<std::string_view>& contacts, std::optional<std::uint32_t> expires) {
  // RFC 3261 §10.3 step 6
  if (contacts.size() > 1) return bad_request("* With Another Contact");
  if (expires != 0u) return bad_request("* Without Expires: 0");
  return {};
}

refusal_or_done read_contacts(const sip::message& request, register_request& out) {
  const auto values = request.values(sip::header::contact);
  if (values.size() > contacts_per_request_max) return bad_request("Too Many Contacts");
  const auto expires = expires_header(request);
  for (const std::string_view value : values) {
    const auto c = sip::parse_contact(value);
    if (!c) return bad_request("Malformed Contact");
    if (c->is_star) {
      if (const auto good = check_star(values, expires); !good) return good;
      out.remove_all = true;
      return {};
    }
    auto wanted = read_contact(*c, expires.value_or(expires_default_s));
    if (!wanted) return std::unexpected(std::move(wanted.error()));
    out.contacts.push_back(std::move(*wanted));
  }
  return {};
}

refusal_or_done decide_outbound(const sip::message& request, register_request& out) {
  const auto uses = [](const wanted_contact& w) { return w.reg_id != 0 && w.granted_s != 0; };
  const auto flows = std::ranges::count_if(out.contacts, uses);
  if (flows > 1) return bad_request("More Than One reg-id"); // RFC 5626 §6
  if (flows == 0 || !request.lists(sip::header::supported, "outbound")) return {};
  if (!first_hop_keeps_flows(out.path))
    return std::unexpected(register_refusal{439, "First Hop Lacks Outbound Support", sip::header::other, {}}); // §11.6
  out.outbound = true;
  return {};
}

refusal_or_done grant(const sip::message& request, const settings& config, const std::optional<sip::token>& flow,
                      register_request& out) {
  const kept_by keeper = out.outbound || offers_keep(request) ? kept_by::phone : kept_by::us;
  for (wanted_contact& w : out.contacts) {
    if (w.granted_s == 0) continue;
    if (w.granted_s < config.grant_min_s) // RFC 3261 §10.3 step 7
      return std::unexpected(register_refusal{423, {}, sip::header::min_expires, std::to_string(config.grant_min_s)});
    const auto u = sip::parse_uri(w.uri);
    const std::uint32_t cap = flow && u ? grant_cap(*u, *flow, keeper, config.grant_max_s) : config.grant_max_s;
    w.granted_s = std::min(w.granted_s, cap);
  }
  return {};
}

} // namespace

std::string unknown_requirements(const sip::message& request) {
  std::string unknown;
  for (const std::string_view option : request.values(sip::header::require)) {
    const bool known = std::ranges::any_of(known_options, [&](std::string_view k) { return equal_nocase(k, option); });
    if (known) continue;
    if (!unknown.empty()) unknown += ", ";
    unknown += option;
  }
  return unknown;
}

std::expected<register_request, register_refusal> read_register(const sip::message& request, const settings& config,
                                                                const std::optional<sip::token>& flow) {
  register_request out;
  const auto call_id = request.first(sip::header::call_id);
  const auto cseq_value = request.first(sip::header::cseq);
  const auto cseq = cseq_value ? sip::parse_cseq(*cseq_value) : std::unexpected(errc::missing);
  if (!call_id || call_id->empty() || !cseq) return bad_request("Missing Call-ID or CSeq");
  if (call_id->size() > call_id_bytes_max) return bad_request("Call-ID Too Long");
  out.call_id = *call_id;
  out.cseq = cseq->number;
  out.path_wanted = request.lists(sip::header::supported, "path");
  out.user_agent = request.first(sip::header::user_agent).value_or(std::string_view{}).substr(0, user_agent_bytes_kept);

  if (auto done = read_path(request, out); !done) return std::unexpected(std::move(done.error()));
  if (auto done = read_contacts(request, out); !done) return std::unexpected(std::move(done.error()));
  if (auto done = decide_outbound(request, out); !done) return std::unexpected(std::move(done.error()));
  if (auto done = grant(request, config, flow, out); !done) return std::unexpected(std::move(done.error()));
  return out;
}

} // namespace skald::roles
