#pragma once
// ECDSA over SHA-256 with a node's key: what makes a directory record its author's. Any thread.
#include "base/errors.hpp"
#include "certs/bundle.hpp"

#include <string>
#include <string_view>

namespace skald::certs {

std::string sign(const bundle& author, std::string_view data);
// errc::not_authentic, or errc::malformed for a certificate that does not parse. Does not judge the certificate:
// check_peer does.
result<void> verify(std::string_view certificate_der, std::string_view data, std::string_view signature);

} // namespace skald::certs
