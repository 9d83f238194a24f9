// The load of tests/chaos/avalanche: very many phones that register, and again all at once. Only that: what is kept of each
// is small, and 25 share a port. Each obeys RFC 3261 (timer E, 32 s) and Retry-After; 401 is answered by MD5 digest, each
// time from the beginning, as by a phone that had no power.
//   chaos_avalanche --node IP:PORT --users N --domain D --password P [--seed N]
// Commands on standard input, one a line; answers in JSON, one a line.
//   fill WINDOW     every phone once, WINDOW at a time
//   wave SECONDS    half of them, chosen and spread at random over that time; the answer comes when all have a 200
#include "sip/auth/challenge.hpp"
#include "sip/auth/digest.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/via.hpp"
#include "tests/chaos/requests.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace chaos {

namespace {

constexpr std::size_t phones_of_a_port = 25, ports_of_an_address = 200;
constexpr milliseconds t1{500}, t2{4000};
constexpr int expires_s = 3600;

struct options {
  sockaddr_in node{.sin_family = AF_INET};
  std::size_t users = 1000;
  std::string domain = "skald.test", password = "secret";
  std::uint64_t seed = 1;
};

struct port {
  int fd;
  std::string host_port;
};

// A phone, and its REGISTER that is under way, if `serial` is odd: even once it is answered, so that what is late is known.
struct phone {
  std::uint32_t serial = 0;
  std::uint32_t cseq = 0;
  std::uint16_t refused = 0; // times in this wave
  bool waits = false;        // to be registered
  std::string nonce, realm;  // of the challenge that is answered now
  duration wait{t1};
  mono_time wanted{}, sent{};
};

struct results {
  std::map<int, std::uint64_t> answers;
  std::uint64_t sent = 0, repeated = 0, silent = 0; // silent: no answer in 32 s
  std::size_t refused_most = 0;
  std::vector<double> took_s;
};

class avalanche {
public:
  explicit avalanche(options o) : wanted_(std::move(o)), random_(wanted_.seed), phones_(wanted_.users) {
    const rlimit many{1 << 18, 1 << 18};
    setrlimit(RLIMIT_NOFILE, &many);
    for (std::size_t i = 0; i < (phones_.size() + phones_of_a_port - 1) / phones_of_a_port; ++i) open_port(i);
    events_.watch(STDIN_FILENO, [this] { command(); });
  }
  void run() { events_.run(); }

private:
  void open_port(std::size_t i) {
    sockaddr_in local{.sin_family = AF_INET};
    const std::string ip = fmt::format("127.40.{}.{}", i / ports_of_an_address / 250, 1 + i / ports_of_an_address % 250);
    inet_pton(AF_INET, ip.c_str(), &local.sin_addr);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0 ||
        connect(fd, reinterpret_cast<const sockaddr*>(&wanted_.node), sizeof wanted_.node) != 0)
      std::perror("socket"), std::exit(1);
    socklen_t size = sizeof local;
    getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size);
    ports_.push_back({fd, fmt::format("{}:{}", ip, ntohs(local.sin_port))});
    events_.watch(fd, [this, i] { readable(i); });
  }

  void command() {
    std::array<char, 4096> buffer;
    const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n <= 0) return events_.stop();
    line_.append(buffer.data(), static_cast<std::size_t>(n));
    for (auto end = line_.find('\n'); end != std::string::npos; end = line_.find('\n')) {
      const std::string what = line_.substr(0, end);
      line_.erase(0, end + 1);
      if (what.starts_with("fill ")) fill(static_cast<std::size_t>(std::atoi(what.c_str() + 5)));
      else if (what.starts_with("wave ")) wave(std::atof(what.c_str() + 5));
      else std::fprintf(stderr, "avalanche: no command: %s\n", what.c_str()), std::exit(2);
    }
  }

  void begin() {
    results_ = {};
    began_ = events_.now();
  }

  void fill(std::size_t window) {
    begin();
    next_ = 0;
    left_ = phones_.size();
    for (std::size_t i = 0; i < window; ++i) fill_next();
  }
  void fill_next() {
    if (next_ < phones_.size()) want(next_++);
  }

  void wave(double seconds) {
    begin();
    next_ = phones_.size();
    std::vector<std::size_t> all(phones_.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
    for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[random_.below(i)]);
    all.resize(all.size() / 2);
    left_ = all.size();
    for (const std::size_t i : all)
      events_.after(milliseconds(static_cast<std::int64_t>(random_.unit() * seconds * 1000)), [this, i] { want(i); });
  }

  void want(std::size_t i) {
    phone& p = phones_[i];
    p.waits = true;
    p.refused = 0;
    p.wanted = events_.now();
    attempt(i);
  }

  void attempt(std::size_t i) {
    phones_[i].nonce.clear();
    begin_request(i);
  }

  void begin_request(std::size_t i) {
    phone& p = phones_[i];
    p.serial += p.serial % 2 == 1 ? 2 : 1;
    ++p.cseq;
    p.wait = t1;
    p.sent = events_.now();
    ++results_.sent;
    send(i);
    repeat_later(i);
  }

  void send(std::size_t i) {
    phone& p = phones_[i];
    const port& at = ports_[i / phones_of_a_port];
    const std::string user = fmt::format("s{}", i), uri = "sip:" + wanted_.domain;
    std::string credentials;
    if (!p.nonce.empty()) {
      sip::digest_credentials c{.username = user, .realm = p.realm, .nonce = p.nonce, .uri = uri};
      c.cnonce = "a", c.qop = sip::digest_qop::auth, c.nc = 1, c.nc_text = "00000001";
      const std::string ha1 = sip::digest_ha1(sip::digest_algorithm::md5, user, p.realm, wanted_.password);
      credentials = fmt::format("Authorization: Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", algorithm=MD5, qop=auth, "
                                "nc=00000001, cnonce=\"a\", response=\"{}\"\r\n", user, p.realm, p.nonce, uri, sip::digest_response(c, ha1, "REGISTER"));
    }
    const std::string text = fmt::format(
        "REGISTER {0} SIP/2.0\r\nVia: SIP/2.0/UDP {1};rport;branch=z9hG4bK{2}.{3}.\r\nMax-Forwards: 70\r\nFrom: <sip:{4}@{5}>;tag={2}\r\n"
        "To: <sip:{4}@{5}>\r\nCall-ID: {2}@avalanche\r\nCSeq: {6} REGISTER\r\nContact: <sip:{4}@{1}>\r\nExpires: {7}\r\n{8}Content-Length: 0\r\n\r\n",
        uri, at.host_port, i, p.serial, user, wanted_.domain, p.cseq, expires_s, credentials);
    (void)::send(at.fd, text.data(), text.size(), 0); // what is lost is sent again
  }

  // Timer E, F (RFC 3261 §17.1.2.2)
  void repeat_later(std::size_t i) {
    events_.after(phones_[i].wait, [this, i, serial = phones_[i].serial] {
      phone& p = phones_[i];
      if (p.serial != serial) return;
      if (events_.now() - p.sent >= 64 * t1) {
        ++results_.silent;
        return attempt(i);
      }
      ++results_.repeated;
      p.wait = std::min<duration>(p.wait * 2, t2);
      send(i);
      repeat_later(i);
    });
  }

  void readable(std::size_t at) {
    std::array<char, 8192> buffer;
    for (;;) {
      const ssize_t n = recv(ports_[at].fd, buffer.data(), buffer.size(), 0);
      if (n < 0) return; // nothing more, or an error of the path
      const auto m = sip::message::parse(std::string(buffer.data(), static_cast<std::size_t>(n)));
      if (m && !m->is_request()) on_response(*m);
      else if (m) answer_ping(at, *m);
    }
  }

  // OPTIONS: the edge keeps flows of UDP alive (sip.md §4).
  void answer_ping(std::size_t at, const sip::message& m) {
    std::string out = "SIP/2.0 200 OK\r\n";
    for (const sip::header_field& f : m.fields())
      if (f.id == sip::header::via || f.id == sip::header::from || f.id == sip::header::to || f.id == sip::header::call_id || f.id == sip::header::cseq)
        out += fmt::format("{}: {}{}\r\n", f.name, f.value, f.id == sip::header::to ? ";tag=a" : "");
    out += "Content-Length: 0\r\n\r\n";
    (void)::send(ports_[at].fd, out.data(), out.size(), 0);
  }

  void on_response(const sip::message& m) {
    const auto top = m.first(sip::header::via);
    const auto via = top ? sip::parse_via(*top) : std::unexpected(skald::errc::missing);
    const std::string branch(via ? via->param("branch").value_or("") : "");
    unsigned long i = 0, serial = 0;
    if (m.status() < 200 || std::sscanf(branch.c_str(), "z9hG4bK%lu.%lu.", &i, &serial) != 2 || i >= phones_.size()) return;
    phone& p = phones_[i];
    if (p.serial != serial || !p.waits) return; // late
    ++p.serial;
    ++results_.answers[m.status()];
    if (m.status() == 200) return registered(i);
    const auto challenge = m.line(sip::header::www_authenticate);
    const auto c = challenge ? sip::parse_digest_challenge(*challenge) : std::unexpected(skald::errc::missing);
    if (m.status() == 401 && c && p.nonce.empty()) {
      p.nonce = c->nonce, p.realm = c->realm;
      return begin_request(i);
    }
    int retry_s = 1;
    if (const auto r = m.line(sip::header::retry_after)) std::from_chars(r->data(), r->data() + r->size(), retry_s);
    results_.refused_most = std::max<std::size_t>(results_.refused_most, ++p.refused);
    events_.after(std::chrono::seconds(retry_s), [this, i] { attempt(i); });
  }

  void registered(std::size_t i) {
    phone& p = phones_[i];
    p.waits = false;
    p.nonce = {}, p.realm = {};
    results_.took_s.push_back(std::chrono::duration<double>(events_.now() - p.wanted).count());
    fill_next();
    if (--left_ == 0) say();
  }

  void say() {
    results& r = results_;
    std::ranges::sort(r.took_s);
    std::string answers;
    for (const auto& [status, n] : r.answers) answers += fmt::format("{}\"{}\":{}", answers.empty() ? "" : ",", status, n);
    const auto at = [&](double share) { return r.took_s[static_cast<std::size_t>(share * static_cast<double>(r.took_s.size() - 1))]; };
    fmt::print(R"({{"registered":{},"seconds":{:.2f},"sent":{},"repeated":{},"silent":{},"answers":{{{}}},"refused_most":{},"median_s":{:.4f},"p99_s":{:.3f},"max_s":{:.3f}}})"
               "\n", r.took_s.size(), std::chrono::duration<double>(events_.now() - began_).count(), r.sent, r.repeated, r.silent, answers,
               r.refused_most, at(0.5), at(0.99), at(1));
    std::fflush(stdout);
  }

  options wanted_;
  loop events_;
  skald::seeded_rng random_;
  std::vector<phone> phones_;
  std::vector<port> ports_;
  results results_;
  mono_time began_{};
  std::size_t next_ = 0, left_ = 0;
  std::string line_;
};

} // namespace

} // namespace chaos

int main(int argc, char** argv) {
  chaos::options o;
  bool good = argc > 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    const auto colon = value.rfind(':');
    if (key == "--users") o.users = static_cast<std::size_t>(std::atoi(value.c_str()));
    else if (key == "--domain") o.domain = value;
    else if (key == "--password") o.password = value;
    else if (key == "--seed") o.seed = std::strtoull(value.c_str(), nullptr, 10);
    else if (key == "--node" && colon != std::string::npos) {
      good = good && inet_pton(AF_INET, value.substr(0, colon).c_str(), &o.node.sin_addr) == 1;
      o.node.sin_port = htons(static_cast<std::uint16_t>(std::atoi(value.c_str() + colon + 1)));
    } else good = false;
  }
  if (!good || o.users < 2 || o.node.sin_port == 0) {
    std::fprintf(stderr, "usage: chaos_avalanche --node IP:PORT --users N [--domain D] [--password P] [--seed N]\n");
    return 2;
  }
  chaos::avalanche(o).run();
}
