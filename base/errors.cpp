#include "base/errors.hpp"

#include <cstdio>
#include <cstdlib>

namespace skald {

std::string_view to_string(errc e) {
  switch (e) {
  case errc::malformed: return "malformed";
  case errc::incomplete: return "incomplete";
  case errc::too_large: return "too large";
  case errc::missing: return "missing";
  case errc::unsupported: return "unsupported";
  case errc::not_authentic: return "not authentic";
  case errc::expired: return "expired";
  }
  return "?";
}

void assertion_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "skald: broken invariant: %s (%s:%d)\n", what, file, line);
  std::abort();
}

} // namespace skald
