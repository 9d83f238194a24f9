#pragma once
// What a person sees: tables, errors with a way out, and --json for machines. Exit codes of design §10.
#include "base/errors.hpp"

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skald::node {

inline constexpr int exit_done = 0, exit_refused = 1, exit_usage = 2, exit_unreachable = 3;

struct cli_context {
  bool json = false;
  std::string control; // --control, or empty
};

int report(const cli_context& c, const failure& f, int exit_code = exit_refused); // to standard error

struct column {
  std::string_view title, key; // key: the field of each object
};
// An array of objects as a table; `nothing` is said when it is empty.
void print_table(const nlohmann::json& rows, const std::vector<column>& columns, std::string_view nothing);
std::string cell_text(const nlohmann::json& value); // arrays joined by ", ", null as "-"

} // namespace skald::node
