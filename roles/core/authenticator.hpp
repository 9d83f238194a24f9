#pragma once
// Who sends this request (sip.md §3, RFC 3261 §22, RFC 7616, RFC 8760): checks digest credentials for a realm of ours
// against the subscriber's hashes, and against what was used before. Runs at the owner of the credentials' user.
#include "roles/core/ports.hpp"
#include "roles/core/replay.hpp"
#include "roles/core/subscriber.hpp"
#include "sip/message/message.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::roles {

enum class challenge_kind : std::uint8_t {
  www,   // 401, WWW-Authenticate, Authorization: the registrar's
  proxy, // 407, Proxy-Authenticate, Proxy-Authorization: everybody else's
};
sip::header credentials_header(challenge_kind k);
sip::header challenge_header(challenge_kind k);

enum class auth_verdict : std::uint8_t {
  ok,
  challenge,   // no credentials of use: 401 or 407 with `challenges`
  forbidden,   // 403: wrong password, no such user, or another user than the one wanted
  bad_request, // 400 with `reason`
  unavailable, // 500 with Retry-After: the subscriber's record could not be had
};

struct auth_question {
  sip::message request;
  std::string realm;              // a domain of ours
  challenge_kind kind = challenge_kind::proxy;
  // The AoR that the request claims to come from: without credentials its hashes decide which algorithms are offered.
  std::string claimed;
  bool only_claimed = false;      // credentials of anybody else are forbidden (REGISTER)
  // A node that died, or seemed to, has had this very request before (sip.md §6): that it used its nonce is no replay.
  // Said by nodes of ours only.
  bool again = false;
};

struct auth_result {
  auth_verdict verdict = auth_verdict::unavailable;
  std::string aor;                     // ok: whose credentials they are
  std::optional<subscriber> who;       // ok: set
  unix_ms nonce_made = 0;              // ok: cluster time
  bool repeated = false;               // ok: the very same REGISTER was seen before (a retransmission by another way)
  bool stale = false;                  // challenge: the digest was right, the nonce old or used
  std::vector<std::string> challenges; // header values, in the order of preference
  std::string_view reason;             // bad_request: a literal
  nonce_use used;                      // ok: for give_back()
};

// The user whom the request's credentials for that realm name, as an AoR: where it has to be authenticated. nullopt:
// no credentials for that realm (or none that can be read).
std::optional<std::string> named_by_credentials(const sip::message& request, challenge_kind kind, std::string_view realm);

// The answer to what is not ok: 401 or 407 with challenges, 403, 400, or 500 with Retry-After.
// A challenge has a tag of its own, the same for all copies of a request.
sip::message refusal(const sip::message& request, challenge_kind kind, const auth_result& result, std::string_view to_tag);

// One per worker; the replay memory is shared by the node's workers.
class authenticator {
public:
  authenticator(worker_env& env, replay_memory& replays) : env_(env), replays_(replays) {}

  // `done` runs on this worker, maybe before check() returns; not after the authenticator's end.
  void check(auth_question question, std::move_only_function<void(auth_result)> done);
  // An accepted request could not be carried out: its retransmission is to be judged anew, not as a replay.
  void give_back(const auth_result& accepted);

private:
  struct attempt;
  void judge(attempt& a, const subscriber* known, auth_result& result);
  bool note_use(auth_result& result, unix_ms now);
  void challenge(const attempt& a, const subscriber* known, auth_result& result);

  worker_env& env_;
  replay_memory& replays_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace skald::roles
