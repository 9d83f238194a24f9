#pragma once
// Errors by origin. Wire input: result<T>, an enumerator and no text. What an operator did or has to mend: outcome<T>,
// a sentence and a way out. A broken invariant: SKALD_ASSERT, which stays on in release builds.
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace skald {

enum class errc : std::uint8_t {
  malformed,     // does not follow the grammar
  incomplete,    // ends too early; on a stream: more bytes needed
  too_large,     // over a named limit
  missing,       // something required is not there
  unsupported,   // well-formed, but of a version or kind that is not spoken
  not_authentic, // a signature, MAC or seal does not verify
  expired,       // was valid once
};
std::string_view to_string(errc e);

template <class T>
using result = std::expected<T, errc>;

struct failure {
  std::string what;   // names the thing: "nodeA.pem: certificate expired on 2026-01-02"
  std::string hint{}; // the way out: "renew it with: skald cert renew nodeA"; may be empty
};
template <class T>
using outcome = std::expected<T, failure>;

[[noreturn]] void assertion_failed(const char* what, const char* file, int line);
#define SKALD_ASSERT(cond) \
  do { \
    if (!(cond)) [[unlikely]] ::skald::assertion_failed(#cond, __FILE__, __LINE__); \
  } while (false)

} // namespace skald
