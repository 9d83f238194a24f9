#pragma once
// "Did you mean …": the known word nearest to a mistyped one, by edit distance.
#include <span>
#include <string>
#include <string_view>

namespace skald {

// "" if nothing is within a third of the word's length (at least 2 edits).
std::string nearest_word(std::string_view wrong, std::span<const std::string_view> known);

} // namespace skald
