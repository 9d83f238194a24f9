#include "sip/flow.hpp"

namespace skald::sip {

std::string_view via_name(transport t) {
  switch (t) {
  case transport::udp: return "UDP";
  case transport::tcp: return "TCP";
  case transport::tls:
  case transport::link: return "TLS";
  }
  return "UDP";
}

std::string_view param_name(transport t) {
  switch (t) {
  case transport::udp: return "udp";
  case transport::tcp: return "tcp";
  case transport::tls:
  case transport::link: return "tls";
  }
  return "udp";
}

} // namespace skald::sip
