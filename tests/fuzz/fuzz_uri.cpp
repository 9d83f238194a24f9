// URIs and what carries them: name-addr values and Contacts.
#include "sip/message/contact.hpp"
#include "sip/message/params.hpp"
#include "sip/message/uri.hpp"

#include <cstddef>
#include <cstdint>

using namespace skald;
using namespace skald::sip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)parse_contact(text);
  (void)split_top_level(text, ',');
  SKALD_ASSERT(unquote(quote("a" + std::string(text.substr(0, 0)))) == "a");
  const auto u = parse_uri(text);
  if (!u) return 0;
  SKALD_ASSERT(equal(*u, *u));
  if (const auto aor = canonical_aor(*u, "example.org")) {
    const auto back = parse_uri(*aor);
    SKALD_ASSERT(back && canonical_aor(*back, "example.org") == aor);
  }
  if (u->scheme == uri_scheme::other) return 0;
  const std::string with = with_param(*u, "zz", "1");
  const auto edited = parse_uri(with);
  SKALD_ASSERT(edited);
  SKALD_ASSERT(edited->user == u->user && edited->host == u->host && edited->port == u->port);
  const std::string without = without_params(*edited, {"zz"});
  SKALD_ASSERT(parse_uri(without));
  return 0;
}
