#include "roles/proxy/attempt.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "roles/proxy/identity.hpp"

#include <algorithm>

namespace skald::roles {

namespace {

constexpr std::size_t attempt_bytes = 16;

// Parts with their lengths: no two lists of parts give one text.
class parts {
public:
  parts& add(std::string_view part) {
    put_be(text_, static_cast<std::uint32_t>(part.size()));
    text_ += part;
    return *this;
  }
  parts& add(std::uint64_t number) {
    put_be(text_, number);
    return *this;
  }
  std::string digest() const { return crypto::sha256(text_); }
  leg_key key() const {
    const std::string d = digest();
    return {get_be<std::uint64_t>(std::string_view(d).substr(0, 8)), get_be<std::uint64_t>(std::string_view(d).substr(8, 8))};
  }

private:
  std::string text_;
};

char letter_of(attempt_owner kind) {
  switch (kind) {
  case attempt_owner::subscriber:
    return 's';
  case attempt_owner::peer:
    return 'p';
  case attempt_owner::stranger:
    return 'f';
  }
  return 'f';
}

// The flow that a UA is reached by; which worker or connection carries a datagram, or a request to a server, is no matter.
void add_flow(parts& p, const sip::flow& flow, bool to_server) {
  p.add(static_cast<std::uint64_t>(flow.transport)).add(flow.remote.text());
  if (!to_server) p.add(flow.local.text()).add(sip::is_stream(flow.transport) ? flow.serial : 0u);
}

} // namespace

std::string attempt_of(const sip::message& request, attempt_owner kind, std::string_view who) {
  const std::string_view cseq = request.line(sip::header::cseq).value_or(std::string_view{});
  parts p;
  p.add(request.line(sip::header::call_id).value_or(std::string_view{})).add(tag_of(request, sip::header::from));
  p.add(cseq.substr(0, cseq.find_first_of(" \t"))).add(request.method_name()).add(who);
  p.add(request.request_uri()).add(request.line(sip::header::to).value_or(std::string_view{})).add(request.body());
  return letter_of(kind) + to_hex(std::string_view(p.digest()).substr(0, attempt_bytes));
}

bool is_attempt(std::string_view text) {
  return text.size() == 1 + 2 * attempt_bytes && std::string_view("spf").contains(text[0]) &&
         std::ranges::all_of(text.substr(1), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_subscribers(std::string_view attempt) {
  return attempt.starts_with('s');
}

leg_key leg_key_of(std::string_view attempt, std::uint64_t binding_id, std::string_view server, const sip::flow& flow,
                   std::uint32_t round) {
  parts p;
  p.add(attempt).add(binding_id).add(server).add(round);
  add_flow(p, flow, !server.empty());
  return p.key();
}

leg_key ua_key_of(std::string_view attempt, std::uint64_t binding_id, std::string_view server, const sip::flow& flow) {
  parts p;
  p.add(attempt).add(binding_id).add(server);
  if (binding_id == 0) p.add(flow.remote.text()); // no registered UA: who is at that address
  return p.key();
}

leg_key caller_key_of(std::string_view call_id, std::string_view from_tag) {
  parts p;
  p.add(call_id).add(from_tag);
  return p.key();
}

} // namespace skald::roles
