// Tokens and branches as strangers may write them: none of them opens, and what we seal opens as it was.
#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "sip/token/token.hpp"
#include "sip/transaction/branch.hpp"

using namespace skald;
using namespace skald::sip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const key_ring keys({{.id = 0x41424344, .made = 0, .secret = std::string(32, 'k')}});
  static const std::string token_key = keys.keys().front().derive("token");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  SKALD_ASSERT(!open_token(text, keys).has_value());
  looks_like_token(text);
  key_id_of_token(text);
  open_branch(text, keys);
  open_branch(std::string("z9hG4bK").append(text), keys);

  // The input as the inside of a token whose seal is right: whatever opens seals to a token that opens to the same.
  const std::string clear("\x01"
                          "ABCD");
  const std::string sealed = to_base64url(clear + crypto::siv_seal(token_key, clear, text));
  if (const auto t = open_token(sealed, keys)) {
    const auto again = open_token(seal_token(*t, keys, 1'000'000), keys);
    SKALD_ASSERT(again.has_value() && *again == *t);
  }
  return 0;
}
