#include "bench.hpp"

#include <fmt/format.h>

namespace skald::roles::bench {

struct bench::no_dns final : sip::dns_port {
  void query(std::string, sip::dns_type, callback) override {}
};

namespace {

dht::member member_of(std::uint8_t n, std::string name, std::string_view address) {
  dht::member m;
  m.id = node(n);
  m.life = 1;
  m.state = dht::member_state::active;
  m.body.version = 1;
  m.body.name = std::move(name);
  m.body.addresses = {*ip_address::parse(address)};
  return m;
}

facts_ptr first_facts() {
  auto view = std::make_shared<dht::view>();
  view->self = node(1);
  view->members = {member_of(1, "node1", "198.51.100.1"), member_of(2, "node2", "198.51.100.2")};
  view->stamp.hash = 1;
  auto facts = std::make_shared<cluster_facts>();
  facts->view = view;
  facts->keys = std::make_shared<key_ring>(std::vector{cluster_key{7, 0, std::string(32, 'k')}});
  facts->config = std::make_shared<settings>(read_settings("example.com", {}));
  facts->serving = true;
  return facts;
}

} // namespace

bench::bench()
    : dns(std::make_unique<no_dns>()), env{0, clock, timers, random, cluster, flows, sender, nullptr, *dns},
      auth(env, replays), registrar(env, auth) {
  cluster.now = first_facts();
  add_subscriber(make_subscriber("sip:alice@example.com", "wonder", 1000));
  registrar.on_change([this](const roles::registrar::change& c) { changed.push_back(c.aor); });
}

bench::~bench() = default;

void bench::add_subscriber(const subscriber& s) {
  cluster.kept.store(dht::table::subscribers, dht::key_of_aor(s.aor), {put_subscriber(s)});
}

void bench::configure(std::function<void(settings&)> change) {
  auto facts = std::make_shared<cluster_facts>(*cluster.now);
  auto config = std::make_shared<settings>(*facts->config);
  change(*config);
  facts->config = config;
  cluster.now = facts;
}

std::vector<binding> bench::bindings(std::string_view aor) const {
  return bindings_of(cluster.kept.read(dht::table::bindings, dht::key_of_aor(aor)));
}

std::string bench::request_of(const phone& p) const {
  const std::string to = p.to.empty() ? "sip:" + p.user + "@" + p.domain : p.to;
  sip::token flow;
  flow.transport = p.transport;
  flow.node = p.edge;
  flow.serial = p.serial;
  flow.local = *endpoint::parse("198.51.100.1:5060");
  flow.remote = p.source;
  std::string out = fmt::format("REGISTER {} SIP/2.0\r\n", p.request_uri);
  out += "Via: SIP/2.0/TLS node1.example.com;branch=z9hG4bKedge\r\n";
  out += fmt::format("Via: SIP/2.0/UDP {};branch=z9hG4bKphone{}\r\n", p.source.text(), p.via_more);
  out += fmt::format("Path: <sip:{}@node1.example.com{}>\r\n",
                     sip::seal_token(flow, *cluster.now->keys, cluster.kept.now), p.path_more);
  if (!p.path_below.empty()) out += "Path: " + p.path_below + "\r\n";
  out += fmt::format("From: <{}>;tag=f\r\nTo: <{}>\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\n", to, to, p.call_id, p.cseq);
  if (!p.contact.empty()) out += "Contact: " + p.contact + "\r\n";
  if (!p.expires.empty()) out += "Expires: " + p.expires + "\r\n";
  if (!p.nonce.empty()) {
    sip::digest_credentials c;
    c.username = p.username.empty() ? p.user : p.username;
    c.realm = p.domain;
    c.nonce = p.nonce;
    c.uri = p.digest_uri.value_or(p.request_uri);
    c.algorithm = p.algorithm;
    c.qop = p.qop.empty() ? sip::digest_qop::none : sip::digest_qop::auth;
    c.nc = p.nc;
    c.nc_text = fmt::format("{:08x}", p.nc);
    c.cnonce = "c";
    const std::string response =
        sip::digest_response(c, sip::digest_ha1(p.algorithm, c.username, p.domain, p.password), "REGISTER");
    out += fmt::format(R"(Authorization: Digest username="{}", realm="{}", nonce="{}", uri="{}", response="{}", algorithm={})",
                       c.username, c.realm, c.nonce, c.uri, response, sip::to_string(p.algorithm));
    if (!p.qop.empty()) out += fmt::format(R"(, qop={}, nc={}, cnonce="c")", p.qop, c.nc_text);
    out += "\r\n";
  }
  return out + p.more + "\r\n";
}

sip::message bench::send(const phone& p) {
  auto request = sip::message::parse(request_of(p));
  REQUIRE(request.has_value());
  std::optional<sip::message> answer;
  registrar.handle(std::move(*request), again, [&answer](sip::message m, bool) {
    REQUIRE_FALSE(answer.has_value()); // exactly one
    answer = std::move(m);
  });
  if (cluster.kept.held) cluster.kept.release();
  REQUIRE(answer.has_value());
  return std::move(*answer);
}

sip::message bench::register_with_digest(phone& p) {
  p.nonce.clear();
  const sip::message challenge = send(p);
  if (challenge.status() != 401) return challenge;
  p.nonce = nonce_in(challenge);
  p.nc = 1;
  ++p.cseq;
  return send(p);
}

sip::message bench::next(phone& p) {
  ++p.nc;
  ++p.cseq;
  return send(p);
}

std::string nonce_in(const sip::message& challenge) {
  const auto value = challenge.first(sip::header::www_authenticate);
  REQUIRE(value.has_value());
  const auto c = sip::parse_digest_challenge(*value);
  REQUIRE(c.has_value());
  return c->nonce;
}

bool is_stale(const sip::message& challenge) {
  const auto c = sip::parse_digest_challenge(challenge.first(sip::header::www_authenticate).value_or(""));
  return c && c->stale == sip::staleness::stale;
}

std::vector<std::string> contacts_in(const sip::message& m) {
  std::vector<std::string> out;
  for (const std::string_view c : m.values(sip::header::contact)) out.emplace_back(c);
  return out;
}

} // namespace skald::roles::bench
