#include "node/control/cli_print.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {

using nlohmann::json;

int report(const cli_context& c, const failure& f, int exit_code) {
  if (c.json) {
    json out{{"error", f.what}};
    if (!f.hint.empty()) out["hint"] = f.hint;
    fmt::print(stderr, "{}\n", out.dump(-1, ' ', false, json::error_handler_t::replace));
  } else {
    fmt::print(stderr, "skald: {}\n", f.what);
    if (!f.hint.empty()) fmt::print(stderr, "       {}\n", f.hint);
  }
  return exit_code;
}

std::string cell_text(const json& value) {
  if (value.is_null()) return "-";
  if (value.is_string()) return value.get<std::string>().empty() ? "-" : value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_array()) {
    std::string out;
    for (const json& e : value) out += (out.empty() ? "" : ", ") + cell_text(e);
    return out.empty() ? "-" : out;
  }
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

void print_table(const json& rows, const std::vector<column>& columns, std::string_view nothing) {
  if (rows.empty()) {
    fmt::print("{}\n", nothing);
    return;
  }
  std::vector<std::vector<std::string>> cells;
  std::vector<std::size_t> width;
  for (const column& c : columns) width.push_back(c.title.size());
  for (const json& row : rows) {
    std::vector<std::string> line;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const auto found = row.find(std::string(columns[i].key));
      line.push_back(found == row.end() ? "-" : cell_text(*found));
      width[i] = std::max(width[i], line.back().size());
    }
    cells.push_back(std::move(line));
  }
  const auto print_line = [&](auto&& text_of) {
    std::string line;
    for (std::size_t i = 0; i < columns.size(); ++i) line += fmt::format("{:<{}}  ", text_of(i), width[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print("{}\n", line);
  };
  print_line([&](std::size_t i) { return std::string(columns[i].title); });
  for (const auto& line : cells) print_line([&](std::size_t i) { return line[i]; });
}

} // namespace skald::node
