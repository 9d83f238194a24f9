#include "sip/transaction/transaction_key.hpp"

#include "base/encoding.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/via.hpp"

#include <functional>

namespace skald::sip {

namespace {

// No header value holds a line end, so that no two lists of parts look the same when joined by one.
constexpr char separator = '\n';

std::string_view tag_of(const message& m, header h) {
  const auto value = m.line(h);
  if (!value) return {};
  const auto parsed = parse_name_addr(*value);
  return parsed ? parsed->tag() : std::string_view{};
}

std::string legacy_base_of(const message& m, std::string_view via_value) {
  const auto cseq_value = parse_cseq(m.line(header::cseq).value_or(std::string_view{}));
  std::string out(m.request_uri());
  (out += separator) += m.line(header::call_id).value_or(std::string_view{});
  (out += separator) += tag_of(m, header::from);
  (out += separator) += std::to_string(cseq_value ? cseq_value->number : 0);
  (out += separator) += via_value;
  return out;
}

} // namespace

bool transaction_key::operator==(const transaction_key& other) const {
  return branch == other.branch && port == other.port && method == other.method && equal_nocase(host, other.host);
}

std::size_t transaction_key_hash::operator()(const transaction_key& k) const noexcept {
  // The host is left out: it may be written in either case, and the branch tells enough.
  const std::hash<std::string_view> h;
  return h(k.branch) * 31 + h(k.method) + k.port * 7919u;
}

owned_key::owned_key(const transaction_key& k) : view_(k) {
  text_.reserve(k.branch.size() + k.host.size() + k.method.size());
  text_.append(k.branch).append(k.host).append(k.method);
  const std::string_view all = text_;
  view_.branch = all.substr(0, k.branch.size());
  view_.host = all.substr(k.branch.size(), k.host.size());
  view_.method = all.substr(k.branch.size() + k.host.size());
}

bool has_magic_cookie(std::string_view branch) {
  return branch.size() > magic_cookie.size() && equal_nocase(branch.substr(0, magic_cookie.size()), magic_cookie);
}

server_key::server_key(const message& request, std::string_view method) {
  const auto via_value = request.first(header::via);
  if (!via_value) return;
  const auto top = parse_via(*via_value);
  if (!top) return;
  valid_ = true;
  if (has_magic_cookie(top->branch)) { // RFC 3261 §17.2.3
    view_ = {top->branch, top->host, top->port, method};
    return;
  }
  base_ = legacy_base_of(request, *via_value);
  const std::string_view to_tag = tag_of(request, header::to);
  composed_ =
      request.method_id() == sip::method::ack ? legacy_ack(base_, to_tag) : base_ + separator + std::string(to_tag);
  view_ = {composed_, {}, 0, method};
}

std::string server_key::legacy_ack(std::string_view base, std::string_view to_tag) {
  std::string out(base);
  out += separator;
  out += "ACK";
  out += separator;
  return out += to_tag;
}

} // namespace skald::sip
