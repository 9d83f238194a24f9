#include "tests/chaos/phone.hpp"

#include "sip/auth/challenge.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/via.hpp"
#include "tests/chaos/load.hpp"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

namespace chaos {

namespace {

constexpr milliseconds ring_time{200}, t1{500}, t2{4000};
constexpr std::string_view sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

int new_socket() {
  return socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// A socket stays in the namespace that it was made in.
int new_socket_in(const std::string& space) {
  static const int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  const int there = open(("/run/netns/" + space).c_str(), O_RDONLY | O_CLOEXEC);
  if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0) std::perror(space.c_str()), std::exit(1);
  const int made = new_socket();
  if (setns(home, CLONE_NEWNET) != 0) std::perror("setns"), std::exit(1);
  close(there);
  return made;
}

std::string branch_of(const sip::message& m) {
  const auto top = m.first(sip::header::via);
  const auto via = top ? sip::parse_via(*top) : std::unexpected(skald::errc::missing);
  return via ? std::string(via->param("branch").value_or("")) : std::string();
}

} // namespace

phone::phone(world& w, std::string name, std::size_t home, place is_at)
    : user(std::move(name)), where(is_at), at(home), bound_at(home), world_(w),
      fd_(where == place::street ? new_socket() : new_socket_in(w.wanted.nat_space)) {
  const std::string& ip = where == place::street ? w.wanted.ip : w.wanted.nat_ip;
  sockaddr_in local{.sin_family = AF_INET};
  inet_pton(AF_INET, ip.c_str(), &local.sin_addr);
  if (fd_ < 0 || bind(fd_, reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0) std::perror("phone's socket"), std::exit(1);
  socklen_t size = sizeof local;
  getsockname(fd_, reinterpret_cast<sockaddr*>(&local), &size);
  host_port_ = fmt::format("{}:{}", ip, ntohs(local.sin_port));
  register_call_id = w.out.unique() + "@load";
  register_tag = w.out.unique();
  w.events.watch(fd_, [this] { readable(); });
}

std::string phone::aor() const {
  return "sip:" + user + "@" + world_.wanted.domain;
}

void phone::send(std::string_view bytes, const sockaddr_in& to) {
  // A full queue or a dead host is a lost datagram: SIP repeats.
  (void)sendto(fd_, bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

void phone::readable() {
  std::array<char, 65536> buffer;
  for (;;) {
    sockaddr_in source{};
    socklen_t size = sizeof source;
    const ssize_t n = recvfrom(fd_, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&source), &size);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n < 8) continue; // an error of the path (ICMP), or a keep-alive
    const auto m = sip::message::parse(std::string(buffer.data(), static_cast<std::size_t>(n)));
    if (!m) continue;
    if (m->is_request()) on_request(*m, source);
    else world_.out.on_response(*m);
  }
}

bool phone::challenged(const sip::message& answer) {
  const auto line = answer.line(answer.status() == 401 ? sip::header::www_authenticate : sip::header::proxy_authenticate);
  const auto c = line ? sip::parse_digest_challenge(*line) : std::unexpected(skald::errc::missing);
  if (!c || c->algorithm != sip::digest_algorithm::md5) return false;
  nonce_ = c->nonce;
  nonce_count_ = 0;
  if (realm_ != c->realm) ha1_ = sip::digest_ha1(c->algorithm, user, c->realm, world_.wanted.password);
  realm_ = c->realm;
  return true;
}

std::string phone::credentials(std::string_view header, std::string_view method, std::string_view uri) {
  if (nonce_.empty()) return {};
  sip::digest_credentials c{.username = user, .realm = realm_, .nonce = nonce_, .uri = std::string(uri)};
  c.cnonce = world_.out.unique();
  c.qop = sip::digest_qop::auth;
  c.nc = ++nonce_count_;
  c.nc_text = fmt::format("{:08x}", c.nc);
  return fmt::format("{}: Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", algorithm=MD5, qop=auth, nc={}, "
                     "cnonce=\"{}\", response=\"{}\"\r\n",
                     header, user, realm_, nonce_, uri, c.nc_text, c.cnonce, sip::digest_response(c, ha1_, method));
}

std::string phone::reply(const sip::message& m, int status, std::string_view tag, std::string_view more) const {
  std::string out = fmt::format("SIP/2.0 {} -\r\n", status);
  for (const sip::header_field& f : m.fields()) {
    const bool kept = f.id == sip::header::via || f.id == sip::header::from || f.id == sip::header::call_id || f.id == sip::header::cseq ||
                      f.id == sip::header::record_route;
    if (kept) out += fmt::format("{}: {}\r\n", f.name, f.value);
    if (f.id == sip::header::to)
      out += fmt::format("To: {}{}\r\n", f.value, tag_of(m, f.id).empty() && !tag.empty() ? fmt::format(";tag={}", tag) : std::string());
  }
  const std::string_view body = more.empty() ? std::string_view() : sdp;
  return out + fmt::format("{}{}Content-Length: {}\r\n\r\n{}", more, body.empty() ? "" : "Content-Type: application/sdp\r\n", body.size(), body);
}

void phone::on_request(const sip::message& m, const sockaddr_in& source) {
  const sip::method what = m.method_id();
  if (what == sip::method::invite) return on_invite(m, source);
  if (what == sip::method::cancel) return on_cancel(m, source);
  if (what != sip::method::ack) return send(reply(m, 200, "t" + user), source);
  const auto it = calls_.find(std::string(m.line(sip::header::call_id).value_or("")));
  if (it == calls_.end() || !it->second->answered || it->second->acknowledged) return;
  const std::shared_ptr<incoming> call = it->second;
  call->acknowledged = true;
  world_.on_acknowledged(*this, call);
}

void phone::on_invite(const sip::message& m, const sockaddr_in& source) {
  const std::string call_id(m.line(sip::header::call_id).value_or("")), branch = branch_of(m);
  auto& call = calls_[call_id];
  if (call && call->branch == branch) return send(call->answer, source);
  if (call) { // the same request by another way (RFC 3261 §8.2.2.2)
    world_.note_rung_twice(*this, *call, source, branch);
    return send(reply(m, 482, "x" + user), source);
  }
  call = std::make_shared<incoming>();
  call->call_id = call_id;
  call->branch = branch;
  call->source = source;
  call->came = world_.events.now();
  if (const edge* e = world_.edge_at(source)) call->falls = e->falls_now();
  call->from_tag = tag_of(m, sip::header::from);
  const std::string tag = world_.out.unique();
  call->remote = m.line(sip::header::from).value_or("");
  call->local = fmt::format("{};tag={}", m.line(sip::header::to).value_or(""), tag);
  for (const std::string_view r : m.values(sip::header::record_route)) call->routes.emplace_back(r);
  const auto peer = sip::parse_name_addr(m.line(sip::header::contact).value_or(""));
  if (peer) call->target = peer->uri_text;
  call->answer = reply(m, 180, tag);
  send(call->answer, source);
  const std::string contact_line = "Contact: " + contact() + "\r\n";
  world_.events.after(ring_time, [this, call, ok = reply(m, 200, tag, contact_line)]() mutable { answer_call(call, std::move(ok)); });
  world_.events.after(std::chrono::seconds(60), [this, call_id] { calls_.erase(call_id); });
}

void phone::answer_call(const std::shared_ptr<incoming>& call, std::string ok) {
  if (call->cancelled) return;
  call->answered = true;
  call->answer = std::move(ok);
  repeat_ok(call, t1, world_.events.now() + 64 * t1);
}

// RFC 3261 §13.3.1.4
void phone::repeat_ok(const std::shared_ptr<incoming>& call, duration wait, mono_time until) {
  if (call->acknowledged || world_.events.now() >= until) return;
  send(call->answer, call->source);
  world_.events.after(wait, [this, call, wait, until] { repeat_ok(call, std::min<duration>(wait * 2, t2), until); });
}

void phone::on_cancel(const sip::message& m, const sockaddr_in& source) {
  send(reply(m, 200, "t" + user), source);
  const auto it = calls_.find(std::string(m.line(sip::header::call_id).value_or("")));
  if (it == calls_.end() || it->second->answered || it->second->branch != branch_of(m)) return;
  it->second->cancelled = true;
  std::string answer = it->second->answer; // the 180, as 487
  answer.replace(0, answer.find("\r\n"), "SIP/2.0 487 -");
  it->second->answer = answer;
  send(answer, source);
}

} // namespace chaos
