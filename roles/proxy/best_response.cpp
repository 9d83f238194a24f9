#include "roles/proxy/best_response.hpp"

#include "base/errors.hpp"

#include <algorithm>

namespace skald::roles {

namespace {

bool is_challenge(int status) {
  return status == 401 || status == 407;
}

// Within 4xx: first what lets the caller try again with something better (§16.7 step 6), then what says most about the
// callee, last what only says that nobody was reached.
int rank_4xx(int status) {
  switch (status) {
  case 401:
  case 407:
    return 0;
  case 415:
  case 420:
  case 484:
    return 1;
  case 486:
    return 10;
  case 404:
  case 410:
    return 60;
  case 480:
    return 70;
  case 408:
    return 80;
  case 487:
    return 85;
  case 430:
    return 90;
  default:
    return 20;
  }
}

} // namespace

int rank_of(int status) {
  const int klass = status / 100;
  if (klass == 6) return 0; // §16.7 step 6: a 6xx first
  if (klass == 4) return 4000 + rank_4xx(status);
  if (klass == 5) return 5000 + (status == 503 ? 1 : 0);
  return klass * 1000;
}

sip::message best_response(std::span<const sip::message* const> finals) {
  SKALD_ASSERT(!finals.empty());
  const sip::message* best =
      *std::ranges::min_element(finals, {}, [](const sip::message* m) { return rank_of(m->status()); });
  sip::message out = *best;
  if (is_challenge(best->status())) { // §16.7 step 7
    for (const sip::message* other : finals) {
      if (other == best || !is_challenge(other->status())) continue;
      for (const sip::header h : {sip::header::www_authenticate, sip::header::proxy_authenticate})
        for (const std::string_view v : other->values(h))
          out.append(h, v);
    }
  }
  return out;
}

} // namespace skald::roles
