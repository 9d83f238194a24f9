#include "dht/mesh/session.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace skald::dht {
namespace {

// One suite family is enough between copies of the same program; P-256 certificates only.
constexpr const char* priorities = "NONE:+VERS-DTLS1.2:+ECDHE-ECDSA:+AES-128-GCM:+CHACHA20-POLY1305:+AEAD:+SIGN-ECDSA-SHA256:"
                                   "+GROUP-X25519:+GROUP-SECP256R1:+COMP-NULL:+CTYPE-X509:%FORCE_ETM";

// No datagram holds more records or flights than this; a library that asks for more turns is not followed.
constexpr int turns_max = 64;

mesh_session* self_of(gnutls_transport_ptr_t p) { return static_cast<mesh_session*>(p); }

} // namespace

mesh_session::mesh_session(side s, session_host& host, const certs::credentials_ptr& credentials, const endpoint& peer_at,
                           gnutls_dtls_prestate_st* prestate)
    : side_(s), host_(host), credentials_(credentials), peer_at_(peer_at) {
  // No tickets: a resumed session would skip the judgement of the certificate.
  const unsigned flags = GNUTLS_DATAGRAM | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL;
  SKALD_ASSERT(gnutls_init(&session_, flags | (s == side::client ? GNUTLS_CLIENT : GNUTLS_SERVER)) == 0);
  const char* bad = nullptr;
  SKALD_ASSERT(gnutls_priority_set_direct(session_, priorities, &bad) == 0);
  SKALD_ASSERT(gnutls_credentials_set(session_, GNUTLS_CRD_CERTIFICATE, credentials_.get()) == 0);
  gnutls_session_set_ptr(session_, this);
  gnutls_session_set_verify_function(session_, &mesh_session::verify);
  gnutls_transport_set_ptr(session_, this);
  gnutls_transport_set_push_function(session_, &mesh_session::push);
  gnutls_transport_set_pull_function(session_, &mesh_session::pull);
  gnutls_transport_set_pull_timeout_function(session_, &mesh_session::pull_timeout);
  gnutls_dtls_set_mtu(session_, dtls_mtu);
  gnutls_dtls_set_timeouts(session_, handshake_retransmit_ms, handshake_time_max_ms);
  if (s == side::server) {
    gnutls_certificate_server_set_request(session_, GNUTLS_CERT_REQUIRE);
    // Without the list of acceptable CAs a stranger shows its certificate, and the log can say what it was.
    gnutls_certificate_send_x509_rdn_sequence(session_, 1);
    gnutls_dtls_prestate_set(session_, prestate);
  }
}

mesh_session::~mesh_session() { gnutls_deinit(session_); }

ssize_t mesh_session::push(gnutls_transport_ptr_t p, const void* data, std::size_t size) {
  auto* const self = self_of(p);
  self->host_.transmit(self->peer_at_, {static_cast<const char*>(data), size});
  return static_cast<ssize_t>(size); // a datagram that the kernel would not take is lost like any other
}

ssize_t mesh_session::pull(gnutls_transport_ptr_t p, void* data, std::size_t size) {
  auto* const self = self_of(p);
  if (!self->inbox_full_) {
    self->drained_ = true;
    gnutls_transport_set_errno(self->session_, EAGAIN);
    return -1;
  }
  self->inbox_full_ = false;
  const auto n = std::min(size, self->inbox_.size());
  std::memcpy(data, self->inbox_.data(), n);
  return static_cast<ssize_t>(n);
}

int mesh_session::pull_timeout(gnutls_transport_ptr_t p, unsigned) { return self_of(p)->inbox_full_ ? 1 : 0; }

int mesh_session::verify(gnutls_session_t session) {
  auto* const self = static_cast<mesh_session*>(gnutls_session_get_ptr(session));
  auto verdict = self->host_.judge(session);
  if (!verdict) {
    self->refusal_ = verdict.error();
    return GNUTLS_E_CERTIFICATE_ERROR;
  }
  self->peer_ = std::move(*verdict);
  return 0;
}

void mesh_session::feed(std::string_view datagram, std::vector<std::string>& records) {
  if (state_ == state::failed || state_ == state::ended) return;
  inbox_ = datagram;
  inbox_full_ = true;
  if (state_ == state::handshaking) drive();
  if (state_ == state::open) read_records(records);
  inbox_full_ = false;
  inbox_ = {};
}

void mesh_session::retransmit_if_due() {
  if (state_ == state::handshaking && gnutls_dtls_get_timeout(session_) == 0) drive();
}

void mesh_session::drive() {
  for (int turn = 0; turn < turns_max; ++turn) {
    drained_ = false;
    const int rc = gnutls_handshake(session_);
    if (side_ == side::client && random_ == hello_random{}) {
      gnutls_datum_t mine{}, theirs{};
      gnutls_session_get_random(session_, &mine, &theirs);
      if (mine.size == random_.size()) std::memcpy(random_.data(), mine.data, mine.size);
    }
    if (rc == GNUTLS_E_SUCCESS) return finish_handshake();
    if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED) {
      if (drained_ || !inbox_full_) return;
      continue;
    }
    if (gnutls_error_is_fatal(rc) != 0) return fail(rc);
    if (drained_) return;
  }
}

void mesh_session::finish_handshake() {
  unsigned count = 0;
  const gnutls_datum_t* const chain = gnutls_certificate_get_peers(session_, &count);
  // Whatever the library thinks it did: no session is open without our own verdict.
  if (!peer_ || !chain || count == 0) {
    refusal_ = certs::refusal::no_certificate;
    state_ = state::failed;
    return;
  }
  certificate_.assign(reinterpret_cast<const char*>(chain[0].data), chain[0].size);
  state_ = state::open;
}

void mesh_session::fail(int code) {
  state_ = state::failed;
  if (code == GNUTLS_E_NO_CERTIFICATE_FOUND || code == GNUTLS_E_CERTIFICATE_REQUIRED) refusal_ = certs::refusal::no_certificate;
  if (code == GNUTLS_E_FATAL_ALERT_RECEIVED || code == GNUTLS_E_WARNING_ALERT_RECEIVED) {
    const char* const name = gnutls_alert_get_name(gnutls_alert_get(session_));
    problem_ = std::string("it refused us: ") + (name ? name : "unknown alert");
    return;
  }
  problem_ = code == GNUTLS_E_TIMEDOUT ? "no answer" : gnutls_strerror(code);
  if (code != GNUTLS_E_TIMEDOUT) gnutls_alert_send_appropriate(session_, code);
}

void mesh_session::read_records(std::vector<std::string>& records) {
  char buffer[16 * 1024];
  drained_ = false;
  for (int turn = 0; turn < turns_max && !drained_; ++turn) {
    const auto n = gnutls_record_recv(session_, buffer, sizeof buffer);
    if (n > 0) {
      records.emplace_back(buffer, static_cast<std::size_t>(n));
    } else if (n == 0) {
      state_ = state::ended; // close_notify
      return;
    } else if (n != GNUTLS_E_AGAIN && n != GNUTLS_E_INTERRUPTED && (gnutls_error_is_fatal(static_cast<int>(n)) != 0 || n == GNUTLS_E_REHANDSHAKE)) {
      state_ = state::ended;
      return;
    }
  }
}

bool mesh_session::send(std::string_view record) {
  if (state_ != state::open) return false;
  return gnutls_record_send(session_, record.data(), record.size()) >= 0;
}

void mesh_session::say_goodbye() {
  if (state_ == state::open) gnutls_bye(session_, GNUTLS_SHUT_WR);
}

std::size_t mesh_session::record_bytes() const { return gnutls_dtls_get_data_mtu(session_); }

} // namespace skald::dht
