#include "cluster.hpp"

#include "sip/auth/challenge.hpp"
#include "sip/auth/credentials.hpp"
#include "sip/auth/digest.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/via.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace skald::roles::testing {

phone::phone(cluster& c, std::string u, std::string_view a, std::string d)
    : home(c), user(std::move(u)), domain(std::move(d)), tag("t" + user), address(*endpoint::parse(a)) {}

std::string phone::contact() const {
  return "<sip:" + user + "@" + address.text() + ">";
}

std::string phone::next_branch() {
  return fmt::format("z9hG4bK{}{}", user, ++branch_);
}

void phone::send_text(test_node& n, std::string text) {
  home.deliver(*this, n, std::move(text));
}

std::string phone::request(test_node& n, std::string_view method, std::string_view uri) {
  return request(n, method, uri, call_options{});
}

std::string phone::request(test_node& n, std::string_view method, std::string_view uri, const call_options& o) {
  const std::string call_id = o.call_id.empty() ? fmt::format("{}-{}", user, branch_) : o.call_id;
  std::string more = o.more;
  for (int attempt = 0; attempt < 2; ++attempt) {
    std::string text = fmt::format("{} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={};rport\r\n", method, uri,
                                   address.text(), next_branch());
    if (o.max_forwards >= 0) text += fmt::format("Max-Forwards: {}\r\n", o.max_forwards);
    text += fmt::format("From: {};tag={}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n",
                        o.from.empty() ? "<" + aor() + ">" : o.from, tag,
                        o.to.empty() ? fmt::format("<{}>", uri) : o.to, call_id, ++cseq_, method);
    text += "Contact: " + (o.contact.empty() ? contact() : o.contact) + "\r\n";
    text += more + fmt::format("Content-Length: {}\r\n\r\n{}", o.body.size(), o.body);
    last_request_ = text, last_uri_ = uri, last_method_ = method;
    send_text(n, text);
    home.settle();
    if (!o.challenge) break;
    auto challenge = take_response(method == "REGISTER" ? 401 : 407);
    if (!challenge) break;
    if (method == "INVITE") ack_failure(n, *challenge);
    more = o.more + proxy_authorization(*challenge, method, uri);
  }
  return call_id;
}

void phone::ack_failure(test_node& n, const sip::message& response) {
  const auto m = sip::message::parse(last_request_);
  send_text(n, fmt::format("ACK {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\n"
                           "CSeq: {} ACK\r\n\r\n",
                           m->request_uri(), header_of(*m, sip::header::via), header_of(response, sip::header::from),
                           header_of(response, sip::header::to), header_of(response, sip::header::call_id), cseq_));
  home.settle();
}

void phone::same_again(test_node& n) {
  auto m = sip::message::parse(last_request_);
  m->set(sip::header::via, fmt::format("SIP/2.0/UDP {};branch={};rport", address.text(), next_branch()));
  last_request_ = m->serialize();
  send_text(n, last_request_);
  home.settle();
}

std::string phone::proxy_authorization(const sip::message& challenge, std::string_view method, std::string_view uri) {
  const bool www = challenge.status() == 401;
  const auto value = challenge.first(www ? sip::header::www_authenticate : sip::header::proxy_authenticate);
  REQUIRE(value.has_value());
  const auto ch = sip::parse_digest_challenge(*value);
  REQUIRE(ch.has_value());
  sip::digest_credentials c;
  c.username = user;
  c.realm = ch->realm;
  c.nonce = ch->nonce;
  c.uri = std::string(uri);
  c.algorithm = ch->algorithm;
  c.qop = sip::digest_qop::auth;
  c.nc = 1;
  c.nc_text = "00000001";
  c.cnonce = "c";
  const std::string ha1 = sip::digest_ha1(c.algorithm, user, ch->realm, password);
  return fmt::format(
      "{}: Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{}\", qop=auth, nc=00000001, "
      "cnonce=\"c\", algorithm={}\r\n",
      www ? "Authorization" : "Proxy-Authorization", user, c.realm, c.nonce, c.uri,
      sip::digest_response(c, ha1, method), sip::to_string(c.algorithm));
}

void phone::register_at(test_node& n, int expires) {
  request(n, "REGISTER", "sip:" + domain,
          {.to = "<" + aor() + ">",
           .more = fmt::format("Expires: {}\r\n", expires) + register_more,
           .call_id = "reg-" + user + address.text()});
  if (!take_response(200)) FAIL("REGISTER was not answered 200\n" << home.trace);
}

void phone::respond(const sip::message& request, int status, std::string_view more, std::string_view c) {
  std::string text = fmt::format("SIP/2.0 {} X\r\n", status);
  for (const std::string_view v : request.values(sip::header::via))
    text += fmt::format("Via: {}\r\n", v);
  for (const std::string_view v : request.values(sip::header::record_route))
    text += fmt::format("Record-Route: {}\r\n", v);
  std::string to = header_of(request, sip::header::to);
  if (status > 100 && to.find(";tag=") == std::string::npos) to += ";tag=" + tag;
  text += fmt::format("From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {}\r\n", header_of(request, sip::header::from), to,
                      header_of(request, sip::header::call_id), header_of(request, sip::header::cseq));
  text += "Contact: " + (c.empty() ? contact() : std::string(c)) + "\r\n";
  text += fmt::format("{}Content-Length: 0\r\n\r\n", more);
  const auto via = sip::parse_via(*request.first(sip::header::via));
  const endpoint to_whom = came_from_.at(std::string(via->branch));
  for (std::size_t i = 0; i < home.size(); ++i) {
    test_node& n = home.node(i);
    if (n.sip_address() == to_whom) return send_text(n, text);
  }
}

namespace {

// RFC 3261 §12.1: the route set, as Route lines.
std::string routes(const sip::message& m, bool reversed) {
  auto rr = m.values(sip::header::record_route);
  if (reversed) std::ranges::reverse(rr);
  std::string out;
  for (const std::string_view v : rr)
    out += fmt::format("Route: {}\r\n", v);
  return out;
}

std::string target(const sip::message& m) {
  const auto c = m.first(sip::header::contact);
  REQUIRE(c.has_value());
  return std::string(sip::parse_name_addr(*c)->uri_text);
}

} // namespace

void phone::in_dialog_as_caller(test_node& n, const sip::message& response, std::string_view method,
                                std::string_view more) {
  send_text(
      n,
      fmt::format("{} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={};rport\r\nMax-Forwards: 70\r\n{}From: {}\r\nTo: {}\r\n"
                  "Call-ID: {}\r\nCSeq: {} {}\r\nContact: {}\r\n{}Content-Length: 0\r\n\r\n",
                  method, target(response), address.text(), next_branch(), routes(response, true),
                  header_of(response, sip::header::from), header_of(response, sip::header::to),
                  header_of(response, sip::header::call_id), ++cseq_, method, contact(), more));
  home.settle();
}

void phone::in_dialog_as_callee(test_node& n, const sip::message& request, std::string_view method,
                                std::string_view more) {
  send_text(
      n,
      fmt::format(
          "{} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={};rport\r\nMax-Forwards: 70\r\n{}From: {};tag={}\r\nTo: {}\r\n"
          "Call-ID: {}\r\nCSeq: {} {}\r\nContact: {}\r\n{}Content-Length: 0\r\n\r\n",
          method, target(request), address.text(), next_branch(), routes(request, false),
          header_of(request, sip::header::to), tag, header_of(request, sip::header::from),
          header_of(request, sip::header::call_id), ++cseq_, method, contact(), more));
  home.settle();
}

void phone::ack(test_node& n, const sip::message& response) {
  const auto cseq = sip::parse_cseq(header_of(response, sip::header::cseq));
  send_text(n,
            fmt::format(
                "ACK {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={};rport\r\nMax-Forwards: 70\r\n{}From: {}\r\nTo: {}\r\n"
                "Call-ID: {}\r\nCSeq: {} ACK\r\nContent-Length: 0\r\n\r\n",
                target(response), address.text(), next_branch(), routes(response, true),
                header_of(response, sip::header::from), header_of(response, sip::header::to),
                header_of(response, sip::header::call_id), cseq->number, contact()));
  home.settle();
}

void phone::cancel(test_node& n, std::string_view more) {
  const auto m = sip::message::parse(last_request_);
  send_text(n, fmt::format("CANCEL {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: "
                           "{}\r\nCSeq: {} CANCEL\r\n{}"
                           "Content-Length: 0\r\n\r\n",
                           m->request_uri(), header_of(*m, sip::header::via), header_of(*m, sip::header::from),
                           header_of(*m, sip::header::to), header_of(*m, sip::header::call_id), cseq_, more));
  home.settle();
}

void phone::receive(std::string_view bytes, const sip::arrival& at) {
  auto m = sip::message::parse(std::string(bytes));
  REQUIRE(m.has_value());
  if (m->is_request()) {
    const auto via = sip::parse_via(*m->first(sip::header::via));
    came_from_[std::string(via->branch)] = at.flow.local;
    if (m->method_id() == sip::method::options && silent == 0 && header_of(*m, sip::header::max_forwards) == "1")
      return respond(*m, 200);
    if (m->method_id() == sip::method::cancel) respond(*m, 200);
  }
  inbox.push_back(std::move(*m));
}

std::optional<sip::message> phone::take_request(std::string_view method) {
  for (auto it = inbox.begin(); it != inbox.end(); ++it) {
    if (!it->is_request() || it->method_name() != method) continue;
    sip::message m = std::move(*it);
    inbox.erase(it);
    return m;
  }
  return std::nullopt;
}

std::optional<sip::message> phone::take_response(int status) {
  for (auto it = inbox.begin(); it != inbox.end(); ++it) {
    if (it->is_request() || it->status() != status) continue;
    sip::message m = std::move(*it);
    inbox.erase(it);
    return m;
  }
  return std::nullopt;
}

std::vector<int> phone::statuses() const {
  std::vector<int> out;
  for (const sip::message& m : inbox)
    if (!m.is_request()) out.push_back(m.status());
  return out;
}

std::size_t phone::count(std::string_view method) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(inbox, [&](const sip::message& m) { return m.is_request() && m.method_name() == method; }));
}

} // namespace skald::roles::testing
