#pragma once
// Locating a SIP server (RFC 3263 §4) as a machine without I/O: a URI goes in, questions for the DNS come out, answers
// go in, in the end there is an ordered list of targets. One thread.
#include "base/rng.hpp"
#include "sip/flow.hpp"
#include "sip/message/uri.hpp"
#include "sip/resolve/dns.hpp"

#include <optional>
#include <string>
#include <vector>

namespace skald::sip {

struct resolve_options {
  // What we speak; in order of preference where the DNS leaves it open (RFC 3263 §4.1).
  std::vector<transport> transports{transport::udp, transport::tcp, transport::tls};
  // In order of preference for hosts that have both (RFC 7984 leaves it to the host's policy).
  std::vector<ip_family> families{ip_family::v4, ip_family::v6};
};

struct dns_query {
  std::string name;
  dns_type type;
  bool operator==(const dns_query&) const = default;
};

enum class resolve_status : std::uint8_t {
  ok,
  not_found,   // the DNS says: no such server
  failed,      // the DNS did not answer, or asked too much of us: try later
  unsupported, // a scheme or transport that we do not speak
};

struct resolved {
  resolve_status status = resolve_status::failed;
  std::vector<target> targets; // to be tried in this order (§4.3); empty unless ok
};

inline constexpr std::size_t resolve_queries_max = 24; // of one URI
inline constexpr std::size_t resolve_services_max = 4; // SRV names of one URI
inline constexpr std::size_t resolve_hosts_max = 8;    // host names behind them
inline constexpr std::size_t resolve_targets_max = 16;

class resolution {
public:
  // `random` must outlive this; the URI is copied.
  resolution(const uri& where, const resolve_options& options, rng& random);

  // The questions that have not been taken yet. Each has to be answered once, in any order.
  std::vector<dns_query> take_queries();
  void answer(const dns_query& question, const dns_answer& reply);
  // Set when nothing is left to ask.
  const std::optional<resolved>& outcome() const { return outcome_; }

private:
  enum class phase : std::uint8_t { naptr, srv, addresses, done };
  struct service { // one SRV name
    sip::transport transport;
    std::string name;
    std::vector<srv_record> records{};
    bool refused = false;
  };
  struct host {
    sip::transport transport;
    std::string name;
    std::uint16_t port;
    std::optional<ip_address> numeric{};
  };

  void start(const uri& where);
  void ask(std::string name, dns_type type);
  void ask_services();
  void ask_addresses(std::vector<host> hosts);
  void take_naptr(const dns_answer& reply);
  void services_answered();
  void plain_host(sip::transport t, std::uint16_t port);
  void conclude();
  void finish(resolve_status status);
  bool speaks(sip::transport t) const;
  service srv_service(sip::transport t) const;
  target make_target(const host& h, const ip_address& ip) const;

  resolve_options options_;
  rng& random_;
  bool secure_ = false; // sips
  std::string domain_;  // of the URI: what a certificate has to name (RFC 5922 §4)
  std::string target_;  // maddr, else the domain (RFC 3263 §4)
  phase phase_ = phase::done;
  std::vector<dns_query> untaken_, open_;
  std::size_t asked_ = 0;
  bool trouble_ = false; // some answer was a failure
  bool heard_ = false;   // some was not
  std::vector<service> services_;
  std::vector<host> hosts_;
  std::vector<std::pair<dns_query, std::vector<ip_address>>> addresses_;
  std::optional<resolved> outcome_;
};

} // namespace skald::sip
