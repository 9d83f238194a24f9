#include "node/io/tls_engine.hpp"

#include "base/encoding.hpp"
#include "base/endpoint.hpp"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace skald::node {
namespace {

constexpr const char* sip_priorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
constexpr const char* link_priorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3";
constexpr std::size_t record_bytes_max = 16'384;
// No tickets: a peer must be judged anew each time (a resumed session hides a revocation). And a certificate of another
// CA is shown, not withheld, so that the other side can say what is wrong with it.
constexpr unsigned link_flags = static_cast<unsigned>(GNUTLS_NO_TICKETS) | static_cast<unsigned>(GNUTLS_FORCE_CLIENT_CERT);
constexpr unsigned names_looked_at_max = 256;

bool names_sip_domain(gnutls_x509_crt_t leaf, const std::string& name) {
  std::array<char, 512> buffer;
  for (unsigned i = 0; i < names_looked_at_max; ++i) {
    std::size_t n = buffer.size();
    const int type = ::gnutls_x509_crt_get_subject_alt_name(leaf, i, buffer.data(), &n, nullptr);
    if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) return false;
    if (type == GNUTLS_SAN_URI && equal_nocase({buffer.data(), n}, "sip:" + name)) return true;
  }
  return false;
}

} // namespace

struct tls_engine::impl {
  tls_credentials_ptr credentials;
  tls_options options;
  gnutls_session_t session = nullptr;
  tls_state state = tls_state::handshaking;
  std::string in;          // ciphertext that GnuTLS has not pulled yet, from in_at on
  std::size_t in_at = 0;
  std::string out;
  std::string why;
  bool no_certificate = false;

  std::size_t waiting() const { return in.size() - in_at; }
  void fail(std::string text) {
    state = tls_state::failed;
    if (why.empty()) why = std::move(text);
  }
  void fail(int rc);
  void handshake();
  void receive(std::string& plain);
  int verify();
  bool is_named_peer();
  std::vector<std::string> peer_chain() const;
  void init();

  static impl& of(gnutls_session_t s) { return *static_cast<impl*>(::gnutls_session_get_ptr(s)); }
  static ssize_t pull(gnutls_transport_ptr_t p, void* data, std::size_t n);
  static ssize_t push(gnutls_transport_ptr_t p, const giovec_t* parts, int count);
  static int pull_timeout(gnutls_transport_ptr_t p, unsigned) { return static_cast<impl*>(p)->waiting() > 0 ? 1 : 0; }
  static int after_client_hello(gnutls_session_t s);
  static int before_proof(gnutls_session_t s, unsigned, unsigned, unsigned incoming, const gnutls_datum_t*);
  static int verify_peer(gnutls_session_t s) { return of(s).verify(); }
};

ssize_t tls_engine::impl::pull(gnutls_transport_ptr_t p, void* data, std::size_t n) {
  auto& me = *static_cast<impl*>(p);
  if (me.waiting() == 0) {
    ::gnutls_transport_set_errno(me.session, EAGAIN);
    return -1;
  }
  n = std::min(n, me.waiting());
  std::memcpy(data, me.in.data() + me.in_at, n);
  me.in_at += n;
  if (me.waiting() == 0) {
    me.in.clear();
    me.in_at = 0;
  }
  return static_cast<ssize_t>(n);
}

ssize_t tls_engine::impl::push(gnutls_transport_ptr_t p, const giovec_t* parts, int count) {
  auto& me = *static_cast<impl*>(p);
  std::size_t total = 0;
  for (int i = 0; i < count; ++i) {
    me.out.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
    total += parts[i].iov_len;
  }
  return static_cast<ssize_t>(total);
}

// The certificate is chosen by the name that the client asks for.
int tls_engine::impl::after_client_hello(gnutls_session_t s) {
  impl& me = of(s);
  std::array<char, 256> name{};
  std::size_t n = name.size();
  unsigned type = 0;
  const bool named = ::gnutls_server_name_get(s, name.data(), &n, &type, 0) == 0 && type == GNUTLS_NAME_DNS;
  return ::gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, me.credentials->handle_for(named ? name.data() : ""));
}

// A phone shows whatever its maker gave it, also a certificate whose key usage allows no signatures, which GnuTLS ends a
// handshake for. Compatibility mode lets that pass; set only now, when all is negotiated and the keys are agreed on, it
// changes nothing else. certs::sip_anchors does not believe such a certificate.
int tls_engine::impl::before_proof(gnutls_session_t s, unsigned, unsigned, unsigned incoming, const gnutls_datum_t*) {
  if (incoming != 0) ::gnutls_session_enable_compatibility_mode(s);
  return 0;
}

// GnuTLS calls it during a client's handshake; not 0 ends that. Links verify nothing here: their caller does, with
// the cluster's own rules, before a byte of theirs counts.
int tls_engine::impl::verify() {
  if (options.peers) return is_named_peer() ? 0 : -1;
  gnutls_typed_vdata_st purpose{};
  purpose.type = GNUTLS_DT_KEY_PURPOSE_OID;
  purpose.data = reinterpret_cast<unsigned char*>(const_cast<char*>(GNUTLS_KP_TLS_WWW_SERVER));
  unsigned status = 0;
  if (::gnutls_certificate_verify_peers(session, &purpose, 1, &status) < 0 || status != 0) {
    gnutls_datum_t text{};
    if (::gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) == 0) {
      why.assign(reinterpret_cast<const char*>(text.data), text.size);
      ::gnutls_free(text.data);
    }
    return -1;
  }
  unsigned count = 0;
  const gnutls_datum_t* chain = ::gnutls_certificate_get_peers(session, &count);
  if (chain == nullptr || count == 0) return -1;
  gnutls_x509_crt_t leaf;
  ::gnutls_x509_crt_init(&leaf);
  // RFC 5922 §7.1: the domain as a sip URI, or as a DNS name.
  const bool fits = ::gnutls_x509_crt_import(leaf, &chain[0], GNUTLS_X509_FMT_DER) == 0 &&
                    (::gnutls_x509_crt_check_hostname(leaf, options.name.c_str()) != 0 || names_sip_domain(leaf, options.name));
  ::gnutls_x509_crt_deinit(leaf);
  if (!fits) why = "the certificate does not name " + options.name;
  return fits ? 0 : -1;
}

bool tls_engine::impl::is_named_peer() {
  const auto who = options.peers->judge(peer_chain(), certs::sip_end::server);
  if (!who) {
    why = "its certificate is refused: " + std::string(certs::to_string(who.error()));
    return false;
  }
  const bool named = std::ranges::find(who->names, to_lower(options.name)) != who->names.end(); // RFC 5922 §7.2
  if (!named) why = "the certificate does not name " + options.name;
  return named;
}

std::vector<std::string> tls_engine::impl::peer_chain() const {
  unsigned count = 0;
  const gnutls_datum_t* chain = ::gnutls_certificate_get_peers(session, &count);
  std::vector<std::string> out;
  for (unsigned i = 0; chain != nullptr && i < count; ++i)
    out.emplace_back(reinterpret_cast<const char*>(chain[i].data), chain[i].size);
  return out;
}

void tls_engine::impl::init() {
  const bool link = options.use == tls_use::link, server = options.end == tls_end::server;
  ::gnutls_init(&session, static_cast<unsigned>(server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK |
                            GNUTLS_NO_SIGNAL | (link ? link_flags : 0u));
  ::gnutls_session_set_ptr(session, this);
  ::gnutls_transport_set_ptr(session, this);
  ::gnutls_transport_set_pull_function(session, pull);
  ::gnutls_transport_set_vec_push_function(session, push);
  ::gnutls_transport_set_pull_timeout_function(session, pull_timeout);
  ::gnutls_handshake_set_timeout(session, 0); // ours is the connection's timer
  ::gnutls_priority_set_direct(session, link ? link_priorities : sip_priorities, nullptr);
  ::gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials->handle_for(""));
  std::vector<gnutls_datum_t> protocols;
  for (const std::string& a : options.alpn)
    protocols.push_back({reinterpret_cast<unsigned char*>(const_cast<char*>(a.data())), static_cast<unsigned>(a.size())});
  if (!protocols.empty())
    ::gnutls_alpn_set_protocols(session, protocols.data(), static_cast<unsigned>(protocols.size()),
                                link ? static_cast<unsigned>(GNUTLS_ALPN_MANDATORY) : 0u);
  if (server) {
    if (!link) {
      ::gnutls_handshake_set_post_client_hello_function(session, after_client_hello);
      ::gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY, GNUTLS_HOOK_PRE, before_proof);
    }
    ::gnutls_certificate_server_set_request(session, link ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_REQUEST);
    return;
  }
  const bool is_address = ip_address::parse(options.name).has_value();
  if (!options.name.empty() && !is_address)
    ::gnutls_server_name_set(session, GNUTLS_NAME_DNS, options.name.data(), options.name.size());
  if (!link) ::gnutls_session_set_verify_function(session, verify_peer);
}

void tls_engine::impl::fail(int rc) {
  ::gnutls_alert_send_appropriate(session, rc); // tells the peer why; what it was is in `out`
  no_certificate = rc == GNUTLS_E_NO_CERTIFICATE_FOUND || rc == GNUTLS_E_CERTIFICATE_REQUIRED;
  std::string text = ::gnutls_strerror(rc);
  if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
    if (const char* alert = ::gnutls_alert_get_name(::gnutls_alert_get(session))) text = std::string("the peer says: ") + alert;
  fail(std::move(text));
}

void tls_engine::impl::handshake() {
  while (state == tls_state::handshaking) {
    const int rc = ::gnutls_handshake(session);
    if (rc == GNUTLS_E_SUCCESS) {
      state = tls_state::open;
    } else if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED) {
      if (waiting() == 0) return;
    } else if (::gnutls_error_is_fatal(rc) != 0) {
      fail(rc);
    }
  }
}

void tls_engine::impl::receive(std::string& plain) {
  std::array<char, record_bytes_max> buffer;
  while (state == tls_state::open) {
    const std::size_t before = waiting();
    const ssize_t n = ::gnutls_record_recv(session, buffer.data(), buffer.size());
    if (n > 0) {
      plain.append(buffer.data(), static_cast<std::size_t>(n));
    } else if (n == 0 || n == GNUTLS_E_PREMATURE_TERMINATION) {
      state = tls_state::closed;
    } else if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) {
      // After a session ticket it says so with records still waiting in our buffer: only an empty one ends the loop.
      if (waiting() == 0 || waiting() == before) return;
    } else if (n == GNUTLS_E_REHANDSHAKE) {
      fail("renegotiation refused");
    } else if (::gnutls_error_is_fatal(static_cast<int>(n)) != 0) {
      fail(static_cast<int>(n));
    }
  }
}

tls_engine::tls_engine(tls_credentials_ptr credentials, tls_options options) : impl_(std::make_unique<impl>()) {
  SKALD_ASSERT(credentials != nullptr);
  impl_->credentials = std::move(credentials);
  impl_->options = std::move(options);
  impl_->init();
}

tls_engine::~tls_engine() { ::gnutls_deinit(impl_->session); }

tls_state tls_engine::start() {
  impl_->handshake();
  return impl_->state;
}

tls_state tls_engine::feed(std::string_view cipher, std::string& plain) {
  impl_->in.append(cipher);
  impl_->handshake();
  impl_->receive(plain);
  return impl_->state;
}

bool tls_engine::write(std::string_view plain) {
  if (impl_->state != tls_state::open) return false;
  while (!plain.empty()) {
    const ssize_t n = ::gnutls_record_send(impl_->session, plain.data(), std::min(plain.size(), record_bytes_max));
    if (n > 0) {
      plain.remove_prefix(static_cast<std::size_t>(n));
    } else if (n != GNUTLS_E_AGAIN && n != GNUTLS_E_INTERRUPTED) {
      impl_->fail(static_cast<int>(n));
      return false;
    }
  }
  return true;
}

void tls_engine::close() {
  if (impl_->state != tls_state::open) return;
  ::gnutls_bye(impl_->session, GNUTLS_SHUT_WR);
  impl_->state = tls_state::closed;
}

std::string& tls_engine::output() { return impl_->out; }
tls_state tls_engine::state() const { return impl_->state; }
std::string_view tls_engine::failure() const { return impl_->why; }
bool tls_engine::peer_without_certificate() const { return impl_->no_certificate; }

std::string tls_engine::server_name() const {
  std::array<char, 256> name{};
  std::size_t n = name.size();
  unsigned type = 0;
  if (impl_->options.end != tls_end::server || ::gnutls_server_name_get(impl_->session, name.data(), &n, &type, 0) != 0)
    return {};
  return to_lower(name.data());
}

std::string tls_engine::alpn() const {
  gnutls_datum_t d{};
  if (::gnutls_alpn_get_selected_protocol(impl_->session, &d) != 0) return {};
  return {reinterpret_cast<const char*>(d.data), d.size};
}

std::vector<std::string> tls_engine::peer_chain() const { return impl_->peer_chain(); }

} // namespace skald::node
