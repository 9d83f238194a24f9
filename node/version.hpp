#pragma once
#include <string_view>

namespace skald::node {
inline constexpr std::string_view version_text = "0.1.0";
inline constexpr std::string_view software_text = "skald/0.1.0"; // Server, User-Agent, member body
} // namespace skald::node
